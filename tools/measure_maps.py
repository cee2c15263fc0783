"""Are the heat maps right? All measurements of the chapter on localization, written to `nbs/results/maps_*.csv`.

    python tools/measure_maps.py DATA RSNA_ADULT [--runs FOLDER] [--ledger CSV]

DATA is the official set; RSNA_ADULT holds `boxes.csv` (pixels of 1024 × 1024) and the images; `--runs` is the folder of
`compare_backbones.py`, whose networks are judged too. Nothing is chosen by these figures.
"""

import argparse, os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np, pandas as pd
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.base import CLASSES
from pneumonia_nbdev.data.dataset import MedicalDataLoader, fingerprint
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.gradcam.attribution import METHODS, ModelExplainer
from pneumonia_nbdev.core.metrics import bootstrap_weights, metrics_with_ci
from pneumonia_nbdev.core.image import InputSpec, load_image, preprocess
from pneumonia_nbdev.gradcam.localization import (
    baselines,
    box_mask,
    deletion_insertion,
    localization_row,
    sanity_check,
    region_energy,
)

RESULTS = Path(__file__).parents[1] / "nbs" / "results"


def boxed(folder):
    "(file, boxes) of every image with boxes"
    found = pd.read_csv(folder / "boxes.csv").dropna(subset=["x"])
    for name, rows in found.groupby("patientId"):
        yield next(folder.glob(f"*/{name}.*")), rows[["x", "y", "width", "height"]].to_numpy()


def many(explainer, images, method):
    "Maps of any number of images"
    return np.concatenate(
        [explainer.explain(images[k : k + 32], method, class_index=1).maps for k in range(0, len(images), 32)]
    )


def boxes(name, explainer, files, masks):
    "All methods of one model, and what did not see the images"
    size = explainer.img_size
    images = np.stack([preprocess(load_image(f), InputSpec(*size)) for f in files])
    for m in METHODS:
        maps = many(explainer, images, m)
        if m == "gradcam":
            habit = baselines(maps)
        yield dict(model=name, map=m, **localization_row(maps, masks))
        print(name, m, flush=True)
    if name != "default":
        return
    for b, m in habit.items():
        yield dict(model=name, map=b, **localization_row([m] * len(masks), masks))
    area = np.array([m.mean() for m in masks])
    low, high = np.percentile(bootstrap_weights(np.arange(len(area))) @ area / len(area), (2.5, 97.5))
    yield dict(
        model=name,
        map="chance",
        n=len(masks),
        level=0.0,
        **{
            f"{k}{e}": v
            for k in ("hit", "energy", "iou")
            for e, v in (("", area.mean()), ("_low", low), ("_high", high))
        },
    )


def faithful(explainer, images):
    "Deletion and insertion of every method, and of chance"
    n_resamples = bootstrap_weights(np.arange(len(images)))
    rng = np.random.default_rng(0)
    for m in ("chance", *METHODS):
        maps = rng.random((len(images), 7, 7)) if m == "chance" else many(explainer, images, m)
        scores = np.array([deletion_insertion(explainer, x, k) for x, k in zip(images, maps)])
        if m == "chance":
            base = scores
        row = dict(map=m, n=len(images))
        for name, v in zip(
            ("deletion", "insertion", "deletion_gain", "insertion_gain"), np.hstack([scores, scores - base]).T
        ):
            row |= {
                name: v.mean(),
                f"{name}_low": np.percentile(n_resamples @ v / len(v), 2.5),
                f"{name}_high": np.percentile(n_resamples @ v / len(v), 97.5),
            }
        yield row
        print("faithful", m, flush=True)


def regions(bundle, loader, ledger):
    "Where the served maps look on the test set, by verdict"
    rows = loader.split_rows("test")
    outs = [
        (bundle.run(x[None]), x) for k in range(0, len(rows), 32) for x in loader.images(rows[k : k + 32])
    ]
    p = np.array([o["probability"][0] for o, _ in outs])
    if ledger:
        log_test_evaluation(
            metrics_with_ci(
                rows.label.map(CLASSES.index).to_numpy(), p, bundle.threshold, rows.patient.to_numpy()
            ),
            ledger,
            model=bundle.id,
            data=fingerprint(rows),
            threshold=f"{bundle.threshold:.4f}",
            rule=bundle.card["threshold_rule"],
            why="where the heat maps look",
        )
    table = pd.DataFrame([region_energy(o["cam"][0], x[..., 0]) for o, x in outs])
    n_resamples = bootstrap_weights(rows.patient.to_numpy())
    for verdict, part in table.groupby(np.where(p >= bundle.threshold, "PNEUMONIA", "NORMAL")):
        for region in ("lungs", "border", "corners", "marks"):
            v = part[region].dropna()
            area = part[f"{region}_area"].dropna()
            w = n_resamples[:, v.index]
            low, high = np.percentile(w @ v.to_numpy() / w.sum(1), (2.5, 97.5))
            yield dict(
                verdict=verdict,
                region=region,
                share=v.mean(),
                low=low,
                high=high,
                area=area.mean(),
                preference=v.mean() / area.mean(),
                n=len(v),
            )


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data", type=Path)
    args.add_argument("adults", type=Path)
    args.add_argument("--runs", type=Path)
    args.add_argument("--ledger", type=Path)
    args = args.parse_args()
    loader = MedicalDataLoader(args.data)
    bundle = Bundle()
    explainer = ModelExplainer()
    pd.DataFrame(regions(bundle, loader, args.ledger)).round(4).to_csv(
        RESULTS / "maps_where.csv", index=False
    )
    val = loader.split_rows("val")
    sick = loader.images(val[val.label == "PNEUMONIA"].drop_duplicates("patient").sample(50, random_state=0))
    pd.DataFrame(faithful(explainer, sick)).round(4).to_csv(RESULTS / "maps_faithful.csv", index=False)
    sanity_check(explainer.model, sick[:10]).round(4).to_csv(RESULTS / "maps_sanity.csv", index=False)
    print("sanity", flush=True)
    files, found = zip(*boxed(args.adults))
    masks = [box_mask(b, (1024, 1024)) for b in found]
    models = {"default": explainer}
    if args.runs:
        models |= {
            p.name[len("compare-") : -2].replace("-", " "): ModelExplainer(p / "best.keras")
            for p in sorted(args.runs.glob("compare-*-0"))
        }
    pd.DataFrame(row for name, e in models.items() for row in boxes(name, e, files, masks)).round(4).to_csv(
        RESULTS / "maps_boxes.csv", index=False
    )
