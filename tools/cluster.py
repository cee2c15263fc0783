"""Screen an archive while parts of the cluster are killed, on real processes: `make test-cluster`.

    python tools/cluster.py [--files 160] [--only NAME]

Each test starts `pneumonia screen` as a process, kills something with SIGKILL while it works, calls it again, and
compares the result with that of an undisturbed screening: each file has exactly one row, and all rows are equal.

- `client`: the client with its local workers;
- `worker`: one of two workers of a scheduler that was started by its command;
- `scheduler`: this scheduler;
- `s3`: the client, with source and target in a simulated S3;
- `expired`: the token of S3 expires in the middle;
- `full`: a full disk, on a small file system in memory (as root only; otherwise it is named as skipped).
"""

import argparse
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow.parquet as parquet

from browser import free_port
from pneumonia_nbdev.cluster.storage import Storage
from pneumonia_nbdev.core.base import sample_dir

QUIET = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
PNEUMONIA = [sys.executable, "-c", "from pneumonia_nbdev.cli.cli import main; main()"]
SIZE = 8  # files of a partition


def screen(source, target, *options, **environment):
    "Start the command as the leader of a group"
    command = [*PNEUMONIA, "screen", str(source), "--out", str(target), "--partition-size", str(SIZE), *options]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    return subprocess.Popen(command, env=os.environ | environment, **pipes)


def results_of(target):
    "The rows of a target: file -> row; each file has one"
    storage = Storage(target)
    rows = []
    for name in sorted(storage.names("results")):
        with storage.fs.open(storage.path(f"results/{name}"), "rb") as file:
            rows += parquet.read_table(file).to_pylist()
    found = {row["file"]: row for row in rows}
    assert len(found) == len(rows), f"{len(rows)} rows for {len(found)} files"
    return found


def wait_for_parts(target, n, process, seconds=180):
    "Wait until n partitions have a result"
    storage = Storage(target)
    end = time.monotonic() + seconds
    while len(storage.names("results")) < n:
        assert process.poll() is None, f"it ended before: {process.communicate()}"
        assert time.monotonic() < end, "no result in time"
        time.sleep(0.05)


def finish(process, code=0):
    "Wait for the end of a command"
    out, errors = process.communicate(timeout=600)
    assert process.returncode == code, (process.returncode, out[-500:], errors[-2000:])
    return out, errors


def check_equal(target, expected, ignore=()):
    "Compare the rows with those of an undisturbed screening"
    found = results_of(target)
    expected = {name: dict(row) for name, row in expected.items()}
    assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())[:3]
    for rows in (found, expected):
        for row in rows.values():
            for name in ignore:
                row.pop(name, None)
    different = [name for name, row in found.items() if row != expected[name]]
    assert not different, different[:3]
    assert not Storage(target).names("_screening/attempts"), "records of attempts are left"


def wait_for_end_of(processes, seconds=60):
    "Wait until no process is left"
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    assert not alive, f"left: {alive}"


@contextmanager
def dask(kind, *args):
    "A scheduler or a worker, started by its command"
    environment = os.environ | dict(DASK_DISTRIBUTED__WORKER__DAEMON="False")
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *args, "--no-dashboard"]
    process = subprocess.Popen(command, env=environment, start_new_session=True, **QUIET)
    try:
        yield process
    finally:
        with_children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        process.wait(60)
        for child in with_children:
            if child.is_running():
                child.kill()


def worker_process(worker):
    "The process that runs the tasks: the child of the nanny"
    children = psutil.Process(worker.pid).children()
    found = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    assert found, [child.cmdline() for child in children]
    return found[0]


def test_client(source, folder, expected):
    target = folder / "client"
    kills = 0
    while True:
        process = screen(source, target, "--workers", "2")
        try:
            if kills == 2:
                break
            wait_for_parts(target, (kills + 1) * 3, process)
            children = psutil.Process(process.pid).children(recursive=True)
        except BaseException:
            process.kill()
            raise
        process.kill()
        process.wait()
        kills += 1
        wait_for_end_of(children)
    out, _ = finish(process, code=1)
    check_equal(target, expected)
    return f"{kills} kills; {[line for line in out.splitlines() if 'had results' in line][0]}"


def test_worker(source, folder, expected):
    target = folder / "worker"
    address = f"tcp://127.0.0.1:{free_port()}"
    worker = ("worker", address, "--nthreads", "1")
    with dask("scheduler", "--host", address), dask(*worker) as first, dask(*worker):
        process = screen(source, target, "--scheduler", address)
        wait_for_parts(target, 3, process)
        worker_process(first).kill()
        wait_for_parts(target, 6, process)
        os.killpg(first.pid, signal.SIGKILL)  # with its nanny: it doesn't come back
        finish(process, code=1)
    check_equal(target, expected)
    return "a worker was killed twice, the second time with its nanny"


