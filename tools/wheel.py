"""Build the wheel, install it in an environment without the repository, and use it from an empty folder.

    python tools/wheel.py                                all checks; the extras are a download of gigabytes
    python tools/wheel.py --serving                      without the extras for training, in about a minute
    python tools/wheel.py --serving --python python3.13  with another Python
    python tools/wheel.py --serving --wheel FILE         with an existing wheel

One line is printed for each check.
"""

import argparse
import configparser
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

from browser import ROOT, free_port, server
from container import pip_settings, predict_sample

PACKAGE = ROOT / "pneumonia_nbdev"
DATA_FOLDERS = ("models", "sample", "templates", "web", "locale", "app/static", "app/vendor")
HEAVY = {"tensorflow", "keras", "jupyterlab", "ipython", "nbdev", "pandas", "matplotlib", "scipy"}
# The wheel must not contain files of earlier builds.
EXCLUDED = shutil.ignore_patterns(
    ".*", "build", "dist", "runs", "_docs", "_proc", "nbs", "*.egg-info", "__pycache__", "pneumonia-report"
)
N_SAMPLE = 108  # X-rays that `screen --sample` reads


def run(*command, cwd, code=0, **env):
    "Run a command without the variables of this environment; returns its standard output"
    command = [str(word) for word in command]
    env = {"PATH": "/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **pip_settings(), **env}
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", cwd=cwd, env=env)
    output = (done.stdout + done.stderr)[-3000:]
    assert done.returncode == code, f"{' '.join(command[1:4])} ended with {done.returncode}: {output}"
    return done.stdout


def json_lines(text):
    "The objects of a text with one JSON object a line"
    return [json.loads(line) for line in text.splitlines()]


def settings():
    "The section of settings.ini"
    config = configparser.ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


# --- the wheel


def build(folder):
    "Build a wheel from a copy of the repository without generated files"
    source = folder / "src"
    wheels = folder / "wheels"
    shutil.copytree(ROOT, source, ignore=EXCLUDED)
    options = ("--quiet", "--no-deps", "--wheel-dir", wheels)
    run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=folder)
    (wheel,) = wheels.glob("*.whl")
    return wheel


def contents(wheel):
    "The wheel contains all files of the package and no others"
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert inside == files, f"only in the wheel or only in the repository: {sorted(inside ^ files)}"
    counts = {folder: sum(name.startswith(f"{PACKAGE.name}/{folder}/") for name in inside) for folder in DATA_FOLDERS}
    assert all(counts.values()), counts
    parts = [f"{n} in {folder}" for folder, n in counts.items()]
    return f"{wheel.stat().st_size / 1e6:.1f} MB, {', '.join(parts)}"


def wheel_metadata(wheel):
    "The text of METADATA"
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        return archive.read(name).decode()


def first_match(pattern, text):
    "The first group of the first match"
    return re.search(pattern, text, re.MULTILINE)[1]


def versions(wheel):
    "All files state the same version and the same range of Pythons"
    config = settings()
    metadata = wheel_metadata(wheel)

    def in_file(name, pattern):
        return first_match(pattern, (ROOT / name).read_text(encoding="utf-8"))

    found = {
        "__init__.py": in_file("pneumonia_nbdev/__init__.py", r'^__version__ = "(.+)"'),
        "CITATION.cff": in_file("CITATION.cff", r"^version: (.+)$"),
        "metadata": first_match(r"^Version: (.+)$", metadata),
    }
    assert set(found.values()) == {config["version"]}, f"settings.ini: {config['version']}; {found}"
    pythons = re.findall(r"Python :: (3\.\d+)$", metadata, re.MULTILINE)
    oldest = config["min_python"]
    assert (pythons[0], pythons[-1]) == (oldest, config["max_python"]), f"metadata: Python {pythons}"
    required = in_file("pyproject.toml", r'^requires-python ?= ?">=(.+)"')
    assert required == oldest, f"pyproject.toml: Python {required}"
    matrix = json.loads(in_file(".github/workflows/test.yaml", r"python: (\[.+\])"))
    assert matrix == pythons, f"workflow: Python {matrix}; metadata: {pythons}"
    return f"{config['version']}, Python {pythons[0]} to {pythons[-1]}"


# --- the installed package; `programs` is the folder of programs of its environment, `empty` an empty folder


def pip(programs, *options, cwd):
    "Run pip of this environment on another one, which then contains only the package and its requirements"
    return run(sys.executable, "-m", "pip", "--python", programs / "python", *options, cwd=cwd)


def install(folder, wheel, extras="", python=sys.executable):
    "Install the wheel in a new environment, with the versions of constraints.txt; returns its folder of programs"
    venv = folder / f"venv-{extras.replace(',', '-')}"
    subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
    requirement = f"pneumonia-nbdev[{extras}] @ {wheel.as_uri()}" if extras else wheel
    options = ("--quiet", "--no-compile", "--constraint", ROOT / "constraints.txt")
    pip(venv / "bin", "install", *options, requirement, cwd=folder)
    return venv / "bin"


LIST_PACKAGES = """
import sys, pneumonia_nbdev
from importlib.metadata import distributions
names = {distribution.name.lower() for distribution in distributions()}
print(pneumonia_nbdev.__file__, sys.version.split()[0], *names)
"""


def packages(programs, empty):
    "The package is imported from the environment, which contains no heavy packages"
    file, python, *names = run(programs / "python", "-c", LIST_PACKAGES, cwd=empty).split()
    assert Path(file).is_relative_to(programs.parent.resolve()), file
    assert not HEAVY & set(names), HEAVY & set(names)
    pip(programs, "check", cwd=empty)
    return f"Python {python}, {len(names)} packages, no conflict"


