"""Is this machine ready? Prints one line that says what is missing, and how to get it.

`python3 tools/system.py`          before the environment is made: the Python version, and venv
`.venv/bin/python tools/system.py --libraries`   after it: the libraries that OpenCV needs from the system
"""

import os
import sys
from configparser import ConfigParser


def pythons():
    "The oldest and the newest Python, such as (3, 10), that `settings.ini` names"
    config = ConfigParser(delimiters=["="])
    config.read(
        os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "settings.ini"),
        encoding="utf-8",
    )
    return [tuple(map(int, config["DEFAULT"][end + "_python"].split("."))) for end in ("min", "max")]


def python_problem():
    oldest, newest = pythons()
    if not oldest <= sys.version_info[:2] <= newest:
        low, high, this = (f"{major}.{minor}" for major, minor in (oldest, newest, sys.version_info[:2]))
        return f"Python {low} to {high} is needed, this is {this}; name another one: make PYTHON=python{high} ..."
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return "Python's venv module is missing; on Debian or Ubuntu: apt install python3-venv"


def library_problem():
    try:
        import cv2  # noqa: F401
    except ImportError as e:
        return f"OpenCV does not start ({e}); on Debian or Ubuntu: apt install libgl1 libglib2.0-0"


problem = library_problem() if "--libraries" in sys.argv else python_problem()
if problem:
    sys.exit("missing: " + problem)
