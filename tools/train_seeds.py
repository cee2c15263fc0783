"""Train a recipe with several seeds, and measure how much its metrics on validation depend on the seed.

    python tools/train_seeds.py DATA [--weights FILE] [--seeds 0 1 2] [--runs FOLDER] [--test-log CSV]

Each seed has a folder of its own in `--runs`: an interrupted training continues, and a finished one is loaded.
`nbs/results/seeds.csv` gets one row for each split, metric and seed, with the 95 % interval by patient. In the rows
with the seed `mean`, `low` and `high` are the lowest and the highest value of the seeds. The test split is used with
`--test-log` only: one row of the log for each seed. The default recipe takes more than an hour a seed on two CPU
cores; `--epochs` and `--size` make a short recipe.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import pandas as pd

from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.metrics import metrics_with_ci
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.evaluation.evaluation import as_predictor, log_test_evaluation, predict_split
from pneumonia_nbdev.recipe.fine_tuning import choose_recipe
from pneumonia_nbdev.recipe.recipe import train_default

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"
COLUMNS = ["split", "metric", "seed", "value", "low", "high", "n"]


def train(data, weights, recipe, folder):
    "The bundle of a recipe; that of an earlier call, if its recipe is the same"
    path = folder / "seed.bundle"
    if path.exists():
        bundle = Bundle(path)
        trained = bundle.card["recipe"]
        stages = [tuple(stage) for stage in trained["stages"]]
        if (trained["name"], trained["seed"], stages) != (recipe.name, recipe.seed, list(recipe.stages)):
            raise SystemExit(f"{path} belongs to another recipe; use another folder for --runs")
        print(f"seed {recipe.seed}: {path} is finished", flush=True)
        return bundle
    folder.mkdir(parents=True, exist_ok=True)
    return train_default(data, weights, path, None, recipe=recipe, folder=folder)


def test_metrics(bundle, data, folder, test_log, seed):
    "Metrics of the test split: one evaluation and one row of the log for each network"
    stored = folder / f"test-{bundle.id}.csv"
    if not stored.exists():
        loader = MedicalDataLoader(data, (bundle.spec.height, bundle.spec.width))
        rows = loader.split_rows("test")
        predicted = predict_split(as_predictor(bundle), loader, "test")
        table = metrics_with_ci(*predicted, bundle.threshold, rows.patient.to_numpy())
        log_test_evaluation(
            table,
            test_log,
            model=bundle.id,
            data=bundle.card["data"]["fingerprint"]["test"],
            threshold=f"{bundle.threshold:.4f}",
            rule=bundle.card["threshold_rule"],
            why=f"seed {seed} of the recipe {bundle.card['name']}",
        )
        table.to_csv(stored)
    return pd.read_csv(stored, index_col=0)


def table_rows(table, split, seed):
    "Rows of the result"
    return [dict(split=split, metric=name, seed=seed, **row) for name, row in table.astype(object).iterrows()]


def measured(bundle, seed):
    "Metrics of validation, and the calibration of original and augmented images"
    card = bundle.card
    rows = table_rows(pd.DataFrame(card["metrics"]["val"]).T, "val", seed)
    for images, metrics in card["calibration"]["metrics"].items():
        rows += table_rows(pd.DataFrame(metrics).T, f"calibration, {images}", seed)
    low, high = card["calibration"]["threshold_interval"]
    n = sum(card["calibration"]["patients"])
    rows.append(dict(split="val", metric="threshold", seed=seed, value=card["threshold"], low=low, high=high, n=n))
    return rows


def with_mean(rows):
    "The rows, and for each metric a row with the mean and the range of the seeds"
    table = pd.DataFrame(rows)[COLUMNS]
    groups = table.groupby(["split", "metric"], sort=False)
    summary = groups.agg(value=("value", "mean"), low=("value", "min"), high=("value", "max"), n=("n", "max"))
    return pd.concat([table, summary.reset_index().assign(seed="mean")[COLUMNS]], ignore_index=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--test-log", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS / "seeds.csv")
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        recipe = choose_recipe(args.recipe, None, args.epochs, args.size, seed)
        folder = args.runs / f"seed-{seed}"
        bundle = train(args.data, args.weights, recipe, folder)
        rows += measured(bundle, seed)
        if args.test_log:
            rows += table_rows(test_metrics(bundle, args.data, folder, args.test_log, seed), "test", seed)
        with_mean(rows).round(4).to_csv(args.out, index=False)  # the seeds so far
    print(with_mean(rows).query("seed == 'mean'").round(3).to_string(index=False))


if __name__ == "__main__":
    main()
