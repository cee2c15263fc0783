"""Time from the shell to a prediction, as a ratio to the time of `import tensorflow`.

    python tools/cold_start.py [N]

The commands are run N times in turn (30 by default). The ratios of the medians are printed.
"""

import subprocess
import sys
from statistics import median
from time import perf_counter

from pneumonia_nbdev.core.base import sample_dir

IMAGE = str(next((sample_dir() / "originals" / "test" / "NORMAL").iterdir()))
COMMANDS = {
    "import tensorflow": ["-c", "import tensorflow"],
    "pneumonia predict": ["-c", "from pneumonia_nbdev.cli.cli import main; main()", "predict", IMAGE],
    "import PneumoniaDetectionSystem": ["-c", "from pneumonia_nbdev import PneumoniaDetectionSystem"],
}


def seconds(arguments):
    "Duration of one run of Python with these arguments"
    start = perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return perf_counter() - start


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    for arguments in COMMANDS.values():
        seconds(arguments)  # fill the disk cache
    runs = [[seconds(arguments) for arguments in COMMANDS.values()] for _ in range(n)]
    base, *others = [median(column) for column in zip(*runs, strict=True)]
    for name, value in zip(list(COMMANDS)[1:], others, strict=True):
        print(f"{name}: {value / base:.3f} of `import tensorflow` (medians, n = {n})")


if __name__ == "__main__":
    main()
