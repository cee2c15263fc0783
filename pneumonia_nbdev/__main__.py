"""`python -m pneumonia_nbdev` is the command `pneumonia`."""

from pneumonia_nbdev.cli.cli import main

if __name__ == "__main__":
    main()
