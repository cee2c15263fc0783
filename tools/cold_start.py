"""From the shell to a verdict, against `import tensorflow`: medians of 30 interleaved runs each, as ratios.

`python tools/cold_start.py [N]`
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
    "import pneumonia_nbdev.deployment": ["-c", "import pneumonia_nbdev.deployment"],
}


def seconds(arguments):
    start = perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return perf_counter() - start


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    for c in COMMANDS.values():
        seconds(c)  # once for the disk
    runs = [[seconds(c) for c in COMMANDS.values()] for _ in range(n)]
    base, *others = [median(column) for column in zip(*runs)]
    for name, t in zip(list(COMMANDS)[1:], others):
        print(f"{name}: {t / base:.3f} of `import tensorflow` (medians, n = {n})")
