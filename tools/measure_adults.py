"""Measure adults from out-of-fold scores: each image was scored by a network trained without its patient.

    python tools/measure_adults.py runs/regions-0-out-of-fold.npz [--jsrt FOLDER]

The scores are written by `pneumonia train` with `--source`. `nbs/results/adults_out_of_fold.csv` has the AUROC of an
opacity against all others and against normal images, by view, and the images that are called right, by group and
finding. Thresholds are cross-fitted: those for a fold come from the other folds. With `group_by` `header`, the group of
an image is that of its table, and with `network` it is the network's guess. Images that are guessed as those of a child
have the threshold of the data set. With `--jsrt`, the images without nodule (`JPCNN...`) of a hospital without training
images are predicted by the default model. Intervals are 95 %, by patient.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from pneumonia_nbdev import PneumoniaDetectionSystem
from pneumonia_nbdev.core.base import CLASSES
from pneumonia_nbdev.core.groups import GROUPS, score_probability
from pneumonia_nbdev.core.metrics import delong_interval, wilson_interval
from pneumonia_nbdev.evaluation.calibration import conformal_limits
from pneumonia_nbdev.recipe.regions import cross_fitted_decisions, fit_score, group_fractions

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"
COLUMNS = ["measure", "group", "finding", "group_by", "n", "value", "low", "high"]


def aurocs(scores):
    "AUROC of an opacity against all others and against normal images, of all images and by view"
    rows = []
    y = (scores["label"] == CLASSES[1]).astype(int)
    normal = np.isin(scores["finding"], ("opacity", "normal"))
    measured = {
        "auroc": served_probability(scores, "guess"),
        "auroc of the head": scores["head"],
        "auroc of the opacity map": map_probability(scores),
    }
    for name, p in measured.items():
        for finding, kept in (("opacity, all others", np.full(len(y), True)), ("opacity, normal", normal)):
            for view in ("", "AP", "PA"):
                used = kept & ((scores["view"] == view) | (view == ""))
                value, low, high = delong_interval(y[used], p[used], scores["patient"][used])
                rows.append((name, view or "all", finding, "", int(used.sum()), value, low, high))
    return rows


def served_decisions(scores, column):
    "Decisions as served: of a group's points for adults, and of the point of the data set for everyone else"
    y = (scores["label"] == CLASSES[1]).astype(int)
    chosen = scores["head"] >= scores["threshold"]
    known = np.isin(scores[column], GROUPS[1:])
    fitted = cross_fitted_decisions(y[known], scores["score"][known], scores[column][known], scores["fold"][known])
    chosen[known] = fitted
    return chosen


def map_probability(scores):
    "The probability from the opacity map, with one coefficient and intercept for all folds, which keep its order"
    y = (scores["label"] == CLASSES[1]).astype(int)
    adults = np.isin(scores["group"], GROUPS[1:])
    return score_probability(fit_score(y[adults], scores["opacity"][adults]), scores["opacity"])


def served_probability(scores, column):
    "The probability from the map for adults, and that of the head for everyone else"
    return np.where(np.isin(scores[column], GROUPS[1:]), map_probability(scores), scores["head"])


def decisions(scores, column):
    "Images that are called right, by group and finding, with cross-fitted thresholds"
    y = (scores["label"] == CLASSES[1]).astype(int)
    adults = np.isin(scores["group"], GROUPS[1:])
    chosen = served_decisions(scores, column)
    table = group_fractions(y[adults], chosen[adults], scores["group"][adults], scores["finding"][adults])
    source = dict(group="header", guess="network")[column]
    return [
        (measure, group, finding, source, int(row.n), row.value, row.low, row.high)
        for (group, finding, measure), row in table.iterrows()
    ]


def coverages(scores):
    "Coverage of the conformal sets by group and class, with limits from the other folds"
    y = (scores["label"] == CLASSES[1]).astype(int)
    rows = []
    for group in GROUPS[1:]:
        covered = {0: [], 1: []}
        for fold in set(scores["fold"]):
            own = scores["group"] == group
            others = own & (scores["fold"] != fold)
            held = own & (scores["fold"] == fold)
            limits = conformal_limits(y[others], scores["score"][others], scores["patient"][others])
            inside = [scores["score"][held] <= limits[CLASSES[0]], scores["score"][held] >= limits[CLASSES[1]]]
            for label in (0, 1):
                covered[label] += inside[label][y[held] == label].tolist()
        for label, values in covered.items():
            low, high = wilson_interval(sum(values), len(values))
            rows.append(("coverage", group, CLASSES[label], "header", len(values), np.mean(values), low, high))
    return rows


def guesses(scores):
    "Fraction of the images whose group the network guesses right"
    rows = []
    for group in GROUPS:
        own = scores["group"] == group
        if own.any():
            right = scores["guess"][own] == group
            low, high = wilson_interval(int(right.sum()), len(right))
            rows.append(("group guessed right", group, "", "network", len(right), right.mean(), low, high))
    return rows


def without_nodule(folder):
    "The fraction of the assessed images without nodule that the default model calls normal"
    results = PneumoniaDetectionSystem().stream(sorted((folder / "images").glob("JPCNN*")))
    normal = [result["class"] == CLASSES[0] for result in results if result["class"]]
    low, high = wilson_interval(sum(normal), len(normal))
    return ("specificity", "JSRT", "no nodule", "network", len(normal), np.mean(normal), low, high)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", type=Path, help="out-of-fold scores, a .npz")
    parser.add_argument("--out", type=Path, default=RESULTS / "adults_out_of_fold.csv")
    parser.add_argument("--jsrt", type=Path, help="folder with `images`")
    options = parser.parse_args()
    with np.load(options.scores) as stored:
        scores = {name: stored[name] for name in stored.files}
    rows = aurocs(scores) + decisions(scores, "group") + decisions(scores, "guess")
    rows += coverages(scores) + guesses(scores)
    if options.jsrt:
        rows.append(without_nodule(options.jsrt))
    table = pd.DataFrame(rows, columns=COLUMNS).round(4)
    table.to_csv(options.out, index=False)
    print(table.to_string())


if __name__ == "__main__":
    main()
