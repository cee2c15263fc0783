"""Measure the findings of the default bundle: maps, 8-bit copy, speed, and the causes on the official test set.

    python tools/measure_findings.py DATA [--base BUNDLE] [--test-log FILE --reason TEXT]

On validation: the part of each cause's positive map that lies in the lungs, and the agreement of the 8-bit copy; both
are written to nbs/results/findings_maps.csv. With BUNDLE, such as the bundle before findings were added, the largest
differences of the outputs and the ratio of the speeds, in interleaved rounds, are printed. With a log, the causes are
measured on the official test set, which is a row of the log for each finding, and written into the card of the bundle.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import pandas as pd

from pneumonia_nbdev.core.bundle import Bundle, predict_images
from pneumonia_nbdev.core.metrics import bootstrap_interval
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.recipe.finding_test import evaluate_findings
from pneumonia_nbdev.recipe.finding_training import labels_of_names

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"
SHARED_OUTPUTS = ("probability", "cam", "embedding", "lungs", "opacity_map")


def row(measure, finding, values, patients):
    "Mean of an image-level value with its 95 % interval by patient"
    values = np.asarray(values, float)
    found = bootstrap_interval(lambda w: w @ values / w.sum(1), np.asarray(patients), 2000)
    value, low, high = map(float, found)
    return dict(measure=measure, finding=finding, value=value, low=low, high=high, n=len(values))


def map_rows(bundle, labels):
    "The fraction of the positive maps in the lungs, and of the lungs in the image, for images with the finding"
    outputs = predict_images(bundle, labels.files.path, outputs=("findings", "finding_maps", "lungs"))
    maps = np.maximum(outputs["finding_maps"], 0)
    places = maps.shape[1]
    size = outputs["lungs"].shape[1] // places
    lungs = outputs["lungs"].reshape(len(maps), places, size, places, size).mean((2, 4))
    entries = [entry for entry in bundle.card["findings"] if entry["output"] == "findings"]
    rows = []
    for k, entry in enumerate(entries):
        chosen = outputs["findings"][:, k] >= entry["threshold"]
        if entry["name"] in labels.findings and chosen.any():
            inside = (maps[chosen, ..., k] * lungs[chosen]).sum((1, 2)) / maps[chosen, ..., k].sum((1, 2))
            patients = labels.files.patient[chosen]
            rows.append(row("map in the lungs", entry["name"], inside, patients))
            rows.append(row("lungs in the image", entry["name"], lungs[chosen].mean((1, 2)), patients))
    return rows


def copy_rows(bundle, labels):
    "The agreement of the 8-bit copy at the thresholds"
    copy = Bundle("int8")
    floats, eights = (predict_images(b, labels.files.path, outputs=("findings",))["findings"] for b in (bundle, copy))
    entries = [entry for entry in bundle.card["findings"] if entry["output"] == "findings"]
    rows = []
    for k, entry in enumerate(entries):
        if entry["name"] in labels.findings:
            same = (floats[:, k] >= entry["threshold"]) == (eights[:, k] >= entry["threshold"])
            rows.append(row("8 bits agree", entry["name"], same, labels.files.patient))
    return rows


def compare(base, bundle, paths, rounds=60):
    "Print the differences of the outputs of two bundles, and the ratio of their speeds"
    before, after = (predict_images(b, paths, outputs=SHARED_OUTPUTS) for b in (base, bundle))
    print({name: float(np.abs(before[name] - after[name]).max()) for name in SHARED_OUTPUTS}, len(paths), "images")
    shape = (1, bundle.spec.height, bundle.spec.width, bundle.spec.channels)
    x = np.random.default_rng(0).random(shape, np.float32)
    seconds = {base: [], bundle: []}
    for number in range(rounds):
        for b in (base, bundle)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            for _ in range(5):
                b.run(x)
            seconds[b].append(time.perf_counter() - start)
    ratio = np.array(seconds[base]) / np.array(seconds[bundle])
    print(f"speed / speed of {base.path.name}:", np.quantile(ratio, [0.5, 0.1, 0.9]).round(2), f"{rounds} rounds")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the official data set")
    parser.add_argument("--base", type=Path, help="bundle to compare with")
    parser.add_argument("--test-log", type=Path, help="log of the evaluations on the official test set")
    parser.add_argument("--reason", default="findings of the default bundle", help="for the log")
    args = parser.parse_args()
    loader = MedicalDataLoader(args.data)
    bundle = Bundle()
    labels = labels_of_names(loader.split_rows("val"))
    table = pd.DataFrame(map_rows(bundle, labels) + copy_rows(bundle, labels)).assign(model=bundle.id)
    table.round(4).to_csv(RESULTS / "findings_maps.csv", index=False)
    print(table.to_string())
    if args.base:
        compare(Bundle(args.base), bundle, loader.split_rows("val").path)
    if args.test_log:
        fingerprint = bundle.card["data"]["fingerprint"]["test"]
        test = labels_of_names(loader.split_rows("test"))
        print(evaluate_findings(bundle, test, args.test_log, fingerprint, args.reason)[1].to_string())


if __name__ == "__main__":
    main()
