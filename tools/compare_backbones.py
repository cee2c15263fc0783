"""The comparison of the article: a network from nothing and pretrained backbones, all by one protocol, on the full official set.

    python tools/compare_backbones.py DATA WEIGHTS_FOLDER [--runs FOLDER] [--seeds 0 1 2]

Every run is resumable; a finished one is skipped. Scores of the test images go to `nbs/results/comparison.npz`, and one line a run
to `nbs/results/comparison.csv` and to the ledger. Nothing is chosen by them.
"""

import argparse, csv, os
from pathlib import Path
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras, numpy as np
from pneumonia_nbdev.cnn import PneumoniaCNN
from pneumonia_nbdev.data.dataset import MedicalDataLoader, fingerprint
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation, youden_threshold
from pneumonia_nbdev.core.metrics import metrics_with_ci
from pneumonia_nbdev.training.trainer import ModelTrainer
from pneumonia_nbdev.transfer.backbones import TransferLearningModel

SIZE = 64  # the budget of every model
EPOCHS = 4
HEAD_EPOCHS = 1
RESULTS = Path(__file__).parents[1] / "nbs" / "results"
MODELS = {  # name: (backbone, file with weights, layer to stop at)
    "EfficientNetLite0": ("EfficientNetLite0", "efficientnet_lite0_imagenet_notop_fp16.npz", None),
    "ResNet50 to conv4": ("ResNet50", "resnet50_imagenet_c4_fp16.npz", "conv4_block6_out"),
    "DenseNet169": ("DenseNet169", "densenet169_imagenet_notop_fp16.npz", None),
    "DenseNet121 to conv4": ("DenseNet121", "densenet169_imagenet_notop_fp16.npz", "conv4_block24_concat"),
    "PneumoniaCNN": (None, None, None),
}


def build(name, weights):
    "The model as the article has it: a dense head; the last 10 layers of a backbone are trained in the second phase"
    backbone, file, cut = MODELS[name]
    if not backbone:
        return PneumoniaCNN((SIZE, SIZE, 3)).build_model()
    return TransferLearningModel(backbone, (SIZE, SIZE, 3), weights=weights / file, output_layer=cut).build_model(
        fine_tune_layers=10
    )


def scores(model, loader, split):
    "Labels and probabilities of one part"
    pairs = [
        (model.predict_on_batch(x)[:, 1], np.asarray(y))
        for x, y in loader.create_dataset(split, augmentation=False)[0]
    ]
    return tuple(np.concatenate(c) for c in zip(*pairs))[::-1]


def run(name, seed, data, weights, runs):
    "Train, choose the threshold on validation, look at test once"
    loader = MedicalDataLoader(data, SIZE, seed=seed)
    keras.utils.set_random_seed(seed)
    model = build(name, weights)
    trainer = ModelTrainer(
        model,
        f"compare-{name.replace(' ', '-')}-{seed}",
        runs,
        seed,
        facts=dict(data=fingerprint(loader.split_rows("train"))),
    )
    train, val = (
        loader.create_dataset(s, **({"balance": True} if s == "train" else {}))[0] for s in ("train", "val")
    )
    scratch = name == "PneumoniaCNN"
    start = perf_counter()
    history = trainer.train_model(
        train,
        val,
        epochs=EPOCHS,
        initial_epochs=0 if scratch else HEAD_EPOCHS,
        fine_rate=1e-3 if scratch else 1e-4,
        patience=EPOCHS,
    )
    seconds = (perf_counter() - start) / EPOCHS
    threshold = youden_threshold(*scores(trainer.model, loader, "val"))
    rows = loader.split_rows("test")
    y, p = scores(trainer.model, loader, "test")
    table = metrics_with_ci(y, p, threshold, rows.patient.to_numpy())
    log_test_evaluation(
        table,
        RESULTS / "test_ledger.csv",
        model=f"{name}, seed {seed}",
        data=fingerprint(rows),
        threshold=f"{threshold:.4f}",
        rule="Youden's J on validation (patient-grouped)",
        why=f"comparison at {SIZE} px",
    )
    return (
        dict(
            model=name,
            seed=seed,
            val_auroc=round(history.val_auroc.max(), 4),
            threshold=round(threshold, 4),
            seconds_per_epoch=round(seconds),
            parameters=model.count_params(),
            trained=sum(int(np.prod(w.shape)) for w in model.trainable_weights),
            weights=MODELS[name][1] or "random",
        ),
        y,
        p,
        rows.patient.to_numpy(),
    )


def keep(row, y, p, patients):
    "Append one run to the table and to the scores"
    table = RESULTS / "comparison.csv"
    file = RESULTS / "comparison.npz"
    stored = dict(np.load(file)) if file.exists() else {}
    np.savez_compressed(
        file,
        **{
            **stored,
            "y": y.astype(np.uint8),
            "patients": patients.astype("U16"),
            f"{row['model']}|{row['seed']}": p.astype(np.float32),
        },
    )
    with table.open("a", newline="") as f:
        writer = csv.DictWriter(f, row, lineterminator="\n")
        if not table.stat().st_size:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data", type=Path)
    args.add_argument("weights", type=Path)
    args.add_argument("--runs", type=Path, default=Path("runs"))
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = args.parse_args()
    done = (
        {(r["model"], int(r["seed"])) for r in csv.DictReader((RESULTS / "comparison.csv").open())}
        if (RESULTS / "comparison.csv").exists()
        else set()
    )
    for seed in args.seeds:
        for name in MODELS:
            if (name, seed) not in done:
                keep(*run(name, seed, args.data, args.weights, args.runs))
