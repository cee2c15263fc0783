"""Run the steps of the Dockerfile in a clean virtual environment, and a server from it.

    python tools/container.py

Each `RUN pip …` of the Dockerfile is run with the same arguments, and the server is started by its ENTRYPOINT with the
command of compose.yaml. Only paths and the port differ. The limits of compose.yaml are compared with those of the
package. Where it is permitted (as root on Linux), the server runs on a read-only file system without capabilities.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import lock
from browser import ROOT, free_port, server

LIMIT = 500e6  # bytes of installed packages
SERVER_MEMORY = 1.5 * 2**30  # bytes of the server itself: packages, models, and requests in memory
UNWANTED = {"tensorflow", "keras", "jupyterlab", "ipython", "nbdev", "pandas", "matplotlib", "opencv_python"}
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}
SECURE = {
    "read_only": "true",
    "cap_drop": "[ALL]",
    "security_opt": '["no-new-privileges:true"]',
    "user": '"10001"',
}
# The restrictions of compose.yaml, without Docker: a read-only file system, and a process without capabilities.
# The first argument is the folder for temporary files, the others are the command.
RESTRICTED = """
set -e
mount --make-rprivate /
mount -t tmpfs -o size=64m,mode=1777,noexec,nosuid,nodev tmpfs "$1"
mount -o remount,ro,bind / 2>/dev/null || mount -o remount,ro /
export TMPDIR="$1"
shift
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all prlimit --nproc=256 "$@"
"""
KEY = "a long random text"
HOST = "xray.example.org"


def steps():
    "The pip commands and the entry point of the Dockerfile"
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    commands = [command.split() for command in re.findall(r"^RUN (pip .+)$", text, re.MULTILINE)]
    installs = [command for command in commands if "install" in command and "--no-index" not in command]
    assert all("--require-hashes" in command for command in installs), "an installation without hashes"
    assert re.search(r"^USER 10001$", text, re.MULTILINE), "the image runs as root"
    return commands, json.loads(re.search(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)[1])


def compose_settings():
    "The settings of the service in compose.yaml, as text; each is on one line"
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    return dict(re.findall(r"^    (\w+): ([^#\n]+?)(?: #.*)?$", text, re.MULTILINE))


def copied_files(folder):
    "Copy what .dockerignore lets into the image"
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines, ".dockerignore isn't an allow-list"
    folder = Path(folder)
    folder.mkdir()
    for name in [line[1:] for line in lines if line.startswith("!")]:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, folder / name)


def pip_settings():
    "Settings of pip in the environment: package index, proxies and home folder"
    return {
        name: value
        for name, value in os.environ.items()
        if (name.startswith("PIP_") and name != "PIP_CONSTRAINT") or name.lower().endswith("_proxy") or name == "HOME"
    }


def request(url, body=None, **headers):
    "Status and JSON of a response"
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def predict_sample(url, **headers):
    "Status and JSON of `/predict` for an X-ray of the sample"
    xray = next((ROOT / "pneumonia_nbdev" / "sample" / "originals").rglob("*.jpeg")).read_bytes()
    header = b'--s\r\nContent-Disposition: form-data; name="file"; filename="x.jpeg"\r\n\r\n'
    body = header + xray + b"\r\n--s--\r\n"
    return request(url + "/predict", body, Content_Type="multipart/form-data; boundary=s", **headers)


def install(folder):
    "Run the pip commands of the Dockerfile; returns the programs of the environment and the size of its packages"
    paths = {"/src": f"{folder}/src", "/wheels": f"{folder}/wheels"}
    paths |= {f"/{name}": str(ROOT / name) for name in lock.LOCKS}
    copied_files(paths["/src"])
    subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
    programs = Path(folder, "venv", "bin")
    env = {"PATH": "/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **pip_settings()}
    for command in steps()[0]:
        arguments = [paths.get(word, word) for word in command]
        done = subprocess.run(
            [programs / "python", "-m", *arguments], check=False, capture_output=True, env=env, encoding="utf-8"
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-3000:]}"
    site = next(Path(folder, "venv", "lib").glob("python*/site-packages"))
    names = {path.name.split("-")[0].lower() for path in site.glob("*.dist-info")}
    assert not names & UNWANTED, f"installed: {sorted(names & UNWANTED)}"
    files = [path for path in site.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return programs, sum(path.stat().st_size for path in files)


def restricted(command, folder):
    "The command with the restrictions of the container; the command itself where this isn't permitted"
    temporary = Path(folder, "tmp")
    temporary.mkdir()
    wrapped = ["unshare", "-m", "sh", "-c", RESTRICTED, "sh", temporary]
    probe = subprocess.run([*wrapped, "sh", "-c", f"! touch {folder}/x"], check=False, capture_output=True)
    return [*wrapped, *command] if probe.returncode == 0 else command


def check_memory(programs, folder):
    "The memory limit of compose.yaml is that of the server and of all processes that decode files"
    settings = compose_settings()
    command = json.loads(settings["command"])
    threads = int(command[command.index("--threads") + 1])
    code = f"""