def predict(programs, empty):
    "Help, version, and the prediction of one file"
    pneumonia = programs / "pneumonia"
    assert "screen" in run(pneumonia, "--help", cwd=empty)
    text = run(pneumonia, "predict", "--help", cwd=empty, TERM="dumb", TERMINAL_WIDTH="100")
    assert "--engine" in text
    version = run(pneumonia, "--version", cwd=empty).strip()
    assert version == settings()["version"], version
    xray = next((PACKAGE / "sample" / "originals").rglob("*.jpeg"))
    result = json.loads(run(pneumonia, "predict", xray, "--json", cwd=empty))
    assert result["class"] in ("NORMAL", "PNEUMONIA") and result["heatmap"]
    return f"{version}, {result['class']} {result['confidence']:.3f}"


def screen(programs, empty):
    "The X-rays of the sample, and a report with heat maps"
    options = ("--sample", "--json", "--out", "report", "--lang", "zh")
    results = json_lines(run(programs / "pneumonia", "screen", *options, cwd=empty))
    assert len(results) == N_SAMPLE and not any("error" in result for result in results)
    page = (empty / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") >= 2 * N_SAMPLE and (empty / "report" / "results.csv").exists()
    return f"{len(results)} X-rays, a report of {len(page) / 1e6:.1f} MB"


def wait_until_ready(url, process, seconds=60):
    "Wait until a server accepts requests"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"{url}/health/ready", timeout=30).read()
            return
        except OSError:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
    raise AssertionError(f"{url} was not ready in {seconds} s")


def serve(programs, empty):
    "The server: ready, a page, a prediction with its heat map, the version, and exit code 0 after a signal"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [programs / "pneumonia", "serve", "--port", str(port)]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(empty)}
    process = subprocess.Popen(command, cwd=empty, stderr=subprocess.PIPE, env=env)

    def get(path):
        return urllib.request.urlopen(url + path, timeout=30).read()

    try:
        wait_until_ready(url, process)
        status, result = predict_sample(url)
        assert status == 200, result
        assert result["heatmap_png"] and b"web/app.js" in get("/") and len(get("/web/app.js")) > 1000
        assert json.loads(get("/openapi.json"))["info"]["version"] == settings()["version"]
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    finally:
        process.kill()
    assert code == 0, f"ended with {code}: {process.stderr.read()[-2000:]}"
    return f"{result['class']} {result['confidence']:.3f} and a heat map; ended with exit code 0"


def doctor(programs, empty):
    "The checks of `pneumonia doctor` pass; then they find a missing package, a missing file and a changed one"

    def checks(code):
        output = run(programs / "pneumonia", "doctor", "--json", cwd=empty, code=code)
        return {row["check"]: row for row in json_lines(output)}

    good = checks(0)
    assert good["files"]["state"] == "ok" and not good["files"]["found"].startswith("0/"), good["files"]
    assert good["extra train"]["code"] == "extra_missing", good["extra train"]
    pip(programs, "uninstall", "--yes", "--quiet", "waitress", cwd=empty)
    page = next(programs.parent.glob("lib/*/site-packages/pneumonia_nbdev/web/index.html"))
    page.write_text("changed", encoding="utf-8")
    (page.parent / "app.js").unlink()
    bad = checks(1)
    assert bad["package waitress"]["code"] == "package_missing", bad["package waitress"]
    assert bad["files"]["code"] == "file_changed", bad["files"]
    assert "app.js" in bad["files"]["found"] and "index.html" in bad["files"]["found"], bad["files"]
    return f"{len(good)} checks; a missing package and changed files were found"


def explore(programs, empty):
    "The page of the explorer, with its widgets"
    port = free_port()
    url = f"http://127.0.0.1:{port}/?token=local"
    command = [programs / "pneumonia", "explore", "--no-browser", "--port", port]
    with server(command, url, empty, PATH="/usr/bin:/bin", PYTHONPATH="", JUPYTER_TOKEN="local"):
        text = urllib.request.urlopen(url, timeout=120).read().decode()
    assert "jupyter.widget-view" in text and "Traceback" not in text, text[-2000:]
    return f"a page of {len(text) / 1e3:.0f} kB"


def training(programs, empty):
    "Train a small network, and predict with its bundle"
    pneumonia = programs / "pneumonia"
    sample = run(pneumonia, "data", "sample", cwd=empty).strip()
    options = {
        "--data": sample,
        "--weights": "none",
        "--backbone": "EfficientNetLite0",
        "--epochs": 1,
        "--size": 64,
        "--out": "own.bundle",
    }
    run(pneumonia, "train", *[word for pair in options.items() for word in pair], cwd=empty)
    xray = Path(sample) / "originals" / "test" / "PNEUMONIA" / "person72_virus_133.jpeg"
    run(pneumonia, "predict", xray, "--model", "own.bundle", cwd=empty)
    return "one epoch, a bundle, a prediction"


def step(check, *args):
    "Run a check and print its line; returns its result"
    start = time.time()
    result = check(*args)
    note = result.name if isinstance(result, Path) else result
    print(f"ok {time.time() - start:6.1f} s  {check.__name__}  {note}", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serving", action="store_true", help="skip the extras for training")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--wheel", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = folder / "空 folder"
        empty.mkdir()
        wheel = args.wheel.resolve() if args.wheel else step(build, folder)
        step(contents, wheel)
        step(versions, wheel)
        programs = step(install, folder, wheel, "", args.python)
        for check in (packages, predict, screen, serve, doctor):
            step(check, programs, empty)
        if args.serving:
            return
        programs = step(install, folder, wheel, "train,lab", args.python)
        for check in (training, explore):
            step(check, programs, empty)


if __name__ == "__main__":
    main()
