"""Evaluate the default model: on the official test set, on larger versions of its files, and on adults.

    python tools/measure_default.py DATA SHARED --adults OUT_OF_FOLD.npz [--test-log nbs/results/test_ledger.csv]

DATA is the official data set; SHARED contains `test_512`, `originals` and `rsna_adult`. The default model is trained on
these adults. Therefore their figures come from OUT_OF_FOLD.npz, the scores that `pneumonia train` writes with
`--source`: each image is scored by a network that was trained without its patient, and the thresholds of a fold come
from the other folds, by the group that this network guesses. The results are written to
`nbs/results/evaluation_*.json`, `nbs/results/elsewhere.csv`, `MODEL_CARD.md` and the checklists `CLAIM.md`, `TRIPOD.md`
and `STARD.md`, and the page `evaluation.html` to the current folder. Every evaluation on the official test set is a row
of the log.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import pandas as pd
from measure_adults import served_decisions, served_probability

from pneumonia_nbdev.core.base import CLASSES
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.metrics import metrics_with_ci
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.data.files import fingerprint
from pneumonia_nbdev.data.lists import list_images
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.evaluation.robustness import subgroup_table, subgroups
from pneumonia_nbdev.recipe import report
from pneumonia_nbdev.recipe.recipe import score_files
from pneumonia_nbdev.recipe.regions import GROUP_RULE
from pneumonia_nbdev.recipe.rendering import Evaluation
from pneumonia_nbdev.recipe.report import evaluate_bundle

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "nbs" / "results"


def list_folder(folder):
    "Rows of `list_images` for a folder `CLASS/file` without splits; all images belong to test"
    rows = [
        dict(path=str(path), label=cls, split="test") for cls in CLASSES for path in sorted((folder / cls).iterdir())
    ]
    with tempfile.TemporaryDirectory() as temporary:
        table = Path(temporary) / "images.csv"
        pd.DataFrame(rows).to_csv(table, index=False)
        return list_images(table)


def list_adults(folder):
    "The adults as a table: opacity is PNEUMONIA, everything else NORMAL; `kind` is the original class"
    labels = pd.read_csv(folder / "labels.csv")
    paths = [
        str(next((folder / subfolder).glob(f"{patient}.*")))
        for patient, subfolder in zip(labels.patientId, labels.folder, strict=True)
    ]
    return pd.DataFrame(
        dict(
            path=paths,
            label=labels.target.map(dict(enumerate(CLASSES))),
            split="test",
            patient=labels.patientId,
            age=labels.age,
            sex=labels.sex,
            view=labels["view"],
            kind=labels.cls,
        )
    )


def evaluate_files(bundle, rows, test_log, why):
    "Metrics of the served network on these images, and a row of the test log"
    table = metrics_with_ci(*score_files(bundle, rows), bundle.threshold, rows.patient.to_numpy())
    log(table, bundle, rows, test_log, why)
    return table


def log(table, bundle, rows, test_log, why):
    "Add a row to a test log; nothing without a log"
    if test_log:
        log_test_evaluation(
            table,
            test_log,
            model=bundle.id,
            data=fingerprint(rows),
            threshold=f"{bundle.threshold:.4f}",
            rule=bundle.card["threshold_rule"],
            why=why,
        )


def read_scores(path):
    "The out-of-fold scores by patient; `served` is 0.5 or more where the served prediction is PNEUMONIA"
    with np.load(path) as stored:
        scores = {name: stored[name] for name in stored.files}
    p = served_probability(scores, "guess")
    served = 0.5 * served_decisions(scores, "guess") + 0.5 * p * 0.999
    return pd.DataFrame(dict(patient=scores["patient"], p=p, served=served)).set_index("patient")


def adult_metrics(adults, scores, rows):
    "Metrics of some adults: the AUROC of the probabilities, and the fractions of the decisions"
    chosen = adults[rows]
    y = (chosen.label == CLASSES[1]).to_numpy(int)
    found = scores.loc[chosen.patient]
    table = metrics_with_ci(y, found.served.to_numpy(), 0.5, chosen.patient.to_numpy())
    by_probability = metrics_with_ci(y, found.p.to_numpy(), 0.5, chosen.patient.to_numpy())
    for name in ("auroc", "auprc"):
        if name in table.index:
            table.loc[name] = by_probability.loc[name]
    return table


def evaluate_adults(adults, scores):
    "Name of a group of adults -> metrics"
    opacity = adults.label == CLASSES[1]
    normal_or_opacity = opacity | (adults.kind == "Normal")
    groups = {
        "adults: opacity, normal": normal_or_opacity,
        "adults: opacity, all others": pd.Series(True, adults.index),
    }
    for view in ("PA", "AP"):
        groups[f"adults, {view}: opacity, normal"] = normal_or_opacity & (adults["view"] == view)
    return {name: adult_metrics(adults, scores, rows) for name, rows in groups.items()}


def report_adults(bundle, adults, scores):
    "Facts, metrics and subgroups of the adults that are normal or have an opacity"
    chosen = (adults.label == CLASSES[1]) | (adults.kind == "Normal")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "adults.csv"
        adults[chosen].drop(columns="kind").to_csv(table, index=False)
        loader = MedicalDataLoader(table, (bundle.spec.height, bundle.spec.width))
        rows = loader.split_rows("test")
        facts = report._facts(bundle, loader, "test") | dict(
            threshold="by group, cross-fitted",
            threshold_rule=GROUP_RULE,
            known_as="scores of networks that were trained without the patient",
        )
        evaluation = Evaluation(bundle.card, facts)
        evaluation.tables["figures"] = adult_metrics(adults, scores, chosen)
        y = (rows.label == CLASSES[1]).to_numpy(int)
        found = scores.loc[rows.patient]
        shared = rows.patient.to_numpy(), subgroups(rows, loader.pixels("test")), 2000
        table = subgroup_table(y, found.served.to_numpy(), 0.5, *shared)
        by_probability = subgroup_table(y, found.p.to_numpy(), 0.5, *shared)
        is_auroc = table.index.get_level_values("figure") == "auroc"
        table[is_auroc] = by_probability[is_auroc]
        evaluation.tables["groups"] = table
    return evaluation


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--test-log", "--ledger", type=Path)
    parser.add_argument("--adults", type=Path, required=True, help="out-of-fold scores, a .npz")
    args = parser.parse_args()
    shared = args.shared.resolve()
    bundle = Bundle()
    tables = {}
    for name, folder in (("test_512", shared / "test_512"), ("originals", shared / "originals" / "test")):
        tables[name] = evaluate_files(bundle, list_folder(folder), args.test_log, f"{name}, served")
    adults = list_adults(shared / "rsna_adult")
    scores = read_scores(args.adults)
    tables |= evaluate_adults(adults, scores)
    pd.concat(tables).round(4).to_csv(RESULTS / "elsewhere.csv")
    adults_json = report_adults(bundle, adults, scores).to_json()
    (RESULTS / "evaluation_adults.json").write_text(adults_json + "\n", encoding="utf-8")
    evaluation = evaluate_bundle(bundle, args.data)
    if args.test_log:
        evaluation.log(args.test_log, "evaluation report")
    (RESULTS / "evaluation_test.json").write_text(evaluation.to_json() + "\n", encoding="utf-8")
    evaluation.save("evaluation.html")
    (ROOT / "MODEL_CARD.md").write_text(evaluation.model_card(), encoding="utf-8")
    for name in ("claim", "tripod", "stard"):
        (ROOT / f"{name.upper()}.md").write_text(evaluation.checklist(name), encoding="utf-8")


if __name__ == "__main__":
    main()
