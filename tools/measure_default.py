"""The figures of the default model on everything that there is beside the sample: the report of the official test set, and figures on larger files and on adults.

    python tools/measure_default.py DATA SHARED [--ledger nbs/results/test_ledger.csv]

DATA is the official set, SHARED holds `test_512`, `originals` and `rsna_adult`. Writes `nbs/results/evaluation_*.json`, `nbs/results/elsewhere.csv`, `MODEL_CARD.md`, `CLAIM.md`, and the page `evaluation.html` where it is run.
"""

import argparse, os, tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import pandas as pd
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.data.dataset import fingerprint, list_images
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.core.metrics import metrics_with_ci
from pneumonia_nbdev.recipe.recipe import score_files
from pneumonia_nbdev.recipe.report import evaluate_bundle

RESULTS = Path(__file__).parents[1] / "nbs" / "results"


def classed(folder):
    "Rows of a folder with NORMAL and PNEUMONIA in it, and no split"
    rows = [
        dict(path=str(p), label=c, split="test")
        for c in ("NORMAL", "PNEUMONIA")
        for p in sorted((folder / c).iterdir())
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as f:
        pd.DataFrame(rows).to_csv(f.name, index=False)
        return list_images(f.name)


def adults(shared):
    "The adults as a table: opacity is PNEUMONIA, everything else NORMAL; `kind` says which"
    labels = pd.read_csv(shared / "rsna_adult" / "labels.csv")
    path = [
        str(next((shared / "rsna_adult" / folder).glob(f"{name}.*")))
        for name, folder in zip(labels.patientId, labels.folder)
    ]
    return pd.DataFrame(
        dict(
            path=path,
            label=labels.target.map({0: "NORMAL", 1: "PNEUMONIA"}),
            split="test",
            patient=labels.patientId,
            age=labels.age,
            sex=labels.sex,
            view=labels["view"],
            kind=labels.cls,
        )
    )


def measured(bundle, rows, ledger, why):
    "Served figures of these rows"
    table = metrics_with_ci(*score_files(bundle, rows), bundle.threshold, rows.patient.to_numpy())
    if ledger:
        log_test_evaluation(
            table,
            ledger,
            model=bundle.id,
            data=fingerprint(rows),
            threshold=f"{bundle.threshold:.4f}",
            rule=bundle.card["threshold_rule"],
            why=why,
        )
    return table


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data", type=Path)
    args.add_argument("shared", type=Path)
    args.add_argument("--ledger", type=Path)
    args = args.parse_args()
    bundle = Bundle()
    tables = {}
    args.shared = args.shared.resolve()
    for name, folder in (
        ("test_512", args.shared / "test_512"),
        ("originals", args.shared / "originals" / "test"),
    ):
        tables[name] = measured(bundle, classed(folder), args.ledger, f"{name}, served")
    everyone = adults(args.shared)
    y, p = score_files(bundle, everyone)
    opacity = everyone.label == "PNEUMONIA"
    normal = everyone.kind == "Normal"
    for name, rows in {
        "adults: opacity, normal": opacity | normal,
        "adults: opacity, all others": opacity | ~opacity,
        **{
            f"adults, {v}: opacity, normal": (opacity | normal) & (everyone["view"] == v)
            for v in ("PA", "AP")
        },
    }.items():
        tables[name] = metrics_with_ci(y[rows], p[rows], bundle.threshold, everyone.patient[rows].to_numpy())
    pd.concat(tables).round(4).to_csv(RESULTS / "elsewhere.csv")
    with tempfile.TemporaryDirectory() as d:
        everyone[opacity | normal].drop(columns="kind").to_csv(Path(d) / "adults.csv", index=False)
        (RESULTS / "evaluation_adults.json").write_text(
            evaluate_bundle(bundle, Path(d) / "adults.csv", quick=True).to_json() + "\n", encoding="utf-8"
        )
    found = evaluate_bundle(bundle, args.data)
    if args.ledger:
        found.log(args.ledger, "evaluation report")
    (RESULTS / "evaluation_test.json").write_text(found.to_json() + "\n", encoding="utf-8")
    found.save("evaluation.html")
    for name, text in (("MODEL_CARD.md", found.model_card()), ("CLAIM.md", found.claim())):
        (RESULTS.parents[1] / name).write_text(text, encoding="utf-8")