def test_scheduler(source, folder, expected):
    target = folder / "scheduler"
    address = f"tcp://127.0.0.1:{free_port()}"
    with dask("scheduler", "--host", address) as scheduler, dask("worker", address, "--nthreads", "1"):
        process = screen(source, target, "--scheduler", address)
        wait_for_parts(target, 4, process)
        scheduler.kill()
        _, errors = finish(process, code=2)
        assert "no_scheduler" in errors and "Traceback" not in errors, errors
    finished = len(Storage(target).names("results"))
    address = f"tcp://127.0.0.1:{free_port()}"
    with dask("scheduler", "--host", address), dask("worker", address, "--nthreads", "2"):
        finish(screen(source, target, "--scheduler", address), code=1)
    check_equal(target, expected)
    return f"{finished} partitions were finished before"


@contextmanager
def simulated_s3():
    "An S3 server on the loopback interface; yields the environment of its clients"
    code = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"
    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", code, str(port)], **QUIET)
    keys = dict(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")
    environment = dict(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", **keys)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end, "the S3 server doesn't start"
                time.sleep(0.1)
        os.environ.update(environment)
        yield server
    finally:
        server.kill()
        server.wait()
        Storage("s3://archive").fs.clear_instance_cache()  # the next server has another port
        for name in environment:
            os.environ.pop(name, None)


def upload(source):
    "Copy the files into a bucket"
    storage = Storage("s3://archive/in")
    storage.fs.mkdir("archive")
    for path in sorted(source.iterdir()):
        storage.write(path.name, path.read_bytes())


def test_s3(source, folder, expected):
    with simulated_s3():
        upload(source)
        process = screen("s3://archive/in", "s3://archive/out", "--workers", "2")
        wait_for_parts("s3://archive/out", 4, process)
        process.kill()
        process.wait()
        finish(screen("s3://archive/in", "s3://archive/out", "--workers", "2", "--positives", "5"), code=1)
        check_equal("s3://archive/out", expected, ignore=("version",))
        page = Storage("s3://archive/out").read("report.html")
        assert page and b"data:image/jpeg" in page
    return "source, target and report in S3"


class ExpiredToken(http.server.BaseHTTPRequestHandler):
    "An S3 server for a token that has expired: an answer to HEAD has no reason"

    def log_message(self, *_):
        "Write no log"

    def do_HEAD(self):
        self.send_response(400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        content = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>expired</Message></Error>"
        self.send_response(400)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def test_expired(source, folder, expected):
    with simulated_s3() as server:
        upload(source)
        process = screen("s3://archive/in", folder / "expired", "--workers", "2")
        wait_for_parts(folder / "expired", 3, process)
        server.kill()
        server.wait()
        port = int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        expired = http.server.ThreadingHTTPServer(("127.0.0.1", port), ExpiredToken)
        threading.Thread(target=expired.serve_forever, daemon=True).start()
        _, errors = finish(process, code=2)
        expired.shutdown()
        expired.server_close()
        assert "no_storage" in errors and "Traceback" not in errors, errors[-2000:]
    with simulated_s3():
        upload(source)
        finish(screen("s3://archive/in", folder / "expired", "--workers", "2"), code=1)
    check_equal(folder / "expired", expected, ignore=("version",))
    return "no_storage, then continued"


def test_full(source, folder, expected):
    disk = folder / "disk"
    disk.mkdir()
    size = (sample_dir().parent / "models" / "default.bundle").stat().st_size + 120_000
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, **QUIET).returncode:
        return "skipped: mounting needs root"
    try:
        _, errors = finish(screen(source, disk / "out", "--workers", "2"), code=2)
        assert "cannot_write" in errors and "Traceback" not in errors, errors[-2000:]
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        finish(screen(source, disk / "out", "--workers", "2"), code=1)
        check_equal(disk / "out", expected)
        return "cannot_write, then continued"
    finally:
        subprocess.run(["umount", str(disk)], check=False, **QUIET)


TESTS = (test_client, test_worker, test_scheduler, test_s3, test_expired, test_full)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=160)
    parser.add_argument("--only", choices=[test.__name__.partition("_")[2] for test in TESTS])
    args = parser.parse_args()
    failed = 0
    tests = [test for test in TESTS if args.only in (None, test.__name__.partition("_")[2])]
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        source = folder / "archive"
        source.mkdir()
        images = sorted(sample_dir().glob("*/*/*.jpeg"))
        for i in range(args.files):
            shutil.copy2(images[i % len(images)], source / f"{i:05d}.jpeg")
        (source / "broken.jpeg").write_bytes(images[0].read_bytes()[:500])
        finish(screen(source, folder / "expected", "--workers", "2"), code=1)
        expected = results_of(folder / "expected")
        for test in tests:
            began = time.monotonic()
            try:
                note = test(source, folder, expected)
                state = "ok  "
            except Exception as e:
                failed += 1
                note = f"{type(e).__name__}: {e}"
                state = "FAIL"
            print(f"{state} {test.__name__.partition('_')[2]}  {time.monotonic() - began:.0f} s  {note}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
