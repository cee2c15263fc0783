"""Compare a network trained from scratch with pretrained backbones, by one protocol, on the full official data set.

    python tools/compare_backbones.py DATA WEIGHTS_FOLDER [--runs FOLDER] [--seeds 0 1 2]

An interrupted run is resumed and a finished one is skipped. The probabilities of the test images are written to
`nbs/results/comparison.npz`, one row per run to `nbs/results/comparison.csv`, and one row per run to the test log.
Nothing is selected by them.
"""

import argparse
import csv
import os
from pathlib import Path
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np

from pneumonia_nbdev.cnn import PneumoniaCNN
from pneumonia_nbdev.core.metrics import metrics_with_ci
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.data.files import fingerprint
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.evaluation.operating_points import youden_threshold
from pneumonia_nbdev.training.trainer import ModelTrainer
from pneumonia_nbdev.transfer.backbones import TransferLearningModel

SIZE = 64  # pixels
EPOCHS = 4
HEAD_EPOCHS = 1
RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"
MODELS = {  # name: (backbone, file with weights, last layer of the backbone)
    "EfficientNetLite0": ("EfficientNetLite0", "efficientnet_lite0_imagenet_notop_fp16.npz", None),
    "ResNet50 to conv4": ("ResNet50", "resnet50_imagenet_c4_fp16.npz", "conv4_block6_out"),
    "DenseNet169": ("DenseNet169", "densenet169_imagenet_notop_fp16.npz", None),
    "DenseNet121 to conv4": ("DenseNet121", "densenet169_imagenet_notop_fp16.npz", "conv4_block24_concat"),
    "PneumoniaCNN": (None, None, None),
}


def build(name, weights):
    "The model of the article: a dense head; the second phase trains the last 10 layers of a backbone"
    backbone, file, output_layer = MODELS[name]
    if not backbone:
        return PneumoniaCNN((SIZE, SIZE, 3)).build_model()
    transfer = TransferLearningModel(backbone, (SIZE, SIZE, 3), weights=weights / file, output_layer=output_layer)
    return transfer.build_model(fine_tune_layers=10)


def scores(model, loader, split):
    "Labels and probabilities of a split"
    labels = []
    probabilities = []
    for images, batch_labels in loader.create_dataset(split, augmentation=False)[0]:
        probabilities.append(model.predict_on_batch(images)[:, 1])
        labels.append(np.asarray(batch_labels))
    return np.concatenate(labels), np.concatenate(probabilities)


def train(name, seed, model, loader, runs):
    "Train a model; returns the trainer, the history and the seconds per epoch"
    metadata = dict(data=fingerprint(loader.split_rows("train")))
    run_name = f"compare-{name.replace(' ', '-')}-{seed}"
    trainer = ModelTrainer(model, run_name, runs, seed, run_metadata=metadata)
    training = loader.create_dataset("train", balance=True)[0]
    validation = loader.create_dataset("val")[0]
    scratch = name == "PneumoniaCNN"
    start = perf_counter()
    history = trainer.train_model(
        training,
        validation,
        epochs=EPOCHS,
        initial_epochs=0 if scratch else HEAD_EPOCHS,
        fine_rate=1e-3 if scratch else 1e-4,
        patience=EPOCHS,
    )
    return trainer, history, (perf_counter() - start) / EPOCHS


def run(name, seed, data, weights, runs):
    "Train, choose the threshold on validation, evaluate on test once, and store the results"
    loader = MedicalDataLoader(data, SIZE, seed=seed)
    keras.utils.set_random_seed(seed)
    model = build(name, weights)
    trainer, history, seconds = train(name, seed, model, loader, runs)
    threshold = youden_threshold(*scores(trainer.model, loader, "val"))
    rows = loader.split_rows("test")
    patients = rows.patient.to_numpy()
    y, p = scores(trainer.model, loader, "test")
    log_test_evaluation(
        metrics_with_ci(y, p, threshold, patients),
        RESULTS / "test_ledger.csv",
        model=f"{name}, seed {seed}",
        data=fingerprint(rows),
        threshold=f"{threshold:.4f}",
        rule="Youden's J on validation (patient-grouped)",
        why=f"comparison at {SIZE} px",
    )
    row = dict(
        model=name,
        seed=seed,
        val_auroc=round(history.val_auroc.max(), 4),
        threshold=round(threshold, 4),
        seconds_per_epoch=round(seconds),
        parameters=model.count_params(),
        trained=sum(int(np.prod(w.shape)) for w in model.trainable_weights),
        weights=MODELS[name][1] or "random",
    )
    store(row, y, p, patients)


def store(row, y, p, patients):
    "Append one run to the table and to the probabilities"
    table = RESULTS / "comparison.csv"
    arrays = RESULTS / "comparison.npz"
    stored = dict(np.load(arrays)) if arrays.exists() else {}
    stored["y"] = y.astype(np.uint8)
    stored["patients"] = patients.astype(str)
    stored[f"{row['model']}|{row['seed']}"] = p.astype(np.float32)
    np.savez_compressed(arrays, **stored)
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if not table.stat().st_size:
            writer.writeheader()
        writer.writerow(row)


def finished():
    "(model, seed) of the runs in the table"
    table = RESULTS / "comparison.csv"
    if not table.exists():
        return set()
    with table.open(newline="", encoding="utf-8") as file:
        return {(row["model"], int(row["seed"])) for row in csv.DictReader(file)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path, metavar="weights_folder")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    done = finished()
    for seed in args.seeds:
        for name in MODELS:
            if (name, seed) not in done:
                run(name, seed, args.data, args.weights, args.runs)


if __name__ == "__main__":
    main()
