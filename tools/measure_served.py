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
from pneumonia_nbdev.bundle import Bundle, default_bundle, heatmap, litert_runner
from pneumonia_nbdev.core import CLASSES, PneumoniaError
from pneumonia_nbdev.data import MedicalDataLoader
from pneumonia_nbdev.figures import evaluate, wilson
from pneumonia_nbdev.gradcam import gradient_cam, served_model, to_litert
from pneumonia_nbdev.image import is_image_file, read_xray
from pneumonia_nbdev.recipe import score_files
from pneumonia_nbdev.transfer import efficientnet_lite0

def hidden_head(backbone, activations, x, y):
    "A trained head with hidden layers"
    keras.utils.set_random_seed(0)
    h = keras.layers.BatchNormalization()(keras.layers.GlobalAveragePooling2D(name="embedding")(backbone.output))
    for a in activations: h = keras.layers.Dropout(.2)(keras.layers.Dense(32, activation=a)(h))
    model = keras.Model(backbone.inputs, keras.layers.Dense(2, activation="softmax")(h))
    top = keras.Sequential(model.layers[len(backbone.layers) + 1:])
    top.compile("adam", "sparse_categorical_crossentropy")
    top.fit(backbone.predict(x, verbose=0).mean((1, 2)), y, epochs=20, verbose=0)
    return model

def eight_bits(loader):
    "Correlation of served 8-bit maps with TensorFlow's gradient, on 50 validation images"
    train,shown = loader.pick("train", 600),loader.images(loader.pick("val", 50))
    x,y = loader.images(train),train.label.map(CLASSES.index).to_numpy()
    backbone = efficientnet_lite0(weights=default_bundle())
    for activations in (("relu",), ("relu", "relu"), ("relu", "tanh")):
        model = hidden_head(backbone, activations, x, y)
        want = np.ravel([heatmap(m) for m in gradient_cam(model, shown)])
        for kind,options in (("float", dict(float16=False)), ("8 bits", dict(calibration=x[:250]))):
            run = litert_runner(to_litert(served_model(model), **options))
            got = np.ravel([heatmap(run(i[None])["cam"][0]) for i in shown])
            print(f"maps, {'-'.join(activations)} head, {kind}: correlation {np.corrcoef(got, want)[0, 1]:.4f} (n = {len(shown)} images)", flush=True)

def price(loader, rounds):
    "Files to figures, against the network alone on prepared images, in turns"
    bundle,rows = Bundle(),loader.part("val")
    x,ratios = loader.images(rows),[]
    for _ in range(rounds):
        start = perf_counter(); bundle.run(x); bare = perf_counter() - start
        start = perf_counter(); evaluate(*score_files(bundle, rows), bundle.threshold, rows.patient.to_numpy(), more=True)
        ratios.append((perf_counter() - start) / bare)
    print(f"evaluation: {median(ratios):.2f} times the network alone ({min(ratios):.2f} to {max(ratios):.2f}; {rounds} rounds, {len(rows)} images)", flush=True)

def warned(bundle, path):
    "Does the gate warn of this file, or refuse it?"
    try: return not bundle.look(read_xray(path))[0]
    except PneumoniaError: return True

if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("data", type=Path); args.add_argument("--rounds", type=int, default=30); args.add_argument("--gate", type=Path, nargs="*", default=[])
    args = args.parse_args()
    bundle,loader = Bundle(),MedicalDataLoader(args.data)
    for folder in args.gate:
        files = [p for p in sorted(folder.rglob("*")) if is_image_file(p)]
        k = sum(warned(bundle, p) for p in files)
        print(f"gate: {k} of {len(files)} in {folder.name} ({' to '.join(f'{v:.3f}' for v in wilson(k, len(files)))})", flush=True)
    eight_bits(loader)
    if args.rounds: price(loader, args.rounds)
