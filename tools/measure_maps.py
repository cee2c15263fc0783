"""Measure heat maps, opacity maps and lungs, written to `nbs/results/maps_*.csv`.

    python tools/measure_maps.py DATA RSNA_ADULT [--only boxes faithful sanity where] [--masks NPZ]
                                 [--cache FOLDER] [--runs FOLDER] [--test-log CSV]
    python tools/measure_maps.py --regions BUNDLE [--rsna FOLDER [--outputs NPZ] [--new-patients]]
                                 [--data FOLDER --masks NPZ [--split val|test] [--test-log CSV]]
                                 [--jsrt FOLDER] [--limit N]

The first form measures the heat maps of the default model.

DATA is the official data set. RSNA_ADULT contains `boxes.csv` (in pixels of 1024 x 1024) and the images. `--only`
selects the tables. Nothing is selected by these results. On two idle cores, `boxes` takes about ten minutes, `sanity`
ten, `faithful` three and `where` one.

`--masks` has the lungs of images of DATA, as `names` (n,) and `masks` (n, height, width); without it the region of the
lungs is two ellipses. The regions are measured on the validation split, and with `--test-log` also on the test set.
`--cache` stores the maps, so that an interrupted run goes on where it stopped. `--runs` is the folder of
`compare_backbones.py`, whose networks are measured on the boxes, too. Stored rows of the test set and of other networks
that aren't measured again are kept.

The second form measures the opacity map and the lungs of a bundle. It writes `maps_regions.csv`, where it replaces the
rows of the same measure, data and training, and keeps the others.

- `--rsna` has the images of adults in subfolders, `labels.csv` and `boxes.csv`. The opacity map is compared with the
  boxes. `--outputs` has `opacity_map` (n, rows, columns) and `patient` (n,) of networks that were trained without
  these patients; they are measured in place of the bundle's. Otherwise the patients count as those of the bundle's
  training, except with `--new-patients`.
- `--masks` has the lungs of images of the official data set `--data`, of the split `--split`. The test set needs
  `--test-log`, to which the evaluation is added.
- `--jsrt` has `images` and `masks`. The bits 1, 2 and 4 of a mask are right lung, left lung and heart, which together
  are compared with the lungs of the network.

Measured are at most `--limit` images of each kind; such results are printed and not written.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import cv2
import numpy as np
import pandas as pd

from pneumonia_nbdev.core.base import CLASSES
from pneumonia_nbdev.core.bundle import Bundle, predict_images
from pneumonia_nbdev.core.image import InputSpec, load_image, preprocess
from pneumonia_nbdev.core.metrics import bootstrap_interval, metrics_with_ci
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.data.files import fingerprint
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.gradcam.attribution import METHODS, ModelExplainer
from pneumonia_nbdev.gradcam.localization import (
    baselines,
    box_iou,
    box_mask,
    deletion_insertion,
    localization_row,
    lung_dice,
    lung_masks,
    mean_row,
    pointing_game,
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
SPLITS = dict(val="children, validation", test="children, official test set")
BOX_SIDE = 1024  # pixels of the images to which the boxes belong


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
    masks = [box_mask(image_boxes, (BOX_SIDE, BOX_SIDE)) for image_boxes in boxes]
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


def log_regions(bundle, rows, p, test_log, reason="where the heat maps look"):
    "Record the evaluation on the test set"
    labels = rows.label.map(CLASSES.index).to_numpy()
    log_test_evaluation(
        metrics_with_ci(labels, p, bundle.threshold, rows.patient.to_numpy()),
        test_log,
        model=bundle.id,
        data=fingerprint(rows),
        threshold=f"{bundle.threshold:.4f}",
        rule=bundle.card["threshold_rule"],
        why=reason,
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
    loader = MedicalDataLoader(args.official)
    lungs = lung_masks(args.masks) if args.masks else {}
    rows = list(region_rows(bundle, loader, "val", lungs))
    if args.test_log:
        return rows + list(region_rows(bundle, loader, "test", lungs, args.test_log))
    stored = pd.read_csv(RESULTS / "maps_where.csv")
    return rows + stored[stored.split == "test"].to_dict("records")


def opacity_maps(bundle, files, outputs):
    "File name without ending -> opacity map; of the bundle, or stored by patient"
    if not outputs:
        maps = predict_images(bundle, files, ("opacity_map",))["opacity_map"]
        return {file.stem: values for file, values in zip(files, maps, strict=True)}
    with np.load(outputs) as stored:
        return dict(zip(stored["patient"].astype(str), stored["opacity_map"], strict=True))


def opacity_rows(bundle, args):
    "Opacity map and boxes of adults; each file is named by its patient"
    files, boxes = zip(*list(boxed_images(args.rsna))[: args.limit], strict=True)
    maps = opacity_maps(bundle, files, args.outputs)
    labels = pd.read_csv(args.rsna / "labels.csv", dtype=str).set_index("patientId")
    known = [i for i, file in enumerate(files) if file.stem in maps and file.stem in labels.index]
    if len(known) < len(files):
        print(f"{len(files) - len(known)} of {len(files)} images with boxes have no map and aren't measured")
    patients = [files[i].stem for i in known]
    pairs = [(maps[files[i].stem], box_mask(boxes[i], (BOX_SIDE, BOX_SIDE))) for i in known]
    ellipses = baselines([pairs[0][0]])["lungs"]
    measures = dict(
        pointing_game=[pointing_game(values, mask) for values, mask in pairs],
        pointing_game_chance=[mask.mean() for _, mask in pairs],
        pointing_game_ellipses=[pointing_game(ellipses, mask) for _, mask in pairs],
        iou=[box_iou(values, mask) for values, mask in pairs],
    )
    trained = "other folds" if args.outputs else "no" if args.new_patients else "yes"
    for measure, values in measures.items():
        yield dict(measure=measure, data="RSNA adults", **mean_row(values, patients), trained=trained)


def official_dice_row(bundle, args):
    "Lungs and masks of the official images of a split"
    masks = lung_masks(args.masks)
    rows = MedicalDataLoader(args.data).split_rows(args.split)
    rows = rows[[Path(path).name in masks for path in rows.path]][: args.limit].reset_index(drop=True)
    found = predict_images(bundle, rows.path, ("probability", "lungs"))
    if args.split == "test":
        log_regions(bundle, rows, found["probability"], args.test_log, "lungs of the images with masks")
    pairs = zip(found["lungs"], rows.path, strict=True)
    values = [lung_dice(lungs, masks[Path(path).name]) for lungs, path in pairs]
    trained = "no"  # validation and test are never trained on
    return dict(measure="dice", data=SPLITS[args.split], **mean_row(values, rows.patient), trained=trained)


def jsrt_mask(folder, name):
    "Lungs and heart of an image"
    mask = cv2.imread(str(folder / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    return (mask & 0b111) > 0


def jsrt_dice_row(bundle, args):
    "Lungs and masks of adults of a data set that isn't trained on; one image each"
    files = sorted((args.jsrt / "images").iterdir())[: args.limit]
    found = predict_images(bundle, files, ("lungs",))["lungs"]
    values = [lung_dice(lungs, jsrt_mask(args.jsrt, file.stem)) for lungs, file in zip(found, files, strict=True)]
    return dict(measure="dice", data="JSRT adults", **mean_row(values), trained="no")


def measure_regions(args):
    "Opacity map and lungs of a bundle, with the stored rows of other data"
    bundle = Bundle(args.regions)
    rows = list(opacity_rows(bundle, args)) if args.rsna else []
    if args.masks:
        rows.append(official_dice_row(bundle, args))
    if args.jsrt:
        rows.append(jsrt_dice_row(bundle, args))
    new = pd.DataFrame(rows)
    print(new.round(4).to_string(index=False))
    if args.limit is not None:
        print(f"not written: at most {args.limit} images were measured")
        return
    path = RESULTS / "maps_regions.csv"
    stored = pd.read_csv(path) if path.exists() else new[:0]
    keys = ["measure", "data", "trained"]
    both = pd.concat([stored, new]) if len(stored) else new
    write(both.drop_duplicates(keys, keep="last").sort_values(keys[:2], kind="stable").to_dict("records"), "regions")


def write(rows, name):
    "Write rows as `maps_NAME.csv`"
    pd.DataFrame(rows).round(4).to_csv(RESULTS / f"maps_{name}.csv", index=False)


def measure_heat_maps(args):
    "The selected tables of the default model"
    if "where" in args.only:
        write(where_rows(args), "where")
    if set(args.only) == {"where"}:
        return
    explainer = ModelExplainer()
    if "faithful" in args.only or "sanity" in args.only:
        loader = MedicalDataLoader(args.official)
        val = loader.split_rows("val")
        pneumonias = val[val.label == CLASSES[1]].drop_duplicates("patient").sample(50, random_state=0)
        images = loader.images(pneumonias)
    if "faithful" in args.only:
        write(faithfulness_rows(explainer, images), "faithful")
    if "sanity" in args.only:
        write(sanity_rows(explainer, images, args.cache), "sanity")
    if "boxes" in args.only:
        write(box_rows(explainer, args), "boxes")


def check_regions(parser, args):
    "End with an error if options of `--regions` don't fit together"
    if not (args.rsna or args.masks or args.jsrt):
        parser.error("--regions needs --rsna, --masks or --jsrt")
    if args.outputs and not args.rsna:
        parser.error("--outputs needs --rsna")
    if bool(args.masks) != bool(args.data):
        parser.error("--regions needs --data and --masks together")
    if args.masks and args.split == "test" and not args.test_log:
        parser.error("the test set needs --test-log")
    if args.masks and args.split == "test" and args.limit is not None:
        parser.error("the test set is measured as a whole, without --limit")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("official", type=Path, nargs="?", metavar="data")
    parser.add_argument("adults", type=Path, nargs="?", metavar="rsna_adult")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--test-log", "--ledger", type=Path)
    parser.add_argument("--regions", type=Path, metavar="BUNDLE")
    parser.add_argument("--rsna", type=Path)
    parser.add_argument("--outputs", type=Path)
    parser.add_argument("--new-patients", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", choices=tuple(SPLITS), default="val")
    parser.add_argument("--jsrt", type=Path)
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()
    if args.regions:
        check_regions(parser, args)
        measure_regions(args)
        return
    if not args.adults:
        parser.error("the heat maps need DATA and RSNA_ADULT; opacity map and lungs need --regions")
    measure_heat_maps(args)


if __name__ == "__main__":
    main()
