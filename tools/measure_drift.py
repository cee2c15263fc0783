"""Measure the drift monitor of the default model: its false alarms, and its delay on images of other domains.

    python tools/measure_drift.py DATA [--adults ADULTS] [--n-resamples 100] [--out nbs/results/drift.csv]

DATA is the official data set. The reference is made from validation, split by patient; images of the test split are
used without their labels. ADULTS is a folder of other chest X-rays. The corruptions are those of the notebook on
robustness, at the third of five levels.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from pneumonia_nbdev.continual.drift import ALPHA, WINDOW, detection_delay, false_alarms, observe
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.image import read_xray
from pneumonia_nbdev.core.xray import XRay
from pneumonia_nbdev.core.metrics import wilson_interval
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.evaluation.robustness import CORRUPTIONS

LEVEL = 2  # of five, counted from zero


def corrupted(change, level, paths):
    "Corrupted X-rays"
    for path in paths:
        yield XRay(np.asarray(change(read_xray(path).levels, level), np.float32))


def shifted_images(loader, adults):
    "Name of a domain -> its images"
    images = {}
    if adults:
        images["adults, another hospital"] = sorted(
            path for path in adults.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
        )
    paths = loader.split_rows("val").path[::2]
    for name, (change, levels) in CORRUPTIONS.items():
        images[f"{name.split(',')[0]} {levels[LEVEL]}"] = corrupted(change, levels[LEVEL], paths)
    images["official test set, no labels"] = loader.split_rows("test").path
    return images


def table_row(bundle, stream, n_alarms, n_streams, median_images=np.nan):
    "One row of the table; `rang` is the number of streams with an alarm within the window"
    low, high = wilson_interval(n_alarms, n_streams)
    row = dict(
        stream=stream,
        streams=n_streams,
        rang=n_alarms,
        low=low,
        high=high,
        median_images=median_images,
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
    parser.add_argument("--out", type=Path, default=Path("nbs/results/drift.csv"))
    args = parser.parse_args()
    n_streams = args.n_resamples
    bundle = Bundle()
    loader = MedicalDataLoader(args.data)
    val = loader.split_rows("val")
    reference = observe(bundle, val.path)
    rate = false_alarms(reference, val.patient.to_numpy(), n_resamples=n_streams)
    same_domain = "same domain (validation, other patients)"
    rows = [table_row(bundle, same_domain, round(rate * n_streams), n_streams)]
    for name, images in shifted_images(loader, args.adults).items():
        delays = detection_delay(reference, observe(bundle, images), n_resamples=n_streams)
        n_alarms = int((delays <= WINDOW).sum())
        rows.append(table_row(bundle, name, n_alarms, n_streams, float(np.nanmedian(delays)) if n_alarms else np.nan))
    pd.DataFrame(rows).round(4).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
