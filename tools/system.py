"""Check that this machine can run the project. Print one line about what is missing and how to get it.

python3 tools/system.py                         before the environment exists: the Python version and `venv`
.venv/bin/python tools/system.py --libraries    in the environment: the system libraries that OpenCV needs
"""

import os
import sys
from configparser import ConfigParser

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def pythons():
    "The oldest and the newest supported Python in `settings.ini`, such as (3, 10)"
    config = ConfigParser(delimiters=["="])
    config.read(os.path.join(ROOT, "settings.ini"), encoding="utf-8")
    return [tuple(map(int, config["DEFAULT"][end + "_python"].split("."))) for end in ("min", "max")]


def python_problem():
    "A sentence when this Python isn't supported or lacks `venv`, else None"
    oldest, newest = pythons()
    if not oldest <= sys.version_info[:2] <= newest:
        low, high, this = (f"{major}.{minor}" for major, minor in (oldest, newest, sys.version_info[:2]))
        return f"Python {low} to {high} is required, this is {this}; choose another one: make PYTHON=python{high} ..."
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return "Python's venv module is missing; on Debian or Ubuntu: apt install python3-venv"
    return None


def library_problem():
    "A sentence when OpenCV cannot be imported, else None"
    try:
        import cv2  # noqa: F401
    except ImportError as e:
        return f"OpenCV cannot be imported ({e}); on Debian or Ubuntu: apt install libgl1 libglib2.0-0"
    return None


if __name__ == "__main__":
    problem = library_problem() if "--libraries" in sys.argv else python_problem()
    if problem:
        sys.exit("missing: " + problem)
