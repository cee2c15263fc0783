"""Measure a screening on one and two workers, and the overhead of client and scheduler: `nbs/results/cluster.json`.

    python tools/measure_cluster.py [--files 10000] [--size 500] [--rounds 1] [--short 30] [--out FILE]

The files are hard links to the images of the sample. Each worker has one thread and decodes images in a process of its
own. The rounds alternate between one and two workers. Run this on two idle cores.

Rates count from the first task to the last one, without the start of the workers: `start_seconds` has it, with the
model. `partition_seconds` is what a partition adds to its files, from a run of one worker with one file a partition,
less the time of a file and of a task. `task_seconds` is the time that
client and scheduler need for one task without content but with the list of a partition; `entry_bytes` is what the
scheduler's memory grows by for each file of a submitted partition.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from browser import free_port
from pneumonia_nbdev.cluster.client import open_client
from pneumonia_nbdev.cluster.manifest import Manifest
from pneumonia_nbdev.cluster.partition import load_model, publish_model
from pneumonia_nbdev.cluster.screening import Screening, _make_job, _run
from pneumonia_nbdev.cluster.listing import Listing
from pneumonia_nbdev.cluster.storage import Entry, Storage
from pneumonia_nbdev.core.base import sample_dir


SHORT = 500  # files of a short round
SINGLE = 200  # files of the run with one file a partition


def link_files(folder, n):
    "Hard links to the images of the sample, or copies on another file system"
    images = sorted((sample_dir()).glob("*/*/*.jpeg"))
    for i in range(n):
        source = images[i % len(images)]
        path = folder / f"{i // 1000:03d}" / f"{i:06d}.jpeg"
        path.parent.mkdir(exist_ok=True)
        try:
            os.link(source, path)
        except OSError:
            path.write_bytes(source.read_bytes())


def processes():
    "This process and its descendants"
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


class Usage:
    "Processor time and memory of client and workers"

    def __init__(self):
        self.peak = {"client": 0, "workers": 0}

    def sample(self):
        own, *others = processes()
        self.peak["client"] = max(self.peak["client"], own.memory_info().rss)
        memory = 0
        for process in others:
            try:
                memory += process.memory_full_info().pss
            except (psutil.Error, AttributeError):
                continue
        self.peak["workers"] = max(self.peak["workers"], memory)
        times = own.cpu_times()
        return times.user + times.system


def open_model(job):
    "Load the model on a worker"
    load_model(job)


def measure_run(source, workers, size):
    "One screening"
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as target, open_client(workers=workers) as client:
        job = _make_job(source, target)
        publish_model(Storage(target))
        began = time.monotonic()
        manifest = Manifest.create(job, size)
        listed = time.monotonic() - began
        addresses = list(client.nthreads())
        client.gather([client.submit(open_model, job, workers=[a], pure=False, key=f"open-{a}") for a in addresses])
        opened = time.monotonic() - started - listed
        usage = Usage()
        ends = []
        screening = Screening(job.target)
        before = usage.sample()
        began = time.monotonic()

        def on_progress(screening):
            ends.append(time.monotonic() - began)
            usage.sample()

        _run(client, manifest, screening, on_progress)
        seconds = time.monotonic() - began
        client_seconds = usage.sample() - before
    counts = screening.counts
    assert counts["files"] == manifest.files and not counts["failed"]
    return {
        "workers": workers,
        "files": counts["files"],
        "partitions": screening.partitions,
        "seconds": round(seconds, 2),
        "rate": round(counts["files"] / seconds, 2),
        "client_cpu_seconds": round(client_seconds, 2),
        "listed_per_second": round(manifest.files / listed),
        "start_seconds": round(opened, 2),
        "client_peak_mb": round(usage.peak["client"] / 1e6),
        "workers_peak_mb": round(usage.peak["workers"] / 1e6),
        "bytes": counts["bytes"],
        "ends": [round(end, 2) for end in ends],
    }


def measure_short(source, rounds):
    "The efficiency of two workers in short rounds that alternate: median, 10th and 90th percentile"
    found = []
    for number in range(rounds):
        order = (1, 2) if number % 2 else (2, 1)
        rate = {workers: measure_run(source, workers, SHORT // 10)["rate"] for workers in order}
        found.append(rate[2] / (2 * rate[1]))
    low, middle, high = (float(q) for q in np.percentile(found, (10, 50, 90)))
    efficiency = dict(median=round(middle, 3), low=round(low, 3), high=round(high, 3))
    return dict(rounds=rounds, files=SHORT, partition_size=SHORT // 10, efficiency=efficiency)


def nothing(job, number, entries):
    "A task without content"
    return len(entries)


def measure_overhead(size, n=2000):
    "Client and scheduler with tasks without content: seconds a task, bytes of the scheduler for an entry"
    import distributed

    address = f"tcp://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", address, "--no-dashboard"]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    scheduler = subprocess.Popen(command, **quiet)
    worker = None
    entries = [Entry(f"{i // 1000:03d}/some_patient_{i:06d}.dcm", 250_000, f"{i:032x}") for i in range(size)]
    try:
        with distributed.Client(address, set_as_default=False, timeout=30) as client:
            process = psutil.Process(scheduler.pid)
            base = process.memory_info().rss
            held = [client.submit(nothing, None, i, [*entries], key=f"held-{i}", pure=False) for i in range(200)]
            time.sleep(3)
            grown = process.memory_info().rss - base
            command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
            worker = subprocess.Popen([*command, "--no-dashboard"], **quiet)
            client.gather(held)
            times = process.cpu_times(), psutil.Process().cpu_times()
            began = time.monotonic()
            completed = distributed.as_completed(loop=client.loop)
            for i in range(n):
                completed.add(client.submit(nothing, None, i, [*entries], key=f"task-{i}", pure=False))
                if completed.count() >= 4:
                    next(completed)
            for _ in completed:
                pass
            seconds = time.monotonic() - began
            after = process.cpu_times(), psutil.Process().cpu_times()
            used = [b.user + b.system - a.user - a.system for a, b in zip(times, after, strict=True)]
    finally:
        scheduler.kill()
        if worker is not None:
            worker.terminate()
            worker.wait()
    return {
        "tasks": n,
        "entries": size,
        "task_seconds": round(seconds / n, 5),
        "scheduler_cpu_seconds": round(used[0] / n, 5),
        "client_cpu_seconds": round(used[1] / n, 5),
        "scheduler_base_mb": round(base / 1e6),
        "entry_bytes": round(grown / 200 / size),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--short", type=int, default=30, help="short rounds for the efficiency")
    parser.add_argument("--out", type=Path, default=Path("nbs/results/cluster.json"))
    args = parser.parse_args()
    overhead = measure_overhead(args.size)
    print(json.dumps(overhead), flush=True)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        link_files(Path(folder), args.files)
        assert sum(1 for _ in Listing(folder)) == args.files
        for _ in range(args.rounds):
            for workers in (1, 2):
                runs.append(measure_run(folder, workers, args.size))
                print(json.dumps({k: v for k, v in runs[-1].items() if k != "ends"}), flush=True)
        with tempfile.TemporaryDirectory() as few:
            link_files(Path(few), SINGLE)
            single = measure_run(few, 1, 1)["seconds"] / SINGLE
        with tempfile.TemporaryDirectory() as some:
            link_files(Path(some), SHORT)
            short = measure_short(some, args.short)
            print(json.dumps(short), flush=True)
    file = statistics.median(run["seconds"] / run["files"] for run in runs if run["workers"] == 1)
    overhead["partition_seconds"] = round(single - file - overhead["task_seconds"], 4)
    print(json.dumps(overhead), flush=True)
    result = dict(overhead=overhead, runs=runs, short=short)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
