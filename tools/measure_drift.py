"""Measure the drift monitor of the default model: average run lengths without a shift, and the delay of its alarms.

    python tools/measure_drift.py DATA [--adults ADULTS] [--n-resamples 100] [--out nbs/results/drift.csv]
        [--test TEST_LOG]

DATA is the official data set. All streams have the images of a patient in a row.

In control, half of the patients are the reference and the others arrive in random order. The calibration part of
validation gives the run length at several thresholds, from which the threshold of the monitor was chosen: the largest
with 10,000 images per false alarm. The other rows use all of validation. Three of them change only the case mix, with
the labels of validation.

Shifted images follow 100 images of validation. ADULTS is a folder of other chest X-rays. The corruptions are those of
the notebook on robustness, at the third of five levels. With TEST_LOG, images of the official test split are a stream,
too, and the use of the split is written to that CSV file. Its labels aren't used.
"""

import argparse
import gc
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pneumonia_nbdev.continual.drift import ALPHA, WINDOW, observe
from pneumonia_nbdev.continual.run_length import detection_delay, in_control_runs, run_length
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.image import read_xray
from pneumonia_nbdev.core.metrics import wilson_interval
from pneumonia_nbdev.core.xray import XRay
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.evaluation.robustness import CORRUPTIONS

LEVEL = 2  # of five, counted from zero
ALPHAS = (0.01, 0.005, 0.002, 0.001)  # candidates of the threshold
TARGET = 10_000  # images per false alarm
CASE_MIXES = (0.2, 0.5, 0.9)  # fraction of the patients with pneumonia


def corrupted(change, level, paths):
    "Corrupted X-rays"
    for path in paths:
        yield XRay(np.asarray(change(read_xray(path).levels, level), np.float32))


def shifted_streams(loader, adults):
    "Name of a domain -> its images and their patients; None for one image a patient"
    streams = {}
    if adults:
        paths = sorted(path for path in adults.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        streams["adults, another hospital"] = (paths[::2], None)
    rows = loader.split_rows("val").iloc[::2]
    for name, (change, levels) in CORRUPTIONS.items():
        images = corrupted(change, levels[LEVEL], rows.path)
        streams[f"{name.split(',')[0]} {levels[LEVEL]}"] = (images, rows.patient.to_numpy(str))
    return streams


def start_process():
    "Use one core, and keep the modules out of the garbage collections of statsmodels"
    threadpool_limits(1)
    gc.freeze()


def log_use(path, bundle, n):
    "Add the use of the test split to a log"
    row = dict(date=date.today().isoformat(), model=bundle.id, why="drift monitor, images without labels", n=n)
    pd.DataFrame([row]).to_csv(path, mode="a", header=not Path(path).exists(), index=False)


def _with_rate(row, n_alarms, n_streams):
    "The row with the number of streams with an alarm, and its interval"
    low, high = wilson_interval(n_alarms, n_streams)
    return row | dict(streams=n_streams, rang=n_alarms, low=low, high=high)


def in_control_row(stream, runs, bundle, alpha=ALPHA):
    "One row of the table from streams of the same domain"
    length = run_length(runs, alpha)
    mix = run_length(runs, alpha, "mix_p_value")
    row = _with_rate(dict(stream=stream, kind="in control"), length["alarms"], length["streams"])
    lengths = {name: length[name] for name in ("images", "arl", "arl_low", "arl_high", "per_1000")}
    row |= lengths | dict(case_mix_rang=mix["alarms"], case_mix_arl=mix["arl"], model=bundle.id, alpha=alpha)
    print(row, flush=True)
    return row


def shifted_row(stream, delays, bundle):
    "One row of the table from streams with a shift; the delay without an alarm counts as the length of the window"
    found = delays[~np.isnan(delays)]
    row = _with_rate(dict(stream=stream, kind="shifted"), len(found), len(delays))
    row |= dict(
        median_images=float(np.median(found)) if len(found) else np.nan,
        arl=float(np.nan_to_num(delays, nan=WINDOW).mean()),
        model=bundle.id,
        alpha=ALPHA,
    )
    print(row, flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--adults", type=Path)
    parser.add_argument("--n-resamples", "--draws", type=int, default=100, help="number of streams of each domain")
    parser.add_argument("--processes", type=int, default=2, help="number of processes of the simulation")
    parser.add_argument("--test", type=Path, help="log of the use of the test split, whose images are then a stream")
    parser.add_argument("--out", type=Path, default=Path("nbs/results/drift.csv"))
    args = parser.parse_args()
    n_streams = args.n_resamples
    bundle = Bundle()
    loader = MedicalDataLoader(args.data)
    val = loader.split_rows("val")
    known = observe(bundle, val.path, val.patient.to_numpy(str))
    part = val.path.isin(loader.split_rows("calibration").path).to_numpy()
    y = (val.label == "PNEUMONIA").to_numpy(int)
    streams = shifted_streams(loader, args.adults)
    if args.test:
        rows = loader.split_rows("test")
        log_use(args.test, bundle, len(rows))
        streams["official test set, no labels"] = (rows.path, rows.patient.to_numpy(str) + ", test")
    with ProcessPoolExecutor(args.processes, initializer=start_process) as pool:
        calibration = pool.submit(in_control_runs, known[part], 10 * n_streams, bundle.threshold)
        same = pool.submit(in_control_runs, known, 3 * n_streams, bundle.threshold)
        mixes = {
            fraction: pool.submit(in_control_runs, known, n_streams, bundle.threshold, y, fraction)
            for fraction in CASE_MIXES
        }
        delays = {}
        for name, (images, patients) in streams.items():
            shifted = observe(bundle, images, patients)
            delays[name] = pool.submit(detection_delay, known, shifted, 100, n_streams, bundle.threshold)
        name = "choice of the threshold (calibration part)"
        table = [in_control_row(name, calibration.result(), bundle, alpha) for alpha in ALPHAS]
        chosen = [row["alpha"] for row in table if row["arl"] >= TARGET]
        print(f"largest threshold with {TARGET:,} images per false alarm: {chosen[:1] or 'none'}", flush=True)
        table.append(in_control_row("same domain (validation, other patients)", same.result(), bundle))
        for fraction, runs in mixes.items():
            table.append(in_control_row(f"case mix only, {fraction:.0%} pneumonia", runs.result(), bundle))
        table += [shifted_row(name, delay.result(), bundle) for name, delay in delays.items()]
    pd.DataFrame(table).round(4).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
