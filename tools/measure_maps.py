"""Measure the heat maps: localization, faithfulness, sanity checks and regions, written to `nbs/results/maps_*.csv`.

    python tools/measure_maps.py DATA RSNA_ADULT [--only boxes faithful sanity where] [--masks NPZ]
                                 [--cache FOLDER] [--runs FOLDER] [--test-log CSV]

DATA is the official data set. RSNA_ADULT contains `boxes.csv` (in pixels of 1024 x 1024) and the images. `--only`
selects the tables. Nothing is selected by these results. On two idle cores, `boxes` takes about ten minutes, `sanity`
ten, `faithful` three and `where` one.

`--masks` has the lungs of images of DATA, as `names` (n,) and `masks` (n, height, width); without it the region of the
lungs is two ellipses. The regions are measured on the validation split, and with `--test-log` also on the test set.
`--cache` stores the maps, so that an interrupted run goes on where it stopped. `--runs` is the folder of
`compare_backbones.py`, whose networks are measured on the boxes, too. Stored rows of the test set and of other networks
that aren't measured again are kept.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import pandas as pd

from pneumonia_nbdev.core.base import CLASSES
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.image import InputSpec, load_image, preprocess
from pneumonia_nbdev.core.metrics import bootstrap_interval, metrics_with_ci
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.data.files import fingerprint
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.gradcam.attribution import METHODS, ModelExplainer
from pneumonia_nbdev.gradcam.localization import (
    baselines,
    box_mask,
    deletion_insertion,
    localization_row,
    lung_masks,
    region_energy,
    sanity_check,
)

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"
TABLES = ("boxes", "faithful", "sanity", "where")
BATCH = 32
RANDOM = "chance"  # name of random maps in the tables
SLOW_METHODS = ("scorecam", "integrated_gradients", "occlusion")  # 33 to 50 passes an image
REGIONS = ("lungs", "ellipses", "border", "corners", "marks")
SOURCES = dict(lungs="mask", ellipses="ellipses")  # both are the region of the lungs


def boxed_images(folder):
    "(file, boxes) of each image with boxes"
    table = pd.read_csv(folder / "boxes.csv").dropna(subset=["x"])
    for name, rows in table.groupby("patientId"):
        yield next(folder.glob(f"*/{name}.*")), rows[["x", "y", "width", "height"]].to_numpy()


def maps_of(explainer, images, method):
    "Maps of any number of images"
    batches = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    return np.concatenate([explainer.explain(batch, method, class_index=1).maps for batch in batches])


def cached_maps(explainer, images, method, path):
    "Maps, which are stored at `path` and read from there the next time; None: not stored"
    if path and path.exists():
        return np.load(path)
    maps = maps_of(explainer, images, method)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, maps)
    return maps


def mean_interval(values, patients):
    "Mean of each column with its 95 % interval, by patients"
    values = np.asarray(values, float)
    return bootstrap_interval(lambda w: (w @ values).T / w.sum(1), patients)


def random_map_row(masks):
    "Expected scores of a random place: the mean area of the boxes"
    areas = [mask.mean() for mask in masks]
    value, low, high = map(float, mean_interval(areas, np.arange(len(areas))))
    row = dict(n=len(masks), level=0.0)
    for score in ("hit", "energy", "iou"):
        row |= {score: value, f"{score}_low": low, f"{score}_high": high}
    return row


def localization_rows(name, explainer, files, masks, cache):
    "Agreement with boxes of all methods of a model; for the default model also of maps that don't use the image"
    images = np.stack([preprocess(load_image(file), InputSpec(*explainer.img_size)) for file in files])
    for method in METHODS:
        path = cache and cache / f"{name} {explainer.bundle.id if explainer.bundle else ''} {method}.npy"
        maps = cached_maps(explainer, images, method, path)
        if method == "gradcam":
            image_free = baselines(maps)
        yield dict(model=name, map=method, **localization_row(maps, masks))
        print("boxes", name, method, flush=True)
    if name == "default":
        for baseline, values in image_free.items():
            yield dict(model=name, map=baseline, **localization_row([values] * len(masks), masks))
        yield dict(model=name, map=RANDOM, **random_map_row(masks))


def box_rows(explainer, args):
    "Localization of the default model and of the networks in `--runs`"
    files, boxes = zip(*boxed_images(args.adults), strict=True)
    masks = [box_mask(image_boxes, (1024, 1024)) for image_boxes in boxes]
    yield from localization_rows("default", explainer, files, masks, args.cache)
    measured = {"default"}
    for folder in sorted(args.runs.glob("compare-*-0")) if args.runs else ():
        name = folder.name[len("compare-") : -2].replace("-", " ")
        yield from localization_rows(name, ModelExplainer(folder / "best.keras"), files, masks, None)
        measured.add(name)
    stored = pd.read_csv(RESULTS / "maps_boxes.csv")
    yield from stored[~stored.model.isin(measured)].to_dict("records")


def faithfulness_rows(explainer, images):
    "Deletion and insertion of each method and of random maps; each image is of another patient"
    rng = np.random.default_rng(0)
    for method in (RANDOM, *METHODS):
        maps = rng.random((len(images), 7, 7)) if method == RANDOM else maps_of(explainer, images, method)
        pairs = zip(images, maps, strict=True)
        scores = np.array([deletion_insertion(explainer, image, values) for image, values in pairs])
        if method == RANDOM:
            random_scores = scores
        names = ("deletion", "insertion", "deletion_gain", "insertion_gain")
        columns = np.hstack([scores, scores - random_scores])
        row = dict(map=method, n=len(images))
        intervals = np.transpose(mean_interval(columns, np.arange(len(images))))
        for name, (value, low, high) in zip(names, intervals, strict=True):
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        yield row
        print("faithful", method, flush=True)


def sanity_rows(explainer, images, cache):
    "Randomized weights, 30 networks; the slow methods with all weights random and four images"
    fast = [method for method in METHODS if method not in SLOW_METHODS]
    jobs = [(fast, images[:10], (0.02, 0.1, 0.3, 1))] + [((method,), images[:4], (1,)) for method in SLOW_METHODS]
    for methods, few, shares in jobs:
        path = cache and cache / f"sanity {explainer.bundle.id} {' '.join(methods)}.csv"
        if not (path and path.exists()):
            table = sanity_check(explainer.model, few, methods, shares)
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                table.to_csv(path, index=False)
        else:
            table = pd.read_csv(path)
        yield from table.to_dict("records")
        print("sanity", *methods, flush=True)


def log_regions(bundle, rows, p, test_log):
    "Record the evaluation on the test set"
    labels = rows.label.map(CLASSES.index).to_numpy()
    log_test_evaluation(
        metrics_with_ci(labels, p, bundle.threshold, rows.patient.to_numpy()),
        test_log,
        model=bundle.id,
        data=fingerprint(rows),
        threshold=f"{bundle.threshold:.4f}",
        rule=bundle.card["threshold_rule"],
        why="where the heat maps look",
    )


def energies_of(bundle, loader, rows, lungs):
    "Probability, and share of the served map and area of each region, of each image"
    table = []
    for i in range(0, len(rows), BATCH):
        some = rows[i : i + BATCH]
        for path, image in zip(some.path, loader.images(some), strict=True):
            output = bundle.run(image[None])
            mask = lungs.get(Path(path).name)
            energy = region_energy(output["cam"][0], image[..., 0])
            if energy:
                energy["ellipses"] = energy.pop("lungs")
                energy["ellipses_area"] = energy.pop("lungs_area")
            if energy and mask is not None:
                with_mask = region_energy(output["cam"][0], lungs=mask)
                energy |= {k: with_mask[k] for k in ("lungs", "lungs_area")}
            table.append(dict(p=output["probability"][0]) | energy)
    columns = [name + end for name in REGIONS for end in ("", "_area")]
    return pd.DataFrame(table).reindex(columns=["p", *columns])


def region_rows(bundle, loader, split, lungs, test_log=None):
    "Share of the served maps in each region of a split, by predicted class (column `verdict`)"
    rows = loader.split_rows(split)
    energies = energies_of(bundle, loader, rows, lungs)
    if test_log:
        log_regions(bundle, rows, energies.p.to_numpy(), test_log)
    predictions = np.where(energies.p >= bundle.threshold, CLASSES[1], CLASSES[0])
    patients = rows.patient.to_numpy()
    for prediction, group in energies.groupby(predictions):
        for region in REGIONS:
            share = group[region].dropna()
            if share.empty:
                continue
            value, low, high = mean_interval(share, patients[share.index])
            area = group.loc[share.index, f"{region}_area"].mean()
            row = dict(split=split, verdict=prediction, region=region, lungs_source=SOURCES.get(region, ""))
            row |= dict(share=float(value), low=float(low), high=float(high), area=area, preference=value / area)
            yield row | dict(n=len(share), images=len(group))
    print("where", split, flush=True)


def where_rows(args):
    "Regions on validation and, with a test log, on the test set; otherwise the stored rows of the test set"
    bundle = Bundle()
    loader = MedicalDataLoader(args.data)
    lungs = lung_masks(args.masks) if args.masks else {}
    rows = list(region_rows(bundle, loader, "val", lungs))
    if args.test_log:
        return rows + list(region_rows(bundle, loader, "test", lungs, args.test_log))
    stored = pd.read_csv(RESULTS / "maps_where.csv")
    return rows + stored[stored.split == "test"].to_dict("records")


def write(rows, name):
    "Write rows as `maps_NAME.csv`"
    pd.DataFrame(rows).round(4).to_csv(RESULTS / f"maps_{name}.csv", index=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("adults", type=Path, metavar="rsna_adult")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--test-log", "--ledger", type=Path)
    args = parser.parse_args()
    if "where" in args.only:
        write(where_rows(args), "where")
    if set(args.only) == {"where"}:
        return
    explainer = ModelExplainer()
    if "faithful" in args.only or "sanity" in args.only:
        loader = MedicalDataLoader(args.data)
        val = loader.split_rows("val")
        pneumonias = val[val.label == CLASSES[1]].drop_duplicates("patient").sample(50, random_state=0)
        images = loader.images(pneumonias)
    if "faithful" in args.only:
        write(faithfulness_rows(explainer, images), "faithful")
    if "sanity" in args.only:
        write(sanity_rows(explainer, images, args.cache), "sanity")
    if "boxes" in args.only:
        write(box_rows(explainer, args), "boxes")


if __name__ == "__main__":
    main()
