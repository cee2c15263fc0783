"""Send damaged files to the reader, the server and the command line, and check that only these files fail.

    python tools/fuzz.py --minutes 5                    the three targets, one after the other
    python tools/fuzz.py --seconds 60 --target reader   one of reader, server, cli
    python tools/fuzz.py --files 80000 --seed 3         a number of files instead of a time
    python tools/fuzz.py --formats jpeg dicom_jpegls    only seeds whose name begins with one of these words
    python tools/fuzz.py --keep FOLDER                  store files that ended a reading process, minimised

`tools/mutate.py` damages the files of `tools/seeds.py`; the same seed and number give the same file. The files of
nbs/fixtures/hostile, of `tools/hostile.py` and of ../shared/cases/21_hostile are sent unchanged between them.

After the damaged files, a good file must give the same result as before, within 3 times its usual time. A thread
requests /health/live, and another one adds up the memory of all processes. Exit code 1: the server or the command
ended, or a good file was answered late or wrongly.
"""

import argparse
import csv
import gzip
import hashlib
import http.client
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

import hostile
from mutate import minimise, mutant
from seeds import seeds

from pneumonia_nbdev.core.decoder_process import MEMORY

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "nbs/fixtures/hostile"
CASES = ROOT.parent / "shared/cases/21_hostile"
GOOD = ROOT / "pneumonia_nbdev/sample/test"
THREADS = 2
GOOD_EVERY = {"reader": 10, "server": 1}  # damaged files between two good ones
FIXED_EVERY = 4  # files between two unchanged ones
BATCH_EVERY = 50  # requests between two batches
BATCH = 50  # files
FOLDER = 200  # files of one call of the command
LATE = 3  # times the usual seconds
RETRIES = 3  # other programs on the machine can delay one answer
# The program itself, and the processes that decode: one for each thread of the server and two more.
LIMIT_MEMORY = int(1.5 * 2**30) + (min(os.cpu_count() or 1, 4) + 2) * MEMORY
INTERRUPTED = threading.Event()  # Ctrl+C ends the run, with its tables
MIN_SECONDS = 0.05  # what is faster than this isn't late
SHARES = {"reader": 0.6, "server": 0.25, "cli": 0.15}  # of the time or of the files
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "bmp": ".bmp", "tiff": ".tif", "webp": ".webp"}


def group_of(name):
    "The row of the table for a seed: its format, or the transfer syntax"
    return re.sub(r"_\d+$", "", name) if name.startswith("dicom") else name.split("_")[0]


class Files:
    "Damaged files in a fixed order: mutants of all seeds in turn, and unchanged files between them"

    def __init__(self, seed, formats):
        def wanted(name):
            return not formats or name.startswith(tuple(formats))

        self.seed = seed
        self.seeds = seeds()
        self.names = [name for name in self.seeds if wanted(name)]
        self.fixed = [] if formats else [*stored_files().items(), *hostile.files().items()]
        self.lock = threading.Lock()
        self.restart(0)

    def restart(self, target):
        "Begin again for a target, with other mutants"
        self.fixed_left = iter(self.fixed)
        self.numbers = itertools.count(target * 10_000_000)

    def __next__(self):
        "(row of the table, label, content) of the next file"
        with self.lock:
            number = next(self.numbers)
            fixed = next(self.fixed_left, None) if number % FIXED_EVERY == 0 else None
        if fixed:
            name, make = fixed
            return "unchanged", name, make()
        name = self.names[number % len(self.names)]
        return group_of(name), f"{name}-{number}", mutant(self.seeds, name, self.seed, number)


def stored_files():
    "Name -> function that reads a committed fixture or a case"
    paths = [*sorted(FIXTURES.glob("*.*")), *sorted(CASES.glob("*"))]
    return {path.name: partial(read_stored, path) for path in paths if path.suffix not in (".md", ".txt")}


def read_stored(path):
    "The content of a file, inflated if it is a gzip archive"
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


