"""Measure the served network on the official data set: 8-bit heat maps, cost of an evaluation, quality warnings.

    python tools/measure_served.py DATA [--rounds 30] [--gate FOLDER ...]

DATA is the official data set; only its train and validation splits are used. `--gate` counts the images of any folder
that get a quality warning or are rejected.
"""

import argparse
import os
from pathlib import Path
from statistics import median
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np

from pneumonia_nbdev.core.base import CLASSES, PneumoniaError
from pneumonia_nbdev.core.bundle import Bundle, default_bundle, heatmap
from pneumonia_nbdev.core.image import read_xray
from pneumonia_nbdev.core.walk import is_image_file
from pneumonia_nbdev.core.metrics import metrics_with_ci, wilson_interval
from pneumonia_nbdev.core.runtimes import load_litert
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.gradcam.gradcam import gradient_cam, inference_model, to_litert
from pneumonia_nbdev.recipe.recipe import score_files
from pneumonia_nbdev.transfer.backbones import efficientnet_lite0

HEADS = (("relu",), ("relu", "relu"), ("relu", "tanh"))  # activations of the hidden layers


def train_hidden_head(backbone, activations, images, labels):
    "A classifier with a trained head that has hidden layers"
    keras.utils.set_random_seed(0)
    embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(backbone.output)
    x = keras.layers.BatchNormalization()(embedding)
    for activation in activations:
        x = keras.layers.Dropout(0.2)(keras.layers.Dense(32, activation=activation)(x))
    model = keras.Model(backbone.inputs, keras.layers.Dense(2, activation="softmax")(x))
    head = keras.Sequential(model.layers[len(backbone.layers) + 1 :])
    head.compile("adam", "sparse_categorical_crossentropy")
    features = backbone.predict(images, verbose=0).mean((1, 2))
    head.fit(features, labels, epochs=20, verbose=0)
    return model


def measure_8bit_maps(loader):
    "Correlation of served maps with TensorFlow's gradient, on 50 validation images"
    train = loader.sample_rows("train", 600)
    shown = loader.images(loader.sample_rows("val", 50))
    images = loader.images(train)
    labels = train.label.map(CLASSES.index).to_numpy()
    backbone = efficientnet_lite0(weights=default_bundle())
    kinds = {"float": dict(float16=False), "8 bits": dict(calibration=images[:250])}
    for activations in HEADS:
        model = train_hidden_head(backbone, activations, images, labels)
        expected = np.ravel([heatmap(cam) for cam in gradient_cam(model, shown)])
        for kind, options in kinds.items():
            run = load_litert(to_litert(inference_model(model), **options))
            actual = np.ravel([heatmap(run(image[None])["cam"][0]) for image in shown])
            correlation = np.corrcoef(actual, expected)[0, 1]
            name = f"maps, {'-'.join(activations)} head, {kind}"
            print(f"{name}: correlation {correlation:.4f} (n = {len(shown)} images)", flush=True)


def measure_evaluation(loader, rounds):
    "Time from files to metrics, as a ratio to the time of the network alone on prepared images"
    bundle = Bundle()
    rows = loader.split_rows("val")
    images = loader.images(rows)
    ratios = []
    for _ in range(rounds):
        start = perf_counter()
        bundle.run(images)
        network = perf_counter() - start
        start = perf_counter()
        metrics_with_ci(*score_files(bundle, rows), bundle.threshold, rows.patient.to_numpy(), more=True)
        ratios.append((perf_counter() - start) / network)
    note = f"{min(ratios):.2f} to {max(ratios):.2f}; {rounds} rounds, {len(rows)} images"
    print(f"evaluation: {median(ratios):.2f} times the network alone ({note})", flush=True)


def has_warning(bundle, path):
    "True for a file with a quality warning and for a rejected one"
    try:
        return not bundle.infer(read_xray(path))[0]
    except PneumoniaError:
        return True


def count_warnings(folder):
    "Print how many images of a folder get a quality warning"
    bundle = Bundle()
    files = [path for path in sorted(folder.rglob("*")) if is_image_file(path)]
    n = sum(has_warning(bundle, path) for path in files)
    low, high = wilson_interval(n, len(files))
    print(f"gate: {n} of {len(files)} in {folder.name} ({low:.3f} to {high:.3f})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--gate", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    loader = MedicalDataLoader(args.data)
    for folder in args.gate:
        count_warnings(folder)
    measure_8bit_maps(loader)
    if args.rounds:
        measure_evaluation(loader, args.rounds)


if __name__ == "__main__":
    main()
