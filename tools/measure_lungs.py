"""Measure the warnings from the lungs on unchanged images and on made changes: `nbs/results/lungs_quality.csv`.

    python tools/measure_lungs.py DATA [--split val] [--adults RSNA_ADULT] [--bundle FILE] [--limit N] [--out CSV]

DATA is a folder with the official data set; only its splits `train` and `val` can be measured. RSNA_ADULT contains
X-rays of adults in folders. Each image is measured unchanged and with every change: tilted by 10, 20 and 30 degrees to
a random side, cropped at each border so that a quarter of the lung at this border is lost, and with one lung only (the
half with the other lung is cut off, or the left half is black). The places of the lungs in the unchanged image are
those of the network. An image in which it doesn't find two lungs isn't changed; the number of these images is printed.

A row has the rate of one warning with its 95 % Wilson interval. `any_lungs` is any of the four warnings, `no_class` a
reason of the other checks that rules out a class, and `noticed` any of these. A warning is counted by its condition,
also on images without a class, where the quality check leaves it out. An image takes about half a second.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import cv2
import numpy as np
import pandas as pd

from pneumonia_nbdev.core.base import NotAnXray
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.image import read_xray
from pneumonia_nbdev.core.metrics import wilson_interval
from pneumonia_nbdev.core.quality import LUNG_REASONS, NO_CLASS_REASONS, REASONS, lung_parts
from pneumonia_nbdev.core.xray import XRay
from pneumonia_nbdev.data import MedicalDataLoader

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"
SIDES = ("top", "bottom", "left", "right")
LOST = 0.25  # fraction of a lung that a crop removes
TILTS = (10, 20, 30)  # degrees


def tilted(pixels, degrees):
    "The image turned clockwise around its center; the corners are black"
    height, width = pixels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR)


def from_side(pixels, side):
    "The image turned so that this side becomes the left one; the same call turns it back"
    return {"left": pixels, "right": pixels[:, ::-1], "top": pixels.T, "bottom": pixels[::-1, ::-1].T}[side]


def enlarged(part, shape):
    "A part of the lungs at the size of the image"
    return cv2.resize(np.float32(part), shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5


def cropped(pixels, lungs, side):
    "The image without a quarter of the lung at this side; of both lungs at the top and the bottom"
    turned = [from_side(lung, side) for lung in lungs]
    if side in ("left", "right"):
        turned = [min(turned, key=lambda lung: np.argwhere(lung)[:, 1].mean())]
    area = sum(lung.sum(0) for lung in turned).cumsum()
    start = int(np.searchsorted(area, LOST * area[-1]))
    return from_side(from_side(pixels, side)[:, start:], side)


def between(lungs):
    "The column in the middle between the centers of the lungs"
    return round(float(np.mean([np.argwhere(lung)[:, 1].mean() for lung in lungs])))


def covered(pixels, lungs):
    "The image with a black left half"
    pixels = pixels.copy()
    pixels[:, : between(lungs)] = 0
    return pixels


def changes(pixels, lungs, rng):
    "(change, image) of each change"
    for degrees in TILTS:
        yield f"tilt_{degrees}", tilted(pixels, degrees * rng.choice((-1, 1)))
    for side in SIDES:
        yield f"crop_{side}", cropped(pixels, lungs, side)
    yield "left_half", pixels[:, : between(lungs)]
    yield "right_half", pixels[:, between(lungs) :]
    yield "half_black", covered(pixels, lungs)


def flags_of(bundle, image):
    "Whether each warning applies to an image, and the lungs of the network; only `no_class` for a blank image"
    try:
        quality, out = bundle.infer(image)
    except NotAnXray:
        return dict.fromkeys(LUNG_REASONS, False) | dict(any_lungs=False, no_class=True, noticed=True), None
    flags = {code: bool(REASONS[code](quality.measures)) for code in LUNG_REASONS}
    flags["any_lungs"] = any(flags.values())
    flags["no_class"] = not {*NO_CLASS_REASONS}.isdisjoint(quality.reasons)
    return flags | dict(noticed=flags["any_lungs"] or flags["no_class"]), out["lungs"][0]


def measure(bundle, name, paths, seed):
    "The flags of the images of one set and of their changes, one row each"
    rng = np.random.default_rng(seed)
    rows = []
    without = 0
    for path in paths:
        image = read_xray(path)
        flags, lungs = flags_of(bundle, image)
        rows.append(dict(set=name, change="", **flags))
        parts = [] if lungs is None else lung_parts(lungs)
        if len(parts) < 2:
            without += 1
            continue
        parts = [enlarged(part, image.shape) for part in parts[:2]]
        for change, pixels in changes(np.asarray(image.pixels, np.float32), parts, rng):
            flags, _ = flags_of(bundle, XRay(np.ascontiguousarray(pixels)))
            rows.append(dict(set=name, change=change, **flags))
    print(f"{name}: {len(paths)} images, {without} of them without two lungs", flush=True)
    return rows


def rates(rows):
    "The rate of each warning by set and change, with 95 % intervals"
    table = []
    for (name, change), part in pd.DataFrame(rows).groupby(["set", "change"], sort=False):
        for warning in part.columns[2:]:
            noticed = int(part[warning].sum())
            low, high = wilson_interval(noticed, len(part))
            share = dict(n=len(part), noticed=noticed, share=noticed / len(part), low=low, high=high)
            table.append(dict(set=name, change=change, warning=warning, **share))
    return pd.DataFrame(table).round(4)


def chosen(paths, limit, seed):
    "All paths, or this number of them at random"
    paths = sorted(paths)
    if not limit or limit >= len(paths):
        return paths
    return [paths[i] for i in sorted(np.random.default_rng(seed).choice(len(paths), limit, replace=False))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--adults", type=Path)
    parser.add_argument("--bundle", type=Path, help="the default bundle if omitted")
    parser.add_argument("--limit", type=int, default=0, help="images a set; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "lungs_quality.csv")
    options = parser.parse_args()
    bundle = Bundle(options.bundle, threads=1) if options.bundle else Bundle(threads=1)
    if "lungs" not in bundle.outputs:
        parser.error(f"the network of {bundle.path.name} has no output lungs")
    files = MedicalDataLoader(options.data).files
    sets = {options.split: list(files.path[files.split == options.split])}
    if options.adults:
        sets["rsna"] = [str(path) for path in options.adults.glob("*/*") if path.suffix != ".csv"]
    rows = []
    for name, paths in sets.items():
        rows += measure(bundle, name, chosen(paths, options.limit, options.seed), options.seed)
    table = rates(rows)
    print(table.pivot(index=["set", "change"], columns="warning", values="share").to_string())
    table.to_csv(options.out, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
