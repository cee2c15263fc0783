"""Evaluate the default model: on the official test set, on larger versions of its files, and on adults.

    python tools/measure_default.py DATA SHARED [--test-log nbs/results/test_ledger.csv]
        [--adults-log nbs/results/adults_test_log.csv]

DATA is the official data set; SHARED contains `test_512`, `originals` and `rsna_adult`. The results are written to
`nbs/results/evaluation_*.json`, `nbs/results/elsewhere.csv`, `MODEL_CARD.md` and the checklists `CLAIM.md`, `TRIPOD.md`
and `STARD.md`, and the page `evaluation.html` to the current folder. Every evaluation on the official test set and on
the adults is a row of its log.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import pandas as pd

from pneumonia_nbdev.core.base import CLASSES
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.metrics import metrics_with_ci
from pneumonia_nbdev.data.files import fingerprint
from pneumonia_nbdev.data.lists import list_images
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.recipe.recipe import score_files
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


def evaluate_adults(bundle, adults, test_log):
    "Name of a group of adults -> metrics"
    y, p = score_files(bundle, adults)
    opacity = adults.label == CLASSES[1]
    normal_or_opacity = opacity | (adults.kind == "Normal")
    groups = {
        "adults: opacity, normal": normal_or_opacity,
        "adults: opacity, all others": pd.Series(True, adults.index),
    }
    for view in ("PA", "AP"):
        groups[f"adults, {view}: opacity, normal"] = normal_or_opacity & (adults["view"] == view)
    tables = {}
    for name, rows in groups.items():
        tables[name] = metrics_with_ci(y[rows], p[rows], bundle.threshold, adults.patient[rows].to_numpy())
        log(tables[name], bundle, adults[rows], test_log, name)
    return tables


def report_adults(bundle, adults):
    "The evaluation of the adults that are normal or have an opacity"
    rows = adults[(adults.label == CLASSES[1]) | (adults.kind == "Normal")]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "adults.csv"
        rows.drop(columns="kind").to_csv(table, index=False)
        return evaluate_bundle(bundle, table, quick=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--test-log", "--ledger", type=Path)
    parser.add_argument("--adults-log", type=Path)
    args = parser.parse_args()
    shared = args.shared.resolve()
    bundle = Bundle()
    tables = {}
    for name, folder in (("test_512", shared / "test_512"), ("originals", shared / "originals" / "test")):
        tables[name] = evaluate_files(bundle, list_folder(folder), args.test_log, f"{name}, served")
    adults = list_adults(shared / "rsna_adult")
    tables |= evaluate_adults(bundle, adults, args.adults_log)
    pd.concat(tables).round(4).to_csv(RESULTS / "elsewhere.csv")
    adults_json = report_adults(bundle, adults).to_json()
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
