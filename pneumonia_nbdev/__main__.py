"""`python -m` runs the command `pneumonia`."""

# Written by tools/structure.py.
from pneumonia_nbdev.cli.cli import main

if __name__ == "__main__":
    main()