class Report:
    "What happened to the files of a target"

    def __init__(self, target):
        self.target = target
        self.rows = defaultdict(Counter)
        self.problems = []
        self.repeated = Counter()
        self.good = Counter()
        self.slowest = 0.0  # of a good file, as a multiple of its usual time
        self.memory = 0  # bytes, maximum over time
        self.alive = 0.0  # seconds, maximum of /health/live
        self.deaths = []  # records of reading processes
        self.longest = (0.0, "")  # seconds and name of the damaged file that took longest
        self.lock = threading.Lock()
        self.start = time.time()

    def add(self, group, code, reason="", took=(0.0, "")):
        "Count a file by the code of its answer; `took` is its seconds and its name"
        with self.lock:
            self.longest = max(self.longest, took)
            row = self.rows[group]
            row["files"] += 1
            row["read" if code is None else "refused"] += 1
            row["slow"] += code == "too_slow"
            row["memory"] += code == "too_large" and "memory" in reason
            row["died"] += code == "unreadable_image" and "crashed" in reason

    def problem(self, text, where=""):
        "Note something that must not happen; the same text is printed once"
        with self.lock:
            self.repeated[text] += 1
            if self.repeated[text] > 1:
                return
            self.problems.append(f"{text} {where}".strip())
        print(f"{self.target}: {self.problems[-1]}", flush=True)

    def files(self):
        "Number of files so far"
        return sum(row["files"] for row in self.rows.values())

    def show(self):
        "Print the table"
        if self.memory > LIMIT_MEMORY:
            self.problem("the processes used more memory than their limits allow")
        columns = ("files", "read", "refused", "died", "slow", "memory")
        heads = ("files", "read", "refused", "workers died", "too slow", "over memory")
        seconds = time.time() - self.start
        print(f"\n{self.target}: {self.files()} files in {seconds:.0f} s, {self.files() / seconds:.0f} per second")
        print(f"{'':24}" + "".join(f"{head:>13}" for head in heads))
        total = sum(self.rows.values(), Counter())
        for name, row in [*sorted(self.rows.items()), ("all", total)]:
            print(f"{name:24}" + "".join(f"{row[column]:>13}" for column in columns))
        print(f"good files: {self.good['sent']} sent, {self.good['late']} late, {self.good['wrong']} wrong", end="; ")
        timed = f"slowest {self.slowest:.1f} x the usual time" if self.slowest else "their time was not measured"
        print(f"{timed}; memory of all processes {self.memory >> 20} MiB, limit {LIMIT_MEMORY >> 20} MiB", end="")
        print(f"; /health/live at most {self.alive:.2f} s" if self.target == "server" else "")
        if self.longest[1]:
            print(f"the damaged file that took longest: {self.longest[1]}, {self.longest[0]:.1f} s")
        kinds = Counter((d["signal"] or d["limit"], d["format"], d["transfer_syntax"]) for d in self.deaths)
        for kind, n in kinds.most_common():
            print("  ended reading processes:", n, *kind)


class Memory(threading.Thread):
    "Add up the memory of processes once a second, keep the maximum, and print a line every minute"

    def __init__(self, report, pid):
        super().__init__(daemon=True)
        self.report, self.pid, self.ended = report, pid, threading.Event()

    def run(self):
        for seconds in itertools.count(1):
            if self.ended.wait(1):
                break
            self.report.memory = max(self.report.memory, memory_of(self.pid))
            if seconds % 60 == 0:
                print(f"{self.report.target}: {self.report.files()} files", flush=True)


def memory_of(pid):
    "Bytes of a process and its descendants; shared pages count once"
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                total += one.memory_full_info().pss
    return total


