"""Images a second, side by side with torchxrayvision's DenseNet121, from JPEG files to probabilities, in turns.

    python tools/compare_peer.py FOLDER [--rounds 30]

Wants `pip install torchxrayvision` (with PyTorch) beside this package. Without its weights the network is random, which costs the same. Its preprocessing is its own: normalize, centre crop, resize to 224. Both use the threads that they take by themselves, and threads=1.
"""

import argparse, warnings
from pathlib import Path
from time import perf_counter
import numpy as np
from pneumonia_nbdev.deployment.predictor import PneumoniaDetectionSystem

warnings.filterwarnings("ignore")
import skimage.io, torch, torchxrayvision as xrv


def theirs():
    "A function from files to probabilities, one at a time and in batches of 16"
    model = xrv.models.DenseNet(weights=None, num_classes=18).eval()
    crop = xrv.datasets.XRayCenterCrop()
    resize = xrv.datasets.XRayResizer(224, engine="cv2")

    def read(path):
        gray = skimage.io.imread(path)
        gray = gray.mean(2) if gray.ndim == 3 else gray
        return torch.from_numpy(resize(crop(xrv.datasets.normalize(gray, 255)[None])))

    def single(paths):
        with torch.inference_mode():
            return [model(read(p)[None]).numpy() for p in paths]

    def batch(paths):
        with torch.inference_mode():
            return [
                model(torch.stack([read(p) for p in paths[i : i + 16]])).numpy()
                for i in range(0, len(paths), 16)
            ]

    return dict(single=single, batch=batch)


def measure(paths, rounds, work):
    "Median seconds an image of each, in turns, another part of the files each round"
    parts = [paths[i : i + 16] for i in range(0, len(paths) - 15, 16)]
    seconds = {k: [] for k in work}
    for r in range(rounds + 1):
        for k, f in work.items():
            start = perf_counter()
            f(parts[r % len(parts)])
            seconds[k].append((perf_counter() - start) / 16)
    return {k: np.array(v[1:]) for k, v in seconds.items()}


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("folder", type=Path)
    args.add_argument("--rounds", type=int, default=30)
    args = args.parse_args()
    paths = sorted(args.folder.rglob("*.jpeg"))
    peer = theirs()
    for threads in (None, 1):
        if threads:
            torch.set_num_threads(threads)
        ours = {
            f"ours, {n}, probability, map and gate": PneumoniaDetectionSystem(
                m, threads=threads
            ).batch_predict
            for n, m in (("floats", None), ("8 bits", "int8"))
        }
        seconds = measure(
            paths,
            args.rounds,
            {
                "torchxrayvision, one at a time": peer["single"],
                "torchxrayvision, batches of 16": peer["batch"],
                **ours,
            },
        )
        base = seconds["torchxrayvision, one at a time"]
        for k, v in seconds.items():
            print(
                f"{f'{torch.get_num_threads()} threads':10} {k:40} {np.median(base) / np.median(v):5.2f} times as fast ({np.quantile(base / v, 0.1):.2f} to {np.quantile(base / v, 0.9):.2f}; {args.rounds} rounds of 16 images)",
                flush=True,
            )
