"""Is this machine ready? Prints one line that says what is missing, and how to get it.

`python3 tools/system.py`          before the environment is made: the Python version, and venv
`.venv/bin/python tools/system.py --libraries`   after it: the libraries that OpenCV needs from the system
"""
import sys


def python_problem():
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        return "Python 3.10, 3.11 or 3.12 is needed, this is %d.%d; name another one: make PYTHON=python3.11 ..." % sys.version_info[:2]
    try:
        import ensurepip, venv  # noqa: F401, E401
    except ImportError:
        return "Python's venv module is missing; on Debian or Ubuntu: apt install python3-venv"


def library_problem():
    try:
        import cv2  # noqa: F401
    except ImportError as e:
        return "OpenCV does not start (%s); on Debian or Ubuntu: apt install libgl1 libglib2.0-0" % e


problem = library_problem() if "--libraries" in sys.argv else python_problem()
if problem:
    sys.exit("missing: " + problem)