class Good:
    "Good files with their results and usual seconds"

    def __init__(self, report, paths, ask):
        self.report, self.ask = report, ask
        self.contents = {path.name: path.read_bytes() for path in paths}
        self.expected = {name: ask(raw) for name, raw in self.contents.items()}
        self.usual = {name: self._median(raw) for name, raw in self.contents.items()}
        self.names = itertools.cycle(self.contents)
        self.alone = threading.Lock()  # while a good file is timed, no batch is sent

    def _median(self, raw):
        seconds = []
        for _ in range(15):
            start = time.perf_counter()
            self.ask(raw)
            seconds.append(time.perf_counter() - start)
        return max(statistics.median(seconds), MIN_SECONDS)

    def check(self, before):
        "A good file must give its result in time; `before` names the files that came before"
        name = next(self.names)
        for _ in range(RETRIES):
            with self.alone:
                start = time.perf_counter()
                try:
                    result = self.ask(self.contents[name])
                except Exception as error:  # noqa: BLE001
                    result = f"{type(error).__name__}: {error}"
                ratio = (time.perf_counter() - start) / self.usual[name]
            if ratio <= LATE or result != self.expected[name]:
                break
            time.sleep(1)
        with self.report.lock:
            self.report.good["sent"] += 1
            self.report.slowest = max(self.report.slowest, ratio)
        if result != self.expected[name]:
            self.report.good["wrong"] += 1
            self.report.problem(f"good file {name} gave {str(result)[:200]}", f"after {before}")
        elif ratio > LATE:
            self.report.good["late"] += 1
            self.report.problem(f"good file {name} took {ratio:.1f} x its usual time", f"after {before}")


class Limit:
    "Whether a target goes on: until a time, or up to a number of files"

    def __init__(self, seconds, files):
        self.seconds, self.files = seconds, files
        self.end = None

    def goes_on(self, report):
        "False at the end; the time begins with the first call"
        self.end = self.end or time.time() + self.seconds
        before = report.files() < self.files if self.files else time.time() < self.end
        return before and len(report.problems) < 20 and not INTERRUPTED.is_set()


def in_threads(work):
    "Call a function in each thread, and raise its errors"
    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(work) for _ in range(THREADS)]:
            future.result()


# --- the reader of the package


def fuzz_reader(files, limit, keep):
    "Files are read by `read_xray`, whose decoders run in other processes"
    from pneumonia_nbdev.core.base import InputError
    from pneumonia_nbdev.core.image import read_xray
    from pneumonia_nbdev.core.isolation import configure_isolation

    report = Report("reader")
    current = threading.local()

    def on_death(record):
        record["file"] = getattr(current, "label", "")
        report.deaths.append(record)
        if keep is not None and record["limit"] != "time":
            keep_file(keep, record, current.raw)

    configure_isolation(processes=THREADS, on_death=on_death)

    def ask(raw):
        return hashlib.sha256(read_xray(raw).pixels.tobytes()).hexdigest()

    good = Good(report, good_paths(), ask)

    def work():
        for number in itertools.count(1):
            if not limit.goes_on(report):
                break
            group, current.label, current.raw = next(files)
            start = time.perf_counter()
            try:
                read_xray(current.raw)
                report.add(group, None, "", (time.perf_counter() - start, current.label))
            except InputError as error:
                took = (time.perf_counter() - start, current.label)
                report.add(group, error.code, error.reason or "", took)
            except Exception as error:  # noqa: BLE001
                report.problem(f"{type(error).__name__}: {error}", f"for {current.label}")
            if number % GOOD_EVERY["reader"] == 0:
                good.check(current.label)

    memory = Memory(report, os.getpid())
    memory.start()
    in_threads(work)
    memory.ended.set()
    if keep is not None:
        minimise_kept(keep)
    return report


def good_paths():
    "A normal and a pneumonia image of the sample"
    return [sorted((GOOD / name).glob("*.jp*g"))[0] for name in ("NORMAL", "PNEUMONIA")]


def keep_file(folder, record, raw):
    "Store one file of each kind of death"
    kind = f"{record['format']}{record['transfer_syntax'][-4:]}-{record['signal'] or record['limit']}"
    cause = hashlib.sha256(re.sub(r"0x\w+|\d+", "", record["trace"])[-200:].encode()).hexdigest()[:6]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{cause}.bin"
    if not path.exists() and len(list(folder.glob("*.bin"))) < 50:
        path.write_bytes(raw)


def minimise_kept(folder, seconds=60):
    "Shorten the stored files as long as they end a reading process"
    from pneumonia_nbdev.core.image import read_xray
    from pneumonia_nbdev.core.isolation import configure_isolation

    died = []
    configure_isolation(on_death=died.append)

    def ends_process(raw):
        died.clear()
        with suppress(Exception):
            read_xray(raw)
        return bool(died) and time.time() < end

    end = time.time() + seconds
    for path in sorted(folder.glob("*.bin")):
        raw = path.read_bytes()
        if ends_process(raw):
            path.write_bytes(minimise(raw, ends_process))


