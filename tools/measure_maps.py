"""Measure the heat maps: localization, faithfulness, sanity checks and regions, written to `nbs/results/maps_*.csv`.

    python tools/measure_maps.py DATA RSNA_ADULT [--runs FOLDER] [--test-log CSV]

DATA is the official data set. RSNA_ADULT contains `boxes.csv` (in pixels of 1024 x 1024) and the images. `--runs` is
the folder of `compare_backbones.py`, whose networks are measured too. Nothing is selected by these results.
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
from pneumonia_nbdev.core.metrics import bootstrap_weights, metrics_with_ci
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.data.files import fingerprint
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.gradcam.attribution import METHODS, ModelExplainer
from pneumonia_nbdev.gradcam.localization import (
    baselines,
    box_mask,
    deletion_insertion,
    localization_row,
    region_energy,
    sanity_check,
)

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"
BATCH = 32
RANDOM = "chance"  # name of random maps in the tables


def boxed_images(folder):
    "(file, boxes) of each image with boxes"
    table = pd.read_csv(folder / "boxes.csv").dropna(subset=["x"])
    for name, rows in table.groupby("patientId"):
        yield next(folder.glob(f"*/{name}.*")), rows[["x", "y", "width", "height"]].to_numpy()


def maps_of(explainer, images, method):
    "Maps of any number of images"
    batches = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    return np.concatenate([explainer.explain(batch, method, class_index=1).maps for batch in batches])


def percentiles(values):
    "Bounds of the 95 % interval"
    return np.percentile(values, (2.5, 97.5))


def random_map_row(masks):
    "Expected scores of a random place: the mean area of the boxes"
    areas = np.array([mask.mean() for mask in masks])
    low, high = percentiles(bootstrap_weights(np.arange(len(areas))) @ areas / len(areas))
    row = dict(n=len(masks), level=0.0)
    for score in ("hit", "energy", "iou"):
        row |= {score: areas.mean(), f"{score}_low": low, f"{score}_high": high}
    return row


def localization_rows(name, explainer, files, masks):
    "Agreement with boxes of all methods of a model; for the default model also of maps that don't use the image"
    images = np.stack([preprocess(load_image(file), InputSpec(*explainer.img_size)) for file in files])
    for method in METHODS:
        maps = maps_of(explainer, images, method)
        if method == "gradcam":
            image_free = baselines(maps)
        yield dict(model=name, map=method, **localization_row(maps, masks))
        print(name, method, flush=True)
    if name == "default":
        for baseline, values in image_free.items():
            yield dict(model=name, map=baseline, **localization_row([values] * len(masks), masks))
        yield dict(model=name, map=RANDOM, **random_map_row(masks))


def faithfulness_rows(explainer, images):
    "Deletion and insertion of each method and of random maps"
    resamples = bootstrap_weights(np.arange(len(images)))
    rng = np.random.default_rng(0)
    for method in (RANDOM, *METHODS):
        maps = rng.random((len(images), 7, 7)) if method == RANDOM else maps_of(explainer, images, method)
        pairs = zip(images, maps, strict=True)
        scores = np.array([deletion_insertion(explainer, image, values) for image, values in pairs])
        if method == RANDOM:
            random_scores = scores
        names = ("deletion", "insertion", "deletion_gain", "insertion_gain")
        columns = np.hstack([scores, scores - random_scores]).T
        row = dict(map=method, n=len(images))
        for name, values in zip(names, columns, strict=True):
            low, high = percentiles(resamples @ values / len(values))
            row |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
        yield row
        print("faithfulness", method, flush=True)


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


def region_rows(bundle, loader, test_log):
    "Share of the served maps in each region on the test set, by predicted class (column `verdict`)"
    rows = loader.split_rows("test")
    probabilities = []
    energies = []
    for i in range(0, len(rows), BATCH):
        for image in loader.images(rows[i : i + BATCH]):
            output = bundle.run(image[None])
            probabilities.append(output["probability"][0])
            energies.append(region_energy(output["cam"][0], image[..., 0]))
    p = np.array(probabilities)
    if test_log:
        log_regions(bundle, rows, p, test_log)
    resamples = bootstrap_weights(rows.patient.to_numpy())
    predictions = np.where(p >= bundle.threshold, CLASSES[1], CLASSES[0])
    for prediction, group in pd.DataFrame(energies).groupby(predictions):
        for region in ("lungs", "border", "corners", "marks"):
            share = group[region].dropna()
            area = group[f"{region}_area"].dropna()
            weights = resamples[:, share.index]
            low, high = percentiles(weights @ share.to_numpy() / weights.sum(1))
            yield dict(
                verdict=prediction,
                region=region,
                share=share.mean(),
                low=low,
                high=high,
                area=area.mean(),
                preference=share.mean() / area.mean(),
                n=len(share),
            )


def write(rows, name):
    "Write rows as `maps_NAME.csv`"
    pd.DataFrame(rows).round(4).to_csv(RESULTS / f"maps_{name}.csv", index=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("adults", type=Path, metavar="rsna_adult")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--test-log", "--ledger", type=Path)
    args = parser.parse_args()
    loader = MedicalDataLoader(args.data)
    explainer = ModelExplainer()
    write(region_rows(Bundle(), loader, args.test_log), "where")
    val = loader.split_rows("val")
    pneumonias = val[val.label == CLASSES[1]].drop_duplicates("patient").sample(50, random_state=0)
    images = loader.images(pneumonias)
    write(faithfulness_rows(explainer, images), "faithful")
    write(sanity_check(explainer.model, images[:10]), "sanity")
    print("sanity checks", flush=True)
    files, boxes = zip(*boxed_images(args.adults), strict=True)
    masks = [box_mask(image_boxes, (1024, 1024)) for image_boxes in boxes]
    models = {"default": explainer}
    for folder in sorted(args.runs.glob("compare-*-0")) if args.runs else ():
        name = folder.name[len("compare-") : -2].replace("-", " ")
        models[name] = ModelExplainer(folder / "best.keras")
    rows = [row for name, model in models.items() for row in localization_rows(name, model, files, masks)]
    write(rows, "boxes")


if __name__ == "__main__":
    main()
