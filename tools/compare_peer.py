"""Compare the speed with torchxrayvision's DenseNet121, from JPEG files to probabilities.

    python tools/compare_peer.py FOLDER [--rounds 30]

Both packages are run in turn, with their default number of threads and with one thread. torchxrayvision and PyTorch
must be installed (`pip install torchxrayvision`). Its network has random weights, which doesn't change the speed. Its
preprocessing is that of torchxrayvision: normalize, centre crop, resize to 224 pixels.
"""

import argparse
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np

from pneumonia_nbdev.deployment.predictor import PneumoniaDetectionSystem

warnings.filterwarnings("ignore")
BATCH = 16
BASELINE = "torchxrayvision, one at a time"


def peer_functions():
    "Functions of torchxrayvision from files to probabilities: one at a time, and in batches"
    import skimage.io
    import torch
    import torchxrayvision as xrv

    model = xrv.models.DenseNet(weights=None, num_classes=18).eval()
    crop = xrv.datasets.XRayCenterCrop()
    resize = xrv.datasets.XRayResizer(224, engine="cv2")

    def read(path):
        gray = skimage.io.imread(path)
        gray = gray.mean(2) if gray.ndim == 3 else gray
        return torch.from_numpy(resize(crop(xrv.datasets.normalize(gray, 255)[None])))

    def single(paths):
        with torch.inference_mode():
            return [model(read(path)[None]).numpy() for path in paths]

    def batch(paths):
        batches = [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
        with torch.inference_mode():
            return [model(torch.stack([read(path) for path in part])).numpy() for part in batches]

    return {BASELINE: single, f"torchxrayvision, batches of {BATCH}": batch}


def own_functions(threads):
    "Functions of this package from files to results with heat map and quality checks"
    models = {"float": None, "8 bits": "int8"}
    return {
        f"ours, {name}, probability, map and quality": PneumoniaDetectionSystem(model, threads=threads).batch_predict
        for name, model in models.items()
    }


def measure(paths, rounds, functions):
    "Seconds per image of each function and round; the functions are run in turn, on other files in each round"
    parts = [paths[i : i + BATCH] for i in range(0, len(paths) - BATCH + 1, BATCH)]
    seconds = {name: [] for name in functions}
    for k in range(rounds + 1):
        for name, function in functions.items():
            start = perf_counter()
            function(parts[k % len(parts)])
            seconds[name].append((perf_counter() - start) / BATCH)
    return {name: np.array(values[1:]) for name, values in seconds.items()}  # the first round warms up


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    import torch

    paths = sorted(args.folder.rglob("*.jpeg"))
    peer = peer_functions()
    for threads in (None, 1):
        if threads:
            torch.set_num_threads(threads)
        seconds = measure(paths, args.rounds, peer | own_functions(threads))
        base = seconds[BASELINE]
        n_threads = f"{torch.get_num_threads()} threads"
        for name, values in seconds.items():
            speedup = np.median(base) / np.median(values)
            low, high = np.quantile(base / values, (0.1, 0.9))
            note = f"{low:.2f} to {high:.2f}; {args.rounds} rounds of {BATCH} images"
            print(f"{n_threads:10} {name:44} {speedup:5.2f} times as fast ({note})", flush=True)


if __name__ == "__main__":
    main()
