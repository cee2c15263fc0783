"""Train the network that recognizes the view of a chest X-ray, and write it with its card.

    python tools/train_view.py DATA OUT [--steps N]       train; writes OUT/view.keras and OUT/view.tflite
    python tools/train_view.py DATA OUT --measure         choose the thresholds of the network in the package,
                                                          measure, and write its card
    python tools/train_view.py DATA OUT --test            evaluate the official test set once, and log it

DATA is a folder with `chest_xray_224` (the official images), `rsna_adult`, `nih` and `jsrt` (frontal X-rays of adults),
`ct_covid` (CT slices with the split of their authors in `labels.csv`) and `ct_volume` (CT volumes).
Half of the patients of each data set of adults, drawn by a hash, is used for training; the other half is measured.
"""

import argparse
import csv
import gzip
import hashlib
import json
import struct
import sys
import time
import zlib
from datetime import date
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def read_metaimage(path):
    "Voxels of a MetaImage file (z, y, x), and the spacing along z, y, x in millimetres"
    raw = path.read_bytes()
    header, _, rest = raw.partition(b"ElementDataFile = LOCAL")
    entries = dict(line.split(" = ", 1) for line in header.decode("latin1").splitlines() if " = " in line)
    body = rest[rest.index(b"\n") + 1 :]
    if entries.get("CompressedData") == "True":
        body = zlib.decompress(body)
    kind = dict(MET_SHORT="<i2", MET_UCHAR="u1")[entries["ElementType"]]
    shape = [int(n) for n in entries["DimSize"].split()][::-1]
    spacing = [float(s) for s in entries["ElementSpacing"].split()][::-1]
    return np.frombuffer(body, kind, count=np.prod(shape)).reshape(shape).astype(float), spacing


def read_nifti(path):
    "Voxels of a compressed NIfTI file (z, y, x), and the spacing along z, y, x in millimetres"
    raw = gzip.decompress(path.read_bytes())
    shape = struct.unpack("<8h", raw[40:56])[1:4][::-1]
    kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 512: "<u2"}[struct.unpack("<h", raw[70:72])[0]]
    spacing = struct.unpack("<8f", raw[76:108])[1:4][::-1]
    start, slope, intercept = struct.unpack("<3f", raw[108:120])
    voxels = np.frombuffer(raw, kind, count=np.prod(shape), offset=int(start)).reshape(shape)
    return voxels * (slope or 1) + intercept, spacing


