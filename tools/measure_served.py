"""Figures of the served network that no chapter can print on the sample: 8-bit heat maps, the price of an evaluation, the gate.

    python tools/measure_served.py DATA [--rounds 30] [--gate FOLDER ...]

DATA is the official set; only its train and validation parts are used. `--gate` counts the images of any folder that the quality gate warns of.
"""

import argparse, os
from pathlib import Path
from statistics import median
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras, numpy as np
from pneumonia_nbdev.core.bundle import Bundle, default_bundle, heatmap
from pneumonia_nbdev.core.runtimes import load_litert
from pneumonia_nbdev.core.base import CLASSES, PneumoniaError
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.core.metrics import metrics_with_ci, wilson_interval
from pneumonia_nbdev.gradcam.gradcam import gradient_cam, inference_model, to_litert
from pneumonia_nbdev.core.image import is_image_file, read_xray
from pneumonia_nbdev.recipe.recipe import score_files
from pneumonia_nbdev.transfer.backbones import efficientnet_lite0


def hidden_head(backbone, activations, x, y):
    "A trained head with hidden layers"
    keras.utils.set_random_seed(0)
    h = keras.layers.BatchNormalization()(
        keras.layers.GlobalAveragePooling2D(name="embedding")(backbone.output)
    )
    for a in activations:
        h = keras.layers.Dropout(0.2)(keras.layers.Dense(32, activation=a)(h))
    model = keras.Model(backbone.inputs, keras.layers.Dense(2, activation="softmax")(h))
    top = keras.Sequential(model.layers[len(backbone.layers) + 1 :])
    top.compile("adam", "sparse_categorical_crossentropy")
    top.fit(backbone.predict(x, verbose=0).mean((1, 2)), y, epochs=20, verbose=0)
    return model


def eight_bits(loader):
    "Correlation of served 8-bit maps with TensorFlow's gradient, on 50 validation images"
    train = loader.sample_rows("train", 600)
    shown = loader.images(loader.sample_rows("val", 50))
    x = loader.images(train)
    y = train.label.map(CLASSES.index).to_numpy()
    backbone = efficientnet_lite0(weights=default_bundle())
    for activations in (("relu",), ("relu", "relu"), ("relu", "tanh")):
        model = hidden_head(backbone, activations, x, y)
        want = np.ravel([heatmap(m) for m in gradient_cam(model, shown)])
        for kind, options in (("float", dict(float16=False)), ("8 bits", dict(calibration=x[:250]))):
            run = load_litert(to_litert(inference_model(model), **options))
            got = np.ravel([heatmap(run(i[None])["cam"][0]) for i in shown])
            print(
                f"maps, {'-'.join(activations)} head, {kind}: correlation {np.corrcoef(got, want)[0, 1]:.4f} (n = {len(shown)} images)",
                flush=True,
            )


def price(loader, rounds):
    "Files to figures, against the network alone on prepared images, in turns"
    bundle = Bundle()
    rows = loader.split_rows("val")
    x = loader.images(rows)
    ratios = []
    for _ in range(rounds):
        start = perf_counter()
        bundle.run(x)
        bare = perf_counter() - start
        start = perf_counter()
        metrics_with_ci(*score_files(bundle, rows), bundle.threshold, rows.patient.to_numpy(), more=True)
        ratios.append((perf_counter() - start) / bare)
    print(
        f"evaluation: {median(ratios):.2f} times the network alone ({min(ratios):.2f} to {max(ratios):.2f}; {rounds} rounds, {len(rows)} images)",
        flush=True,
    )


def warned(bundle, path):
    "Does the gate warn of this file, or refuse it?"
    try:
        return not bundle.infer(read_xray(path))[0]
    except PneumoniaError:
        return True


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data", type=Path)
    args.add_argument("--rounds", type=int, default=30)
    args.add_argument("--gate", type=Path, nargs="*", default=[])
    args = args.parse_args()
    bundle = Bundle()
    loader = MedicalDataLoader(args.data)
    for folder in args.gate:
        files = [p for p in sorted(folder.rglob("*")) if is_image_file(p)]
        k = sum(warned(bundle, p) for p in files)
        print(
            f"gate: {k} of {len(files)} in {folder.name} ({' to '.join(f'{v:.3f}' for v in wilson_interval(k, len(files)))})",
            flush=True,
        )
    eight_bits(loader)
    if args.rounds:
        price(loader, args.rounds)
