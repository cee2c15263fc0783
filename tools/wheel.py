"""The wheel on its own: built, installed where the repository is not, and used from an empty folder. A line for each thing.

python tools/wheel.py                                everything; the extras are a download of gigabytes
python tools/wheel.py --serving                      what needs no TensorFlow, in about a minute
python tools/wheel.py --serving --python python3.13  with another Python
python tools/wheel.py --serving --wheel FILE         with a wheel that is there already
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
from container import LEFT_OUT, judged, pip_settings

HEAVY = {"tensorflow", "keras", "jupyterlab", "ipython", "nbdev", "pandas", "matplotlib", "scipy"}


def sh(*command, cwd, code=0, **env):
    "Run a command without anything of this environment; what it wrote to standard output"
    env = {"PATH": "/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **pip_settings(), **env}
    done = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, encoding="utf-8", cwd=cwd, env=env
    )
    assert done.returncode == code, (
        f"{' '.join(map(str, command[1:4]))} ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}"
    )
    return done.stdout


def settings():
    config = configparser.ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def build(d):
    "A wheel, from a copy of the tree without leftovers"
    shutil.copytree(ROOT, d / "src", ignore=LEFT_OUT)
    sh(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        d / "wheels",
        d / "src",
        cwd=d,
    )
    (wheel,) = (d / "wheels").glob("*.whl")
    return wheel


def contents(wheel, d):
    "Every file of the package is in the wheel, and nothing else"
    inside = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    package = ROOT / "pneumonia_nbdev"
    there = {
        str(p.relative_to(ROOT))
        for p in package.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts and not p.name.startswith(".")
    }
    assert inside == there, f"only in one of them: {sorted(inside ^ there)}"
    parts = [
        f"{sum(f'/{part}/' in n for n in inside)} in {part}"
        for part in ("models", "sample", "templates", "web")
    ]
    return f"{wheel.stat().st_size / 1e6:.1f} MB, {', '.join(parts)}"


def versions(wheel, d):
    "One version, one range of Pythons, wherever they are written"
    cfg = settings()
    meta = (
        zipfile.ZipFile(wheel)
        .read(next(n for n in zipfile.ZipFile(wheel).namelist() if n.endswith("METADATA")))
        .decode()
    )

    def of(file, pattern, text=None):
        return re.search(pattern, text or (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)[1]

    found = {
        "__init__.py": of("pneumonia_nbdev/__init__.py", r'"(.+)"'),
        "CITATION.cff": of("CITATION.cff", r"^version: (.+)$"),
        "metadata": of("", r"^Version: (.+)$", meta),
    }
    assert set(found.values()) == {cfg["version"]}, f"settings.ini says {cfg['version']}; {found}"
    tested = re.findall(r"Python :: (3\.\d+)$", meta, re.MULTILINE)
    assert [tested[0], tested[-1]] == [cfg["min_python"], cfg["max_python"]] and of(
        "pyproject.toml", r'^requires-python ?= ?">=(.+)"'
    ) == cfg["min_python"]
    matrix = json.loads(of(".github/workflows/test.yaml", r"python: (\[.+\])"))
    assert matrix == tested, f"the workflow runs {matrix}, the metadata says {tested}"
    return f"{cfg['version']}, Python {tested[0]} to {tested[-1]}"


def pip(bin, *options, cwd):
    "Our pip at work in another environment, which then holds nothing but the package and what it requires"
    return sh(sys.executable, "-m", "pip", "--python", bin / "python", *options, cwd=cwd)


def install(d, wheel, extras="", python=sys.executable):
    "A new environment with the wheel in it, under the constraints; its folder of programs"
    venv = d / (f"venv-{extras.replace(',', '-')}" if extras else "venv")
    subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
    what = f"pneumonia-nbdev[{extras}] @ {wheel.as_uri()}" if extras else wheel
    pip(
        venv / "bin",
        "install",
        "--quiet",
        "--no-compile",
        "--constraint",
        ROOT / "constraints.txt",
        what,
        cwd=d,
    )
    return venv / "bin"


def place(bin, empty):
    "The package comes from the environment, and brings nothing heavy"
    code = "import sys, pneumonia_nbdev; from importlib.metadata import distributions as ds; print(pneumonia_nbdev.__file__, sys.version.split()[0], *{d.name.lower() for d in ds()})"
    file, python, *names = sh(bin / "python", "-c", code, cwd=empty).split()
    assert Path(file).is_relative_to(bin.parent.resolve()), file
    assert not HEAVY & set(names), HEAVY & set(names)
    pip(bin, "check", cwd=empty)
    return f"Python {python}, {len(names)} packages, no conflict"


def predict(bin, empty):
    "Help, the version, and one file"
    assert "screen" in sh(bin / "pneumonia", "--help", cwd=empty) and "--engine" in sh(
        bin / "pneumonia", "predict", "--help", cwd=empty, TERM="dumb", TERMINAL_WIDTH="100"
    )
    version = sh(bin / "pneumonia", "--version", cwd=empty).strip()
    assert version == settings()["version"], version
    xray = next((ROOT / "pneumonia_nbdev" / "sample" / "originals").rglob("*.jpeg"))
    result = json.loads(sh(bin / "pneumonia", "predict", xray, "--json", cwd=empty))
    assert result["class"] in ("NORMAL", "PNEUMONIA") and result["heatmap"]
    return f"{version}, {result['class']} {result['confidence']:.3f}"


def screen(bin, empty):
    "The X-rays in the package, and a report with heat maps"
    lines = sh(
        bin / "pneumonia", "screen", "--sample", "--json", "--out", "report", "--lang", "zh", cwd=empty
    ).splitlines()
    assert len(lines) == 56 and not any("error" in json.loads(line) for line in lines)
    page = (empty / "report" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") >= 112 and (empty / "report" / "results.csv").exists()
    return f"{len(lines)} X-rays, a report of {len(page) / 1e6:.1f} MB"


def serve(bin, empty):
    "Ready, a page, a verdict with its heat map, one version; and it ends well when it is asked to"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [bin / "pneumonia", "serve", "--port", str(port)],
        cwd=empty,
        stderr=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "HOME": str(empty)},
    )

    def get(path):
        return urllib.request.urlopen(url + path, timeout=30).read()

    try:
        for _ in range(600):
            try:
                get("/health/ready")
                break
            except OSError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.1)
        verdict = judged(url)
        assert verdict["heatmap_png"] and b"/web/app.js" in get("/") and len(get("/web/app.js")) > 1000
        assert json.loads(get("/openapi.json"))["info"]["version"] == settings()["version"]
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    finally:
        process.kill()
    assert code == 0, f"ended with {code}: {process.stderr.read()[-2000:]}"
    return f"{verdict['class']} {verdict['confidence']:.3f} and a heat map; stopped with 0"


def doctor(bin, empty):
    "Well as it is; and it finds a package that is gone, and a page that was changed"

    def look(code):
        return {
            f["check"]: f
            for f in map(
                json.loads, sh(bin / "pneumonia", "doctor", "--json", cwd=empty, code=code).splitlines()
            )
        }

    well = look(0)
    assert (
        well["files"]["state"] == "ok"
        and not well["files"]["found"].startswith("0/")
        and well["extra train"]["code"] == "extra_missing"
    ), well
    pip(bin, "uninstall", "--yes", "--quiet", "waitress", cwd=empty)
    page = next(bin.parent.glob("lib/*/site-packages/pneumonia_nbdev/web/index.html"))
    page.write_text("changed")
    (page.parent / "app.js").unlink()
    ill = look(1)
    assert (ill["package waitress"]["code"], ill["files"]["code"]) == ("package_missing", "file_changed"), ill
    assert "app.js" in ill["files"]["found"] and "index.html" in ill["files"]["found"], ill["files"]
    return f"{len(well)} checks; what was broken on purpose was found"


def explore(bin, empty):
    "The explorer answers, with its widgets"
    port = free_port()
    with server(
        [bin / "pneumonia", "explore", "--no-browser", "--port", port],
        f"http://127.0.0.1:{port}/",
        empty,
        PATH="/usr/bin:/bin",
        PYTHONPATH="",
    ):
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=120).read().decode()
    assert "jupyter.widget-view" in text and "Traceback" not in text, text[-2000:]
    return f"a page of {len(text) / 1e3:.0f} kB"


def training(bin, empty):
    "A small network is trained, and its bundle judges"
    sample = sh(bin / "pneumonia", "data", "sample", cwd=empty).strip()
    sh(
        bin / "pneumonia",
        "train",
        "--data",
        sample,
        "--weights",
        "none",
        "--backbone",
        "EfficientNetLite0",
        "--epochs",
        1,
        "--size",
        64,
        "--out",
        "own.bundle",
        cwd=empty,
    )
    sh(
        bin / "pneumonia",
        "predict",
        Path(sample) / "originals" / "test" / "PNEUMONIA" / "person72_virus_133.jpeg",
        "--model",
        "own.bundle",
        cwd=empty,
    )
    return "an epoch, a bundle, a verdict"


def step(check, *args):
    "Do it, and say how long it took"
    start = time.time()
    note = check(*args)
    print(
        f"ok {time.time() - start:6.1f} s  {check.__name__}  {note.name if isinstance(note, Path) else note}",
        flush=True,
    )
    return note


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--serving", action="store_true")
    read.add_argument("--python", default=sys.executable)
    read.add_argument("--wheel", type=Path)
    options = read.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        d = Path(folder)
        (empty := d / "空 folder").mkdir()
        wheel = options.wheel.resolve() if options.wheel else step(build, d)
        step(contents, wheel, d)
        step(versions, wheel, d)
        bin = step(install, d, wheel, "", options.python)
        for check in (place, predict, screen, serve, doctor):
            step(check, bin, empty)
        if options.serving:
            return
        bin = step(install, d, wheel, "train,lab", options.python)
        for check in (training, explore):
            step(check, bin, empty)


if __name__ == "__main__":
    main()