def projections(folder, rng):
    "Lateral and frontal projections of the thorax, projections of the abdomen, and slices"
    from pneumonia_nbdev.recipe.view_training import project_volume

    lung, lung_spacing = read_metaimage(folder / "3DCT_lung.mha")
    lung = np.clip(lung[::-1], -1000, 1200)  # its first slice is the lowest one
    thorax, thorax_spacing = read_metaimage(folder / "lidc_thorax_8bit.mha")
    thorax = thorax[:, ::2, ::2] / 255 * 1400 - 1000  # the projections have 128 pixels
    thorax_spacing = [thorax_spacing[0], 2 * thorax_spacing[1], 2 * thorax_spacing[2]]
    abdomen, abdomen_spacing = read_nifti(folder / "totalsegmentator_example.nii.gz")
    abdomen = np.clip(abdomen, -1000, 1200)

    def lateral_angle():
        return rng.choice([90, 270]) + rng.normal(0, 14)

    def part_of_thorax():  # it reaches from the neck to the kidneys
        return thorax[rng.integers(0, 22) : rng.integers(70, 133)]

    lateral = [project_volume(lung, lung_spacing, lateral_angle(), rng) for _ in range(130)]
    lateral += [project_volume(part_of_thorax(), thorax_spacing, lateral_angle(), rng) for _ in range(130)]
    angles = rng.choice([0, 180], 44) + rng.normal(0, 6, 44)
    frontal = [project_volume(part_of_thorax(), thorax_spacing, angle, rng) for angle in angles]
    other = [project_volume(abdomen, abdomen_spacing, rng.uniform(0, 360), rng) for _ in range(120)]
    windows = ((-600, 1500), (40, 400), (300, 1500))  # of lungs, soft tissue and bone: (centre, width)
    for volume in (lung, thorax, abdomen):
        for _ in range(90):
            axis = rng.integers(3)
            at = rng.integers(volume.shape[axis] // 10, 9 * volume.shape[axis] // 10)
            centre, width = windows[rng.integers(3)]
            plane = np.clip((np.take(volume, at, axis) - centre) / width + 0.5, 0, 1)
            other.append(np.uint8(255 * plane))
    return lateral, frontal, other


def photos(rng):
    "Parts of the photos that come with scikit-learn and matplotlib"
    import matplotlib
    from sklearn.datasets import load_sample_images

    images = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in load_sample_images().images]
    for path in sorted((Path(matplotlib.get_data_path()) / "sample_data").iterdir()):
        if path.suffix in (".jpg", ".png"):
            images.append(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    parts = []
    for image in images:
        for _ in range(25):
            height, width = np.int64(rng.uniform(0.3, 1, 2) * image.shape)
            top, left = rng.integers(0, np.array(image.shape) - (height, width) + 1)
            parts.append(image[top : top + height, left : left + width])
    return parts


def for_training(source, group):
    "Whether half of the patients, drawn by a hash, contains this one"
    return int(hashlib.sha256(f"{source}:{group}".encode()).hexdigest(), 16) % 2 == 0


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def adults(data):
    "(source, path, patient) of the adults"
    for row in rows_of(data / "rsna_adult" / "labels.csv"):
        (path,) = (data / "rsna_adult" / row["folder"]).glob(row["patientId"] + "*")
        yield "rsna", path, row["patientId"]
    for row in rows_of(data / "nih" / "labels.csv"):
        yield "nih", data / "nih" / "images" / row["image"], row["patient"]
    for path in sorted((data / "jsrt" / "images").iterdir()):
        yield "jsrt", path, path.stem


def official(data):
    "split -> paths of the official images, validation cut by patient"
    from pneumonia_nbdev.data import MedicalDataLoader

    files = MedicalDataLoader(data / "chest_xray_224").files
    return {split: list(rows.path) for split, rows in files.groupby("split")}


def gray(path):
    return np.asarray(Image.open(path).convert("L"))


def read_all(paths):
    return [gray(path) for path in paths]


def sources(data, cache):
    "The images that the network is trained on; they are stored, because the projections take minutes"
    from pneumonia_nbdev.recipe.view_training import ViewSources, view_sources

    if cache.exists():
        stored = np.load(cache)
        groups = [stored[f"frontal{i}"] for i in range(3)]
        return ViewSources(groups, list(stored["weights"]), stored["lateral"], stored["other"])
    rng = np.random.default_rng(0)
    lateral, frontal, other = projections(data / "ct_volume", rng)
    slices = [row["image"] for row in rows_of(data / "ct_covid" / "labels.csv") if row["split"] == "train"]
    other += photos(rng) + read_all(data / "ct_covid" / name for name in slices)
    grown_up = [path for source, path, group in adults(data) if for_training(source, group)]
    children = read_all(official(data)["train"])
    print(f"{len(children)} children, {len(grown_up)} adults, {len(lateral)} lateral, {len(other)} others")
    groups = (children, read_all(grown_up), frontal)
    found = view_sources(*groups, lateral=lateral, other=other, weights=(0.68, 0.30, 0.02))
    cache.parent.mkdir(parents=True, exist_ok=True)
    frontal = {f"frontal{i}": group for i, group in enumerate(found.frontal)}
    np.savez(cache, **frontal, weights=found.weights, lateral=found.lateral, other=found.other)
    return found


def train(data, out, steps):
    from pneumonia_nbdev.gradcam.gradcam import to_litert
    from pneumonia_nbdev.recipe.view_training import train_views

    start = time.time()

    def report(step, loss):
        if step % 120 == 119 or step == steps - 1:
            print(f"step {step + 1}, loss {loss:.4f}, {time.time() - start:.0f} s", flush=True)

    model = train_views(sources(data, out / "sources.npz"), steps, on_step=report)
    model.save(out / "view.keras")
    (out / "view.tflite").write_bytes(to_litert(model))


def resized(image, width, height):
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def side_by_side(a, b):
    height = min(len(a), len(b))
    return np.hstack([resized(x, round(x.shape[1] * height / len(x)), height) for x in (a, b)])


def stacked(a, b):
    width = min(a.shape[1], b.shape[1])
    return np.vstack([resized(x, width, round(len(x) * width / x.shape[1])) for x in (a, b)])


def grid(a, b, c, d):
    return stacked(side_by_side(a, b), side_by_side(c, d))


CHANGES = dict(  # name -> function of four X-rays
    two_same_beside=lambda a, b, c, d: side_by_side(a, a),
    two_same_stacked=lambda a, b, c, d: stacked(a, a),
    four_same=lambda a, b, c, d: grid(a, a, a, a),
    two_beside=lambda a, b, c, d: side_by_side(a, b),
    two_stacked=lambda a, b, c, d: stacked(a, b),
    four=lambda a, b, c, d: grid(a, b, c, d),
    rotated_180=lambda a, b, c, d: a[::-1, ::-1],
    flipped=lambda a, b, c, d: a[::-1],
    rotated_90=lambda a, b, c, d: np.rot90(a),
    rotated_270=lambda a, b, c, d: np.rot90(a, 3),
    mirrored=lambda a, b, c, d: a[:, ::-1],
    left_half=lambda a, b, c, d: a[:, : a.shape[1] // 2],
    right_half=lambda a, b, c, d: a[:, a.shape[1] // 2 :],
    half_enlarged=lambda a, b, c, d: resized(a[:, : a.shape[1] // 2], a.shape[1], len(a)),
    negative=lambda a, b, c, d: 255 - a,
)


def changed(paths, seed):
    "(change, image) of every change of 300 files"
    rng = np.random.default_rng(seed)
    for name, change in CHANGES.items():
        for path in rng.choice(paths, 300, replace=False):
            yield name, change(gray(path), *[gray(other) for other in rng.choice(paths, 3)])


def assess(bundle, image):
    "The measures of an image, and its reasons except for those of the view network"
    from pneumonia_nbdev.core.base import NotAnXray
    from pneumonia_nbdev.core.xray import XRay

    try:
        quality, _ = bundle.infer(XRay(np.ascontiguousarray(image, np.float32)))
    except NotAnXray as error:
        return {}, [error.code]
    return quality.measures, list(quality.reasons)


def collect(sets, out):
    "Assess the images of all sets; one row each: set, change, measures"
    from pneumonia_nbdev.core.bundle import Bundle

    bundle = Bundle(threads=1)
    rows = []
    for name, images in sets.items():
        start = time.time()
        before = len(rows)
        for change, image in images:
            measures, reasons = assess(bundle, image)
            rows.append(dict(set=name, change=change, blank="not_an_xray" in reasons, **measures))
        print(f"{name}: {len(rows) - before} images, {time.time() - start:.0f} s", flush=True)
    import pandas as pd

    table = pd.DataFrame(rows)
    table.to_pickle(out)
    return table


def plain(paths):
    for path in paths:
        yield "", gray(path)


def measured_sets(data):
    "The sets on which the thresholds are chosen"
    files = official(data)
    held_out = {
        source: [path for name, path, group in adults(data) if name == source and not for_training(name, group)]
        for source in ("rsna", "nih", "jsrt")
    }
    slices = rows_of(data / "ct_covid" / "labels.csv")
    unused = [data / "ct_covid" / row["image"] for row in slices if row["split"] != "train"]
    sets = dict(train=plain(files["train"]), val=plain(files["val"]), val_changed=changed(files["val"], 1))
    sets |= {name: plain(paths) for name, paths in held_out.items()}
    sets["adults_changed"] = changed(sum(held_out.values(), []), 2)
    sets["ct_slices"] = plain(unused)
    sets["ct_slices_all"] = plain(data / "ct_covid" / row["image"] for row in slices)
    if (data / "ood").is_dir():
        for folder in sorted((data / "ood").iterdir()):
            sets[f"ood_{folder.name}"] = plain(sorted(folder.iterdir()))
    return sets


def noticed(table, thresholds):
    "Whether each image has a reason that rules out a class, and whether it has one or is mirrored"
    from pneumonia_nbdev.core.quality import NO_CLASS_REASONS, REASONS
    from pneumonia_nbdev.core.view import view_card

    view_card()["thresholds"].update(thresholds)
    no_class, any_view = [], []
    for row in table.to_dict("records"):
        reasons = {"blank"} if row["blank"] else {code for code, applies in REASONS.items() if applies(row)}
        no_class.append(bool(reasons & {*NO_CLASS_REASONS, "blank"}))
        any_view.append(no_class[-1] or "mirrored" in reasons)
    return np.array(no_class), np.array(any_view)


SURE = 0.97  # probability of an upright frontal X-ray that leaves no doubt
FRONTAL = ("train", "val", "rsna", "nih", "jsrt")


def choose_thresholds(table):
    "The strictest thresholds with few false alarms on frontal X-rays"
    frontal = table[table.set.isin(FRONTAL)]
    adult = frontal.set.isin(("rsna", "nih", "jsrt")).to_numpy()

    def allowed(thresholds, children, grown_up):
        _, flagged = noticed(frontal, thresholds)
        shares = [flagged[(frontal.set == name).to_numpy()].mean() for name in ("rsna", "nih", "jsrt")]
        return flagged[~adult].mean() <= children and max(shares) <= grown_up

    grid = np.arange(0.1, 0.99, 0.02)
    upright = [t for t in grid if allowed(dict(upright=t, mirrored=2, sure=SURE), 0.0075, 0.025)]
    thresholds = dict(upright=round(float(max(upright)), 2), sure=SURE)
    mirrored = [t for t in grid if allowed(thresholds | dict(mirrored=t), 0.0125, 0.04)]
    return thresholds | dict(mirrored=round(float(min(mirrored)), 2))


def figures(table, thresholds):
    "Share of noticed images of each set and change, with 95 % intervals"
    import pandas as pd
    from pneumonia_nbdev.core.metrics import wilson_interval

    no_class, any_view = noticed(table, thresholds)
    rows = []
    for (name, change), part in table.groupby(["set", "change"], sort=False).indices.items():
        flags = (any_view if change in ("", "mirrored") else no_class)[part]
        low, high = wilson_interval(int(flags.sum()), len(flags))
        share = dict(n=len(flags), noticed=int(flags.sum()), share=flags.mean(), low=low, high=high)
        rows.append(dict(set=name, change=change, **share, no_class=no_class[part].mean()))
    return pd.DataFrame(rows).round(4)


def write_card(path, network, thresholds, table):
    "The card of the network, next to it"
    from pneumonia_nbdev.core.view import VIEWS

    metrics = table[table.set.isin((*FRONTAL, "val_changed", "ct_slices"))].to_dict("records")
    card = dict(
        views=VIEWS,
        thresholds=thresholds,
        threshold_rule="the strictest values with at most 0.75 % images without a class among training and "
        "validation images of children and 2.5 % in each of three sets of adults; 1.25 % and 4 % with `mirrored`",
        data="official training images; half of the patients of RSNA, ChestX-ray14 and JSRT; CT slices of COVID-CT; "
        "projections and slices of three CT volumes",
        sha256=hashlib.sha256(network).hexdigest(),
        metrics=metrics,
    )
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(data, out):
    "Choose the thresholds, and write the card and the table of results"
    import pandas as pd

    models = ROOT / "pneumonia_nbdev" / "models"
    network = (models / "view.tflite").read_bytes()
    stored = out / f"measured-{hashlib.sha256(network).hexdigest()[:12]}.pkl"
    table = pd.read_pickle(stored) if stored.exists() else collect(measured_sets(data), stored)
    thresholds = choose_thresholds(table)
    results = figures(table, thresholds)
    print(thresholds, results.to_string(), sep="\n")
    write_card(models / "view.json", network, thresholds, results)
    results.to_csv(ROOT / "nbs" / "results" / "view.csv", index=False, lineterminator="\n")


def test(data, out):
    "Evaluate the official test set, and append the figures to the log"
    import pandas as pd
    from pneumonia_nbdev.core.view import view_card

    paths = official(data)["test"]
    sets = dict(test=plain(paths), test_changed=changed(paths, 3))
    results = figures(collect(sets, out / "test.pkl"), view_card()["thresholds"])
    results.insert(0, "model", view_card()["sha256"][:12])
    results.insert(0, "date", date.today().isoformat())
    log = ROOT / "nbs" / "results" / "view_test_log.csv"
    logged = pd.concat([pd.read_csv(log, keep_default_na=False), results]) if log.exists() else results
    logged.to_csv(log, index=False, lineterminator="\n")
    print(results.to_string())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--test", action="store_true")
    options = parser.parse_args()
    if options.measure:
        measure(options.data, options.out)
    elif options.test:
        test(options.data, options.out)
    else:
        train(options.data, options.out, options.steps)


if __name__ == "__main__":
    sys.exit(main())