# --- a server


class Client:
    "A connection that is kept open"

    def __init__(self, url):
        self.address = url.removeprefix("http://")
        self.connection = None

    def get(self, path):
        return self.request("GET", path, None, {})

    def post(self, path, field, files):
        "Upload files in a form: (status, JSON)"
        border = "----------------fuzz"
        head = f'--{border}\r\nContent-Disposition: form-data; name="{field}"; filename="'
        parts = [f'{head}{name}"\r\n\r\n'.encode() + raw + b"\r\n" for name, raw in files]
        body = b"".join([*parts, f"--{border}--\r\n".encode()])
        return self.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={border}"})

    def request(self, method, path, body, headers):
        "(status, JSON); a connection that the server has closed is opened once more"
        with suppress(OSError, http.client.HTTPException):
            if self.connection is not None:
                return self._exchange(method, path, body, headers)
        self.connection = http.client.HTTPConnection(self.address, timeout=300)
        return self._exchange(method, path, body, headers)

    def _exchange(self, method, path, body, headers):
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


class Server:
    "`pneumonia serve` on a free port"

    def __init__(self, folder):
        self.log = Path(folder) / "server.log"
        self.output = self.log.open("w")
        command = [sys.executable, "-m", "pneumonia_nbdev", "serve", "--port", "0", "--threads", str(THREADS)]
        self.process = subprocess.Popen(command, stdout=self.output, stderr=subprocess.STDOUT, cwd=ROOT)
        self.url = None
        end = time.time() + 120
        while self.url is None and time.time() < end and self.process.poll() is None:
            time.sleep(0.1)
            found = re.search(r"http://127\.0\.0\.1:\d+", self.log.read_text())
            self.url = found and found[0]
        assert self.url, self.log.read_text()[-3000:]

    def deaths(self):
        "Records of reading processes in the log"
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if '"decoder_died"' in line]
        records = []
        for line in lines:
            with suppress(ValueError):
                records.append(json.loads(line))
        return records

    def stop(self):
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        if self.process.poll() is None:
            self.process.kill()
        self.output.close()


def ask_server(client, raw):
    "The probability of pneumonia, or the error"
    status, answer = client.post("/predict", "file", [("good.jpg", raw)])
    return answer["probabilities"]["PNEUMONIA"] if status == 200 else (status, answer.get("code"))


def watch_health(report, url, ended):
    "Keep the longest answer of /health/live"
    while not ended.wait(0.1):
        start = time.perf_counter()
        try:
            status = Client(url).get("/health/live")[0]
        except (OSError, ValueError, http.client.HTTPException) as error:
            status = type(error).__name__
        report.alive = max(report.alive, time.perf_counter() - start)
        if status != 200:
            report.problem(f"/health/live: {status}")


def fuzz_server(files, limit, keep):
    "Files are uploaded to a server: one each, and 50 together"
    report = Report("server")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        good = Good(report, good_paths(), lambda raw: ask_server(Client(server.url), raw))
        ended = threading.Event()
        health = threading.Thread(target=watch_health, args=(report, server.url, ended), daemon=True)
        memory = Memory(report, server.process.pid)
        memory.start()
        health.start()
        in_threads(lambda: upload(Client(server.url), files, limit, report, good, server))
        ended.set()
        memory.ended.set()
        health.join()
        if server.process.poll() is not None:
            report.problem(f"the server ended with {server.process.returncode}: {server.log.read_text()[-1500:]}")
        server.stop()
        report.deaths = server.deaths()
    return report


