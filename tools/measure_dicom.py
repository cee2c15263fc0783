"""Measure the listener against bare predictions, and write `nbs/results/dicom.json`.

    python tools/measure_dicom.py [--images 100] [--kills 20]

- `bare`: images a second of `PneumoniaDetectionSystem.stream` with the same files and threads;
- `burst`: all images are sent at once over ten associations; images a second from the first acknowledgement to the last
  report at the destination;
- `latency`: the same images at 0.7 times the throughput of the burst; seconds from the acknowledgement to the report;
- `memory`: the largest resident memory of the listener, in MiB;
- `kills`: the listener is ended by SIGKILL at random moments while images arrive.

The sender and the destination are processes of their own.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from pneumonia_nbdev.core.base import package_version, sample_dir
from pneumonia_nbdev.deployment.predictor import PneumoniaDetectionSystem
from pneumonia_nbdev.dicom.source import example_dataset, example_file, file_bytes

ROOT = Path(__file__).resolve().parents[1]
PNEUMONIA = [sys.executable, "-c", "from pneumonia_nbdev.cli.cli import main; main()"]
# A node that prints one line for each object that it stores.
NODE = """
import sys, time
from pneumonia_nbdev.dicom.peers import quiet_pynetdicom
import pynetdicom
quiet_pynetdicom()
def store(event):
    now = time.time()
    ds = event.dataset
    refs = ds.get("CurrentRequestedProcedureEvidenceSequence")
    image = refs[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID if refs else ""
    print(now, ds.SOPClassUID, ds.SOPInstanceUID, image, flush=True)
    return 0
ae = pynetdicom.AE("PACS")
for context in pynetdicom.AllStoragePresentationContexts:
    ae.add_supported_context(context.abstract_syntax)
handlers = [(pynetdicom.evt.EVT_C_STORE, store)]
server = ae.start_server(("127.0.0.1", int(sys.argv[1])), block=False, evt_handlers=handlers)
print(server.server_address[1], flush=True)
sys.stdin.read()
server.shutdown()
"""
# A sender that prints the time of each acknowledgement.
SENDER = """
import sys, time
from pathlib import Path
from pneumonia_nbdev.dicom.peers import Node, StoreDestination
port, gap = int(sys.argv[1]), float(sys.argv[2])
files = [Path(line) for line in sys.stdin.read().split("\\n") if line]
target = StoreDestination(Node("PNEUMONIA", "127.0.0.1", port))
start = time.time()
if gap == 0:
    for file, status in zip(files, target.send(files)):
        print(time.time(), file.stem, status or "ok", flush=True)
else:
    for i, file in enumerate(files):
        time.sleep(max(start + i * gap - time.time(), 0))
        print(time.time(), file.stem, list(target.send([file]))[0] or "ok", flush=True)
"""
REPORT = "1.2.840.10008.5.1.4.1.1.88.33"


class Destination:
    "The process of the destination, and what it has received"

    def __init__(self, port=0):
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen([sys.executable, "-c", NODE, str(port)], **pipes)
        self.port = int(self.process.stdout.readline())
        self.rows = []  # (time, SOP class, SOP Instance UID, referenced image)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            moment, *rest = line.rstrip("\n").split(" ")
            self.rows.append((float(moment), *rest))

    def reports(self):
        "Image -> time of its first report"
        found = {}
        for moment, sop_class, _, image in list(self.rows):
            if sop_class == REPORT:
                found.setdefault(image, moment)
        return found

    def stop(self):
        self.process.stdin.close()
        self.process.wait(30)


class Listener:
    "The process of the listener"

    def __init__(self, folder, destination, port=0, *options):
        command = [*PNEUMONIA, "listen", "--queue", str(folder), "--port", str(port)]
        command += ["--send-to", f"PACS@127.0.0.1:{destination.port}", *map(str, options)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert line.startswith("{"), line + self.process.stderr.read()
        self.port = json.loads(line)["port"]
        self.lines = []
        self.memory = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def measure_memory(self):
        "The resident memory of the process, without its children, in MiB"
        self.memory = max(self.memory, psutil.Process(self.process.pid).memory_info().rss >> 20)

    def kill(self):
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(children, timeout=20)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(90) == 0


def send(port, files, gap=0.0):
    "Start a sender"
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    process = subprocess.Popen([sys.executable, "-c", SENDER, str(port), str(gap)], **pipes)
    process.stdin.write("\n".join(map(str, files)))
    process.stdin.close()
    return process


def acknowledged(process):
    "Name of a file -> time of its acknowledgement"
    rows = [line.split() for line in process.stdout]
    process.wait()
    return {name: float(moment) for moment, name, status in rows if status == "ok"}


def wait_for_reports(destination, names, listener=None, seconds=300):
    "Wait until each image has a report"
    end = time.monotonic() + seconds
    while not set(names) <= destination.reports().keys():
        assert time.monotonic() < end, f"{len(set(names) - destination.reports().keys())} images without a report"
        if listener is not None:
            listener.measure_memory()
        time.sleep(0.05)


def write_images(folder, n, prefix):
    "DICOM files of the radiographs of the sample, named by their identifier"
    sources = sorted((sample_dir() / "originals").rglob("*.jpeg"))
    files = []
    for i in range(n):
        uid = f"2.25.{prefix}{i:05d}"
        study = dict(SOPInstanceUID=uid, StudyInstanceUID=f"{uid}.1", SeriesInstanceUID=f"{uid}.2")
        path = folder / f"{uid}.dcm"
        path.write_bytes(file_bytes(example_dataset(sources[i % len(sources)], **study)))
        files.append(path)
    return files


def measure_bare(files, threads):
    "Images a second of predictions without DICOM, and seconds of one prediction alone"
    system = PneumoniaDetectionSystem(threads=threads)
    raws = [file.read_bytes() for file in files]
    list(system.stream(raws[:10]))
    start = time.perf_counter()
    list(system.stream(raws))
    rate = len(raws) / (time.perf_counter() - start)
    single = PneumoniaDetectionSystem(threads=1)
    times = []
    for raw in raws[:30]:
        start = time.perf_counter()
        single.predict(raw)
        times.append(time.perf_counter() - start)
    return rate, float(np.median(times))


def measure_burst(folder, files, threads, results):
    "Images a second when all are sent at once"
    destination = Destination()
    listener = Listener(folder / f"burst-{results}", destination, 0, "--threads", threads, "--results", results)
    senders = [send(listener.port, files[i::10]) for i in range(10)]
    answers = [acknowledged(sender) for sender in senders]
    moments = {name: moment for answer in answers for name, moment in answer.items()}
    assert len(moments) == len(files), f"{len(moments)} of {len(files)} were acknowledged"
    wait_for_reports(destination, moments, listener)
    reports = destination.reports()
    listener.stop()
    destination.stop()
    first = min(moments.values())
    seconds = max(reports.values()) - first
    return dict(
        images_per_second=len(files) / seconds,
        acknowledged_seconds=max(moments.values()) - first,
        drained_seconds=seconds,
        memory_mib=listener.memory,
    )


def measure_latency(folder, files, threads, rate, results):
    "Seconds from the acknowledgement to the report at a steady rate"
    destination = Destination()
    listener = Listener(folder / "latency", destination, 0, "--threads", threads, "--results", results)
    moments = acknowledged(send(listener.port, files, 1 / rate))
    wait_for_reports(destination, moments, listener)
    reports = destination.reports()
    listener.stop()
    destination.stop()
    seconds = [reports[name] - moments[name] for name in moments]
    return dict(rate=rate, median=float(np.median(seconds)), p95=float(np.percentile(seconds, 95)), n=len(seconds))


def measure_kills(folder, n_kills, seed=1):
    "End the listener at random moments while images arrive; nothing that was acknowledged may be lost"
    rng = random.Random(seed)
    destination = Destination()
    files = write_images(folder, 12 * n_kills, "9")
    kept = {}
    for i in range(n_kills):
        listener = Listener(folder / "kills", destination)
        sender = send(listener.port, files[12 * i : 12 * (i + 1)], 0.02)
        first = sender.stdout.readline().split()
        time.sleep(rng.uniform(0, 2))
        listener.kill()
        kept |= acknowledged(sender)
        if first[2:] == ["ok"]:
            kept[first[1]] = float(first[0])
    listener = Listener(folder / "kills", destination)
    wait_for_reports(destination, kept, listener)
    deadline = time.monotonic() + 60
    while any((folder / "kills" / "results").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    listener.stop()
    destination.stop()
    objects = [row[2] for row in destination.rows]
    of_image = {}
    for _, sop_class, uid, image in destination.rows:
        of_image.setdefault((sop_class, image), set()).add(uid)
    several = [key for key, uids in of_image.items() if key[1] and len(uids) > 1]
    assert not several, f"an image has several results of one kind: {several[:2]}"
    left = [str(path) for kind in ("images", "results") for path in (folder / "kills" / kind).iterdir()]
    assert not left, f"files are left: {left[:2]}"
    return dict(
        kills=n_kills,
        sent=len(files),
        acknowledged=len(kept),
        with_report=len(set(kept) & destination.reports().keys()),
        objects=len(objects),
        sent_twice=len(objects) - len(set(objects)),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--threads", type=int, default=min(os.cpu_count() or 1, 4))
    parser.add_argument("--out", type=Path, default=ROOT / "nbs" / "results" / "dicom.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        files = write_images(folder, args.images, "1")
        rate, single = measure_bare(files, args.threads)
        found = dict(cpus=os.cpu_count(), threads=args.threads, images=args.images, bytes=len(example_file()))
        found["bare"] = dict(images_per_second=rate, seconds_of_one=single)
        print(json.dumps(found["bare"]), flush=True)
        found["burst"] = {}
        for results in ("sr", "sr,gsps,ko", "sr,sc,gsps,seg,ko"):
            burst = measure_burst(folder, files, args.threads, results)
            burst["ratio"] = burst["images_per_second"] / rate
            found["burst"][results] = burst
            print(results, json.dumps(burst), flush=True)
        steady = 0.7 * found["burst"]["sr,gsps,ko"]["images_per_second"]
        found["latency"] = measure_latency(folder, files, args.threads, steady, "sr,gsps,ko")
        found["latency"]["limit"] = 1 + 3 * single
        print(json.dumps(found["latency"]), flush=True)
        found["kills"] = measure_kills(folder, args.kills)
        print(json.dumps(found["kills"]), flush=True)
        found["versions"] = {name: package_version(name) for name in ("highdicom", "pynetdicom", "pydicom")}
    rounded = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 4))
    args.out.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
