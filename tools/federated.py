"""Train at three sites with real processes and TLS while sites and the server fail: `make test-federated`.

    python tools/federated.py [--only NAME]

Each test makes a project with NVFlare's certificates on this machine, and starts a server and three sites with the
command line. The sites have a third of the patients of the sample each. The last line is `N passed, M failed`.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from pneumonia_nbdev import MedicalDataLoader, sample_dir
from pneumonia_nbdev.core.packing import default_bundle
from pneumonia_nbdev.federated.kits import init_federation
from pneumonia_nbdev.federated.local_data import divide_patients
from pneumonia_nbdev.federated.plan import Plan
from pneumonia_nbdev.federated.run import SENT, _lines, _process
from pneumonia_nbdev.federated.state import FederationState
from pneumonia_nbdev.federated.transport import outgoing_fault

SITES = ("north", "south", "east")
ROUNDS = 4
TIMEOUT = 25  # seconds of a task
LIMIT = 600  # seconds of a step


def free_port():
    "A port with a free next one"
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("localhost", 0))
            port = first.getsockname()[1]
            with suppress(OSError, OverflowError):
                second.bind(("localhost", port + 1))
                return port


class Project:
    "A project with its processes"

    def __init__(self, folder, data, **choices):
        self.data = data
        self.port = free_port()
        self.folder = init_federation(
            folder, SITES, default_bundle(), port=self.port, **dict(rounds=ROUNDS, timeout=TIMEOUT) | choices
        )
        self.plan = Plan.read(self.folder / "server")
        self.stack = ExitStack()
        self.processes = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes.values():
            kill(process)

    def start(self, name):
        "Start the server or a site with the command line"
        place = self.folder / ("server" if name == "server" else f"sites/{name}")
        options = ["server", str(place)] if name == "server" else ["site", str(place), "--data", str(self.data[name])]
        command = [sys.executable, "-m", "pneumonia_nbdev", "federate", *options]
        log = open(self.folder / f"{name}.txt", "ab")  # noqa: SIM115
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def start_all(self):
        for name in ("server", *SITES):
            self.start(name)

    def output(self, name):
        return (self.folder / f"{name}.txt").read_text(encoding="utf-8")

    def state(self):
        return FederationState(self.folder / "server" / "state", self.plan)

    def wait_for(self, condition, what):
        "Wait until a condition on the state holds"
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            with suppress(Exception):  # the file is replaced now
                if condition(self.state()):
                    return
            time.sleep(0.2)
        raise AssertionError(f"no {what} in {LIMIT} s\n{self.output('server')[-1500:]}")

    def ends(self, name, code=0):
        "Wait until a command ends"
        try:
            found = self.processes[name].wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} doesn't end\n{self.output(name)[-1500:]}") from None
        assert found == code, f"{name} ended with {found}\n{self.output(name)[-1500:]}"

    def sent(self, site):
        return _lines(self.folder / "sites" / site / "private" / SENT)


def kill(process):
    "Kill a command with all processes that it started"
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()


def tree(process):
    "A command and the processes that it started"
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def undisturbed(folder, data):
    "All rounds, and only permitted messages"
    with Project(folder / "p", data) as project:
        project.start_all()
        for name in ("server", *SITES):
            project.ends(name)
        state = project.state()
        assert state.round == ROUNDS and state.result, state
        assert (project.folder / "server" / "candidate.bundle").exists()
        for site in SITES:
            sent = project.sent(site)
            assert {entry["task"] for entry in sent} == {"prepare", "train", "validate", "calibrate"}
            for entry in sent:
                fields = {k: v for k, v in entry.items() if k not in ("time", "task", "refused", "arrays")}
                assert not entry["refused"] and not outgoing_fault(entry["task"], {}, fields), entry
        trace = "".join(path.read_text(errors="replace") for path in (project.folder / "server").rglob("*.txt"))
        names = {Path(p).name for p in MedicalDataLoader(data["north"]).files.path}
        assert not any(name in trace for name in names), "a file name of a site is in the logs of the server"
        return [entry["refused"] for entry in state.history]


def foreign_certificate(folder, data):
    "A site with the certificate of another project isn't accepted, with and without the check of the command"
    with Project(folder / "p", data) as project, Project(folder / "other", data) as other:
        project.start("server")
        project.start("south")
        project.start("east")
        foreign = other.folder / "sites" / "north" / "startup" / "fed_client.json"
        foreign.write_text(foreign.read_text().replace(f":{other.port}", f":{project.port}"))

        def has_two(state):
            return any(e["event"] == "connected" and len(e["sites"]) == 2 for e in state.progress())

        project.wait_for(has_two, "two sites")
        other.start("north")
        other.ends("north", 2)
        assert "certificate" in other.output("north"), other.output("north")
        kit = foreign.parents[1]
        command = ["nvflare.private.fed.app.client.client_train", "-m", str(kit), "-s", "fed_client.json"]
        command += ["--set", "secure_train=true", "uid=north", "org=federation", "config_folder=config"]
        with _process(command, os.environ, kit / "log.txt"):
            time.sleep(20)
        connected = [e["sites"] for e in project.state().progress() if e["event"] == "connected"]
        assert connected[-1] == ["east", "south"], connected
        log = (kit / "log.txt").read_text()
        assert "Successfully registered" not in log
        return other.output("north").strip().splitlines()[-1].replace(str(folder), "")


def killed_site(folder, data):
    "A site is killed in a round; the training goes on without it, and the site joins again"
    with Project(folder / "p", data) as project:
        project.start_all()
        project.wait_for(lambda s: s.round >= 1, "first round")
        kill(project.processes["east"])
        project.ends("server")
        state = project.state()
        reasons = [entry["refused"].get("east", "") for entry in state.history]
        assert state.round == ROUNDS and any(reasons), reasons
        for site in ("north", "south"):
            project.ends(site)
        return reasons


def late_site(folder, data):
    "A site stops computing; its round goes on after the time of a task"
    with Project(folder / "p", data) as project:
        project.start_all()
        project.wait_for(lambda s: s.round >= 1, "first round")
        stopped = tree(project.processes["east"])
        for process in stopped:
            process.suspend()
        project.wait_for(lambda s: s.round >= 2, "second round")
        for process in stopped:
            with suppress(psutil.Error):
                process.resume()
        project.ends("server")
        state = project.state()
        reasons = [entry["refused"].get("east", "") for entry in state.history]
        assert state.round == ROUNDS and "no answer" in "".join(reasons), reasons
        return reasons


def killed_server(folder, data):
    "The server is killed in a round, and started again"
    with Project(folder / "p", data) as project:
        project.start_all()
        project.wait_for(lambda s: s.round >= 2, "second round")
        kill(project.processes["server"])
        before = project.state()
        project.start("server")
        project.ends("server")
        state = project.state()
        assert state.round == ROUNDS and state.result
        assert state.history[: before.round + 1] == before.history, "a whole round was computed again"
        for site in SITES:
            project.ends(site)
        return f"killed after round {before.round}, ended with {len(state.history) - 1} rounds"


TESTS = (undisturbed, foreign_certificate, killed_site, late_site, killed_server)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="name of one test")
    options = parser.parse_args()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        data = {}
        for site, part in divide_patients(MedicalDataLoader(sample_dir()), SITES).items():
            data[site] = Path(temporary) / f"{site}.csv"
            table = part.files[["path", "label", "split", "patient", "group"]]
            table.assign(path=[str(Path(p).resolve()) for p in table.path]).to_csv(data[site], index=False)
        for test in TESTS:
            if options.only not in (None, test.__name__):
                continue
            folder = Path(temporary) / test.__name__
            folder.mkdir()
            start = time.monotonic()
            try:
                found = test(folder, data)
                passed += 1
                print(f"ok   {time.monotonic() - start:6.1f} s  {test.__name__}  {json.dumps(found)}", flush=True)
            except Exception:
                failed += 1
                print(f"FAIL {time.monotonic() - start:6.1f} s  {test.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