def upload(client, files, limit, report, good, server):
    "What one client does"
    for number in itertools.count(1):
        if not limit.goes_on(report) or server.process.poll() is not None:
            break
        n = BATCH if number % BATCH_EVERY == 0 else 1
        sent = [next(files) for _ in range(n)]
        start = time.perf_counter()
        try:
            if n == 1:
                answers = [client.post("/predict", "file", [("x", sent[0][2])])]
                answers = [answer if status != 200 else {} for status, answer in answers]
            else:
                with good.alone:
                    answer = client.post("/batch_predict", "files", [(label, raw) for _, label, raw in sent])[1]
                results = answer.get("results") or [{"error": answer}] * n  # the whole request can be refused
                answers = [result.get("error", {}) for result in results]
        except Exception as error:  # noqa: BLE001
            report.problem(f"{type(error).__name__}: {error}", f"for {sent[0][1]}")
            continue
        took = (time.perf_counter() - start, sent[0][1] if n == 1 else f"{n} files from {sent[0][1]}")
        for (group, _, _), answer in zip(sent, answers, strict=True):
            report.add(group, answer.get("code"), answer.get("reason") or "", took)
        if number % GOOD_EVERY["server"] == 0:
            good.check(sent[-1][1])


# --- the command line


def fuzz_cli(files, limit, keep):
    "`pneumonia screen` on folders of 200 files"
    report = Report("cli")
    usual = None
    while limit.goes_on(report):
        with tempfile.TemporaryDirectory() as folder:
            usual = screen(Path(folder), files, report, usual)
    return report


def screen(folder, files, report, usual):
    "One call of the command; returns the probabilities of the good files"
    images = folder / "images"
    images.mkdir()
    groups = {}
    for path in good_paths():
        (images / f"good-{path.parent.name}{path.suffix}").write_bytes(path.read_bytes())
    for _ in range(FOLDER if usual else 0):
        group, label, raw = next(files)
        name = re.sub(r"\W", "_", label) + SUFFIXES.get(group.split("_")[0], ".dcm")
        groups[name] = group
        (images / name).write_bytes(raw)
    answers = run_screen(folder, images, report)
    good = {name: answers.pop(name, None) for name in sorted(answers) if name.startswith("good-")}
    if usual is None:  # the first call has only the good files
        return good
    for name, error in answers.items():
        report.add(groups.get(name, "other"), error if isinstance(error, str) else None)
    report.good["sent"] += len(good)
    if good != usual:
        report.good["wrong"] += 1
        report.problem(f"good files gave {good} instead of {usual}")
    missing = FOLDER - len(answers)
    if missing:
        report.problem(f"{missing} files are missing in the report")
    return usual


def run_screen(folder, images, report):
    "Name -> probability or error code, from one call"
    out = folder / "out"
    command = [sys.executable, "-m", "pneumonia_nbdev", "screen", str(images), "--out", str(out)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        memory = Memory(report, process.pid)
        memory.start()
        try:
            code = process.wait(900)
        except subprocess.TimeoutExpired:
            process.kill()
            code = "no end after 900 s"
        memory.ended.set()
    text = (folder / "log").read_text(errors="replace")
    for line in text.splitlines():
        if '"decoder_died"' in line:
            with suppress(ValueError):
                report.deaths.append(json.loads(line))
    if code not in (0, 1):
        report.problem(f"screen ended with {code}: {text[-1500:]}")
        return {}
    with (out / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["file"]: row["error"] or float(row["probability"] or "nan") for row in rows}


TARGETS = {"reader": fuzz_reader, "server": fuzz_server, "cli": fuzz_cli}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--files", type=int, help="stop after this number of files, at any time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=(*TARGETS, "all"), default="all")
    parser.add_argument("--formats", nargs="*", default=[])
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    targets = list(TARGETS) if arguments.target == "all" else [arguments.target]
    shares = {target: SHARES[target] / sum(SHARES[t] for t in targets) for target in targets}
    seconds = arguments.seconds or arguments.minutes * 60
    files = Files(arguments.seed, arguments.formats)
    signal.signal(signal.SIGINT, lambda *_: INTERRUPTED.set())
    print(f"{len(files.names)} seeds, {len(files.fixed)} unchanged files; seed {arguments.seed}")
    reports = []
    for target in targets:
        count = arguments.files and round(arguments.files * shares[target])
        files.restart(list(TARGETS).index(target))
        reports.append(TARGETS[target](files, Limit(seconds * shares[target], count), arguments.keep))
        reports[-1].show()
    problems = [f"{report.target}: {text}" for report in reports for text in report.problems]
    total = sum(report.files() for report in reports)
    print(f"\n{total} damaged files, {sum(r.good['sent'] for r in reports)} good ones, {len(problems)} problems")
    print(*problems[:20], sep="\n")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
