"""Write the exact versions and hashes of the packages in the container image, and of those that build it.

    python tools/lock.py [--check]

requirements-serve.txt has the requirements of settings.ini and the driver of PostgreSQL, requirements-build.txt those
of pyproject.toml. pip resolves them with the package index and the versions of constraints.txt, once for each platform
of the image. A hash in a file is a hash that the index lists for a wheel; nothing is computed here. `--check` works
offline: each requirement has a version that fits, and each line has a hash.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVE = "requirements-serve.txt"
BUILD = "requirements-build.txt"
INDEX = "https://pypi.org/simple"
FILES = "https://files.pythonhosted.org/"
MACHINES = ("x86_64", "aarch64")
GLIBC = 36  # Debian 12 has glibc 2.36; the image has this version or a later one
# The image has no graphical interface.
REPLACED = {"opencv-python": "opencv-python-headless"}
HEADER = """\
# Exact versions and hashes of the packages in the container image: Python {python}, Linux on {machines}.
# Written by `python tools/lock.py` from {index}; don't edit.
# The hashes are those of the wheels for these platforms. Other platforms need other wheels:
# install the package with constraints.txt there.
--only-binary :all:
"""


def image_python():
    "The Python version of the image, such as `3.11`"
    return re.search(r"^FROM python:(\d+\.\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)[1]


def normalized(name):
    "A package name as the index writes it"
    return re.sub(r"[-_.]+", "-", name).lower()


def with_replacements(line):
    "A requirement with the packages of the image"
    name = re.match(r"[\w.-]+", line)
    if name and normalized(name[0]) in REPLACED:
        return REPLACED[normalized(name[0])] + line[name.end() :]
    return line


def serving_requirements():
    "The requirements of the package, and the driver of a case store in PostgreSQL"
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    names = ("requirements", "postgres_requirements")
    return [with_replacements(line) for name in names for line in config["DEFAULT"][name].split()]


def build_requirements():
    "The requirements for building the wheel"
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return json.loads(re.search(r"^requires = (\[.*?\])", text, re.MULTILINE)[1])


LOCKS = {SERVE: serving_requirements, BUILD: build_requirements}


def platforms(machine):
    "The wheel tags that fit the image; pip doesn't derive the older ones"
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC, 16, -1)]
    tags += [f"manylinux2014_{machine}", f"linux_{machine}"]
    if machine == "x86_64":
        tags += [f"manylinux_2_{minor}_{machine}" for minor in range(16, 4, -1)]
        tags += [f"manylinux2010_{machine}", f"manylinux1_{machine}"]
    return [word for tag in tags for word in ("--platform", tag)]


def resolve(requirements, machine, folder):
    "The report of pip for one platform; pip installs nothing"
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    constraints_file = Path(folder) / "constraints.txt"
    constraints_file.write_text("\n".join(map(with_replacements, constraints)), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--isolated", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += ["--index-url", INDEX, "--only-binary", ":all:", "--implementation", "cp", "--target", folder]
    command += ["--python-version", image_python(), "--report", "-", "--constraint", str(constraints_file)]
    if os.environ.get("PIP_CERT"):
        command += ["--cert", os.environ["PIP_CERT"]]
    command += [*platforms(machine), *requirements]
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{machine}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)["install"]


def add_report(found, entries):
    "Add the version and the hash of each wheel of a report"
    for entry in entries:
        download = entry["download_info"]
        assert download["url"].startswith(FILES), f"not from the package index: {download['url']}"
        name = normalized(entry["metadata"]["name"])
        found[name, entry["metadata"]["version"]].add(download["archive_info"]["hashes"]["sha256"])


def lock_text(found):
    "The content of the file"
    names = [name for name, _ in found]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"different versions for the platforms: {sorted(twice)}"
    lines = [HEADER.format(python=image_python(), machines=" and ".join(MACHINES), index=INDEX)]
    for (name, version), hashes in sorted(found.items()):
        options = [f"--hash=sha256:{digest}" for digest in sorted(hashes)]
        lines.append(" \\\n    ".join([f"{name}=={version}", *options]))
    return "\n".join(lines).replace(":all:\n\n", ":all:\n") + "\n"


def locked(name):
    "Package -> (version, hashes) of a file"
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line and not line.startswith(("#", "-")):
            requirement, *options = line.split()
            package, _, version = requirement.partition("==")
            found[package] = version, [option.partition("sha256:")[2] for option in options]
    return found


def check(name):
    "Compare a file with the requirements, offline; returns a line for the log"
    from packaging.requirements import Requirement

    found = locked(name)
    wrong = [package for package, (_, hashes) in found.items() if {len(h) for h in hashes} != {64}]
    assert not wrong, f"without hash: {wrong}"
    for requirement in map(Requirement, LOCKS[name]()):
        version, _ = found.get(normalized(requirement.name), ("", []))
        fits = version and requirement.specifier.contains(version)
        needed = requirement.marker is None or requirement.marker.evaluate({"python_version": image_python()})
        assert fits or not needed, f"{requirement} doesn't fit {version!r}; run tools/lock.py"
    return f"{name}: {len(found)} packages with {sum(len(hashes) for _, hashes in found.values())} hashes"


def write(name):
    "Write a file"
    found = defaultdict(set)
    for machine in MACHINES:
        with tempfile.TemporaryDirectory() as folder:
            add_report(found, resolve(LOCKS[name](), machine, folder))
    (ROOT / name).write_text(lock_text(found), encoding="utf-8")


def main():
    # pip evaluates the conditions of requirements for the running Python.
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    is_fit = running == image_python() and sys.platform == "linux"
    assert "--check" in sys.argv or is_fit, f"run this script with Python {image_python()} on Linux"
    for name in LOCKS:
        if "--check" not in sys.argv:
            write(name)
        print(check(name))


if __name__ == "__main__":
    main()
