"""The steps of the Dockerfile in a clean virtual environment, and a server run from it.

    python tools/container.py

Every `RUN pip …` of the Dockerfile is run as it stands there, and the server is started by its ENTRYPOINT; only paths and the port are others.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from browser import ROOT, free_port, server

LIMIT = 500e6  # bytes of packages
LEFT_OUT = shutil.ignore_patterns(
    ".*", "build", "dist", "runs", "_docs", "_proc", "nbs", "*.egg-info", "__pycache__", "pneumonia-report"
)  # a wheel must not find what an earlier one left


def steps():
    "(the pip commands, the entry point) of the Dockerfile"
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return [s.split() for s in re.findall(r"^RUN (pip .+)$", text, re.MULTILINE)], json.loads(
        re.search(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)[1]
    )


def judged(url):
    "The verdict of a sample X-ray"
    xray = next((ROOT / "pneumonia_nbdev" / "sample" / "originals").rglob("*.jpeg")).read_bytes()
    body = (
        b'--s\r\nContent-Disposition: form-data; name="file"; filename="x.jpeg"\r\n\r\n'
        + xray
        + b"\r\n--s--\r\n"
    )
    return json.load(
        urllib.request.urlopen(
            urllib.request.Request(
                url + "/predict", body, {"Content-Type": "multipart/form-data; boundary=s"}
            )
        )
    )


def check():
    "Install, weigh, serve; returns a line for the log"
    pips, entry = steps()
    with tempfile.TemporaryDirectory() as d:
        shutil.copytree(ROOT, f"{d}/src", ignore=LEFT_OUT)

        def there(word):
            return {
                "/src": f"{d}/src",
                "/wheels": f"{d}/wheels",
                "/requirements-serve.txt": str(ROOT / "requirements-serve.txt"),
            }.get(word, word)

        subprocess.run([sys.executable, "-m", "venv", f"{d}/venv"], check=True)
        for step in pips:
            subprocess.run(
                [f"{d}/venv/bin/python", "-m", *map(there, step)],
                check=True,
                capture_output=True,
                env={"PATH": "/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **pip_settings()},
            )
        site = next(Path(d, "venv/lib").glob("python*/site-packages"))
        size = sum(p.stat().st_size for p in site.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        names = {p.name.split("-")[0].lower() for p in site.glob("*.dist-info")}
        assert size <= LIMIT, f"{size / 1e6:.0f} MB of packages"
        assert not names & {
            "tensorflow",
            "keras",
            "jupyterlab",
            "ipython",
            "nbdev",
            "pandas",
            "matplotlib",
            "opencv_python",
        }, names
        subprocess.run([f"{d}/venv/bin/pneumonia", "doctor"], check=True, capture_output=True, cwd=d)
        port = free_port()
        with server(
            [f"{d}/venv/bin/{entry[0]}", *entry[1:], "--port", port],
            f"http://127.0.0.1:{port}/health/ready",
            d,
        ):
            verdict = judged(f"http://127.0.0.1:{port}")
        assert verdict["class"] in ("NORMAL", "PNEUMONIA")
        return f"{size / 1e6:.0f} MB of packages, a verdict from {verdict['model']['id']}"


def pip_settings():
    "Where pip looks for packages here, if somebody said so"
    import os

    return {
        k: v
        for k, v in os.environ.items()
        if k.startswith("PIP_") and k != "PIP_CONSTRAINT" or k.lower().endswith("_proxy") or k == "HOME"
    }


if __name__ == "__main__":
    print(check())
