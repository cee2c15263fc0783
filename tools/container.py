"""Run the steps of the Dockerfile in a clean virtual environment, and a server from it.

    python tools/container.py

Each `RUN pip …` of the Dockerfile is run with the same arguments, and the server is started by its ENTRYPOINT. Only
paths and the port differ.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from browser import ROOT, free_port, server

LIMIT = 500e6  # bytes of installed packages
UNWANTED = {"tensorflow", "keras", "jupyterlab", "ipython", "nbdev", "pandas", "matplotlib", "opencv_python"}
# The wheel must not contain files of earlier builds.
EXCLUDED = shutil.ignore_patterns(
    ".*", "build", "dist", "runs", "_docs", "_proc", "nbs", "*.egg-info", "__pycache__", "pneumonia-report"
)


def steps():
    "The pip commands and the entry point of the Dockerfile"
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    commands = [command.split() for command in re.findall(r"^RUN (pip .+)$", text, re.MULTILINE)]
    return commands, json.loads(re.search(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)[1])


def pip_settings():
    "Settings of pip in the environment: package index, proxies and home folder"
    return {
        name: value
        for name, value in os.environ.items()
        if (name.startswith("PIP_") and name != "PIP_CONSTRAINT") or name.lower().endswith("_proxy") or name == "HOME"
    }


def predict_sample(url):
    "The prediction of the server at `url` for an X-ray of the sample"
    xray = next((ROOT / "pneumonia_nbdev" / "sample" / "originals").rglob("*.jpeg")).read_bytes()
    header = b'--s\r\nContent-Disposition: form-data; name="file"; filename="x.jpeg"\r\n\r\n'
    body = header + xray + b"\r\n--s--\r\n"
    content_type = {"Content-Type": "multipart/form-data; boundary=s"}
    return json.load(urllib.request.urlopen(urllib.request.Request(url + "/predict", body, content_type)))


def install(folder):
    "Run the pip commands of the Dockerfile; returns the programs of the environment and the size of its packages"
    paths = {
        "/src": f"{folder}/src",
        "/wheels": f"{folder}/wheels",
        "/requirements-serve.txt": str(ROOT / "requirements-serve.txt"),
    }
    shutil.copytree(ROOT, paths["/src"], ignore=EXCLUDED)
    subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
    programs = Path(folder, "venv", "bin")
    env = {"PATH": "/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **pip_settings()}
    for command in steps()[0]:
        arguments = [paths.get(word, word) for word in command]
        subprocess.run([programs / "python", "-m", *arguments], check=True, capture_output=True, env=env)
    site = next(Path(folder, "venv", "lib").glob("python*/site-packages"))
    names = {path.name.split("-")[0].lower() for path in site.glob("*.dist-info")}
    assert not names & UNWANTED, f"installed: {sorted(names & UNWANTED)}"
    files = [path for path in site.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return programs, sum(path.stat().st_size for path in files)


def check():
    "Install the packages, check their size, and run the server; returns a line for the log"
    with tempfile.TemporaryDirectory() as folder:
        programs, size = install(folder)
        assert size <= LIMIT, f"{size / 1e6:.0f} MB of packages"
        subprocess.run([programs / "pneumonia", "doctor"], check=True, capture_output=True, cwd=folder)
        program, *arguments = steps()[1]
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with server([programs / program, *arguments, "--port", port], f"{url}/health/ready", folder):
            result = predict_sample(url)
        assert result["class"] in ("NORMAL", "PNEUMONIA")
    return f"{size / 1e6:.0f} MB of packages, a prediction of the model {result['model']['id']}"


if __name__ == "__main__":
    print(check())
