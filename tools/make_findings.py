"""Add the findings of the default bundle: cause of a pneumonia, opacity, and findings of adults.

    python tools/make_findings.py --data CHEST_XRAY --nih FOLDER --out default.bundle [--runs runs] [--test-log FILE]

The causes come from the file names of the official data set and train a branch of the network, measured on validation.
The findings of adults come from NIH ChestX-ray14, whose labels are weak: they were found in reports by text mining.
Images of NIH without a finding trained the network itself as normals, so they don't measure a finding.
"""

import argparse
import csv
import os
import pickle
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ADULTS = ("adult_ap", "adult_pa")
NIH_FINDINGS = ("effusion", "edema", "atelectasis", "consolidation", "infiltration")
RESULTS = Path(__file__).parents[1] / "nbs" / "results"


def class_entries(bundle, files):
    "Entries of the pneumonia of children, and of the opacities of adults"
    from pneumonia_nbdev.core.finding_entries import example_entry

    train = files[files.split == "train"].label.value_counts()
    shared = dict(threshold=None, threshold_rule="that of the patient's group")
    entries = [
        example_entry(
            "pneumonia",
            output="probability",
            groups=["child"],
            n_pos=int(train["PNEUMONIA"]),
            n_neg=int(train["NORMAL"]),
            sources=["chest_xray_224"],
            temperature=bundle.card["temperature"],
            metrics=bundle.card["metrics"],
            **shared,
        )
    ]
    with (RESULTS / "adults_out_of_fold.csv").open() as file:
        rows = {(r["measure"], r["group"], r["finding"]): r for r in csv.DictReader(file)}
    found = rows["auroc", "all", "opacity, all others"]
    auroc = {name: float(found[name]) for name in ("value", "low", "high")} | dict(n=int(found["n"]))
    with (RESULTS / "elsewhere.csv").open() as file:
        opacities = ["adults: opacity, all others", "sensitivity"]
        n_pos = next(int(row[-1]) for row in csv.reader(file) if row[:2] == opacities)
    score = bundle.card["groups"]["adult_ap"]["score"]
    opacity = example_entry(
        "lung_opacity",
        output="opacity_map",
        groups=list(ADULTS),
        score=score,
        n_pos=n_pos,
        n_neg=auroc["n"] - n_pos,
        sources=["rsna"],
        metrics={"out of fold": dict(auroc=auroc)},
        **shared,
    )
    return [*entries, opacity]


def seen_images(folder):
    "Names of the images of NIH without a finding"
    with (folder / "labels.csv").open() as file:
        return tuple(row["image"] for row in csv.DictReader(file) if row["No Finding"] == "1")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the official data set")
    parser.add_argument("--nih", type=Path, required=True, help="folder with `labels.csv` and `images`")
    parser.add_argument("--base", type=Path, help="bundle without findings; default: that of the package")
    parser.add_argument("--out", type=Path, required=True, help="path of the new bundle")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="state of the training")
    parser.add_argument("--scores", type=Path, help="file for the scores that measure each finding")
    args = parser.parse_args()

    from pneumonia_nbdev.core.bundle import Bundle, write_bundle
    from pneumonia_nbdev.data.dataset import MedicalDataLoader
    from pneumonia_nbdev.data.labels import read_labels
    from pneumonia_nbdev.recipe.finding_branch import BranchStage
    from pneumonia_nbdev.recipe.finding_training import labels_of_names, rows_of_splits, train_findings

    files = MedicalDataLoader(args.data).files
    base = Bundle(args.base)
    causes = rows_of_splits(labels_of_names(files), "train", "val")
    options = dict(given="PNEUMONIA", branch=BranchStage(), source="chest_xray_224, file names", folder=args.runs)
    with_causes = train_findings(base, causes, args.out, groups=("child",), verbose=True, **options)
    scores = {name: found.scores for name, found in with_causes.fitted.items()}
    nih = read_labels(args.nih / "labels.csv", args.nih / "images", findings=NIH_FINDINGS)
    bundle = train_findings(with_causes, nih, args.out, groups=ADULTS, source="nih", seen=seen_images(args.nih))
    scores |= {name: found.scores for name, found in bundle.fitted.items()}
    card = bundle.metadata()
    card["findings"] = class_entries(base, files) + card["findings"]
    parts = dict(bundle.parts)
    bundle = Bundle(write_bundle(args.out, parts.pop("model.tflite"), card, parts))
    if args.scores:
        args.scores.write_bytes(pickle.dumps(scores))
    for entry in bundle.card["findings"]:
        for split, metrics in entry["metrics"].items():
            print(entry["name"], split, metrics.get("auroc"), entry["experimental"])
    print(bundle)


if __name__ == "__main__":
    main()