import json
from pneumonia_nbdev.core.isolation import isolation_status
from pneumonia_nbdev.deployment.api import PneumoniaDetectionAPI

api = PneumoniaDetectionAPI(threads={threads})
print(json.dumps(isolation_status()))
api.workers.shutdown()
"""
    done = subprocess.run([programs / "python", "-c", code], check=True, capture_output=True, cwd=folder)
    status = json.loads(done.stdout)
    needed = SERVER_MEMORY + status["processes"] * status["memory"]
    value = re.fullmatch(r"(\d+)([kmg])", settings["mem_limit"])
    limit = int(value[1]) * UNITS[value[2]]
    text = f"mem_limit is {limit >> 20} MiB; {status['processes']} processes need {int(needed) >> 20} MiB"
    assert limit >= needed, text
    assert settings["memswap_limit"] == settings["mem_limit"], "the container may swap"
    return limit


def check_compose():
    "Restrictions of the container, and a start that fails without a key"
    settings = compose_settings()
    wrong = {name for name, value in SECURE.items() if settings.get(name) != value}
    assert not wrong, f"compose.yaml: {sorted(wrong)}"
    assert int(settings["pids_limit"]) and settings["tmpfs"] and settings["ports"].startswith('["127.0.0.1:')
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert "${PNEUMONIA_API_KEY:?" in text and "PNEUMONIA_ALLOWED_HOSTS:" in text


def check_refusals(command, folder):
    "The server doesn't start without a key or without a host name, and names what is missing"
    access = {"PNEUMONIA_API_KEY": KEY, "PNEUMONIA_ALLOWED_HOSTS": HOST}
    hints = {"PNEUMONIA_API_KEY": "PNEUMONIA_API_KEY", "PNEUMONIA_ALLOWED_HOSTS": "--allowed-host"}
    for missing, hint in hints.items():
        env = {name: value for name, value in os.environ.items() if name not in access}
        env |= {name: value for name, value in access.items() if name != missing}
        done = subprocess.run(command, check=False, capture_output=True, cwd=folder, env=env, timeout=120)
        assert done.returncode == 2, f"without {missing}: exit code {done.returncode}"
        assert hint in done.stderr.decode(), done.stderr.decode()[-500:]


def check_requests(url):
    "The key and the host name are required; the health check needs neither"
    assert request(f"{url}/health/ready")[0] == 200
    assert predict_sample(url, Host=HOST)[0] == 401
    assert predict_sample(url, Host=HOST, X_API_Key="wrong")[0] == 401
    assert predict_sample(url, Host="attacker.example", X_API_Key=KEY)[0] == 421
    status, result = predict_sample(url, Host=HOST, X_API_Key=KEY)
    assert status == 200 and result["class"] in ("NORMAL", "PNEUMONIA"), result
    return result["model"]["id"]


def check():
    "Install the packages, check their size, and run the server; returns a line for the log"
    for name in lock.LOCKS:
        lock.check(name)
    check_compose()
    with tempfile.TemporaryDirectory() as folder:
        programs, size = install(folder)
        assert size <= LIMIT, f"{size / 1e6:.0f} MB of packages"
        subprocess.run([programs / "pneumonia", "doctor"], check=True, capture_output=True, cwd=folder)
        memory = check_memory(programs, folder)
        program, *arguments = steps()[1]
        port = free_port()
        command = [programs / program, *arguments, *json.loads(compose_settings()["command"]), "--port", str(port)]
        check_refusals(command, folder)
        url = f"http://127.0.0.1:{port}"
        access = {"PNEUMONIA_API_KEY": KEY, "PNEUMONIA_ALLOWED_HOSTS": HOST}
        confined = restricted(command, folder)
        with server(confined, f"{url}/health/ready", folder, **access):
            model = check_requests(url)
    parts = [f"{size / 1e6:.0f} MB of packages, {memory >> 20} MiB of memory, a prediction of the model {model}"]
    parts += ["on a read-only file system"] if confined is not command else []
    return " ".join(parts)


if __name__ == "__main__":
    print(check())
