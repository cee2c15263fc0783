"""Choose the images of `pneumonia_nbdev/sample/` again.

    python tools/sample.py DATA ORIGINALS [OUT [MASKS]]

DATA is the official data set at 224 x 224 pixels. ORIGINALS contains some of its files at their original size. Both
have the layout `split/CLASS/file`. The sample contains one image of each patient, chosen at random with a fixed seed.
Images of train and val are separated by the hash of the patient, and patient numbers that occur in test are excluded
from both. The small versions of the originals are part of test.

`small.csv` lists the first images of each split. These images and the originals are the reference images of bundles:
a card stores the probabilities of the model for them. Their selection must stay the same.

MASKS is a `.npz` with `names` (n,) and `masks` (n, height, width) of the lungs. `lung_masks.npz` has those of val.
"""

import random
import shutil
import sys
from pathlib import Path

import numpy as np

from pneumonia_nbdev.core.base import CLASSES, sample_dir
from pneumonia_nbdev.data.files import in_validation, patient_group

SIZES = dict(train=200, val=40, test=50)  # images of each class
SMALL = dict(train=24, val=12, test=24)  # images of each class in `small.csv`
SPLITS = dict(train=("train", "val"), val=("train", "val"), test=("test",))  # source folders of each split
N_ORIGINALS = 4  # of each class
SEED = 2018


def one_each(paths, start=None):
    "Patient -> the first path of this patient, in the order given"
    found = dict(start or {})
    for path in paths:
        found.setdefault(patient_group(path.name), path)
    return found


def choose(data, originals):
    "Path in the sample -> source file"
    rng = random.Random(SEED)
    chosen = {}
    in_test = {patient_group(path.name) for path in data.glob("test/*/*.jpeg")}
    for cls in CLASSES:
        large = sorted((originals / "test" / cls).glob("*.jpeg"))
        rng.shuffle(large)
        large = list(one_each(large).values())[:N_ORIGINALS]
        chosen |= {f"originals/test/{cls}/{path.name}": path for path in large}
        for split, n in SIZES.items():
            pool = sorted(path for folder in SPLITS[split] for path in (data / folder / cls).glob("*.jpeg"))
            if split != "test":
                pool = [path for path in pool if in_validation(patient_group(path.name)) == (split == "val")]
            rng.shuffle(pool)
            small = {}
            if split == "test":
                small = {patient_group(path.name): data / "test" / cls / path.name for path in large}
            else:
                pool = [path for path in pool if patient_group(path.name) not in in_test]
            chosen |= {f"{split}/{cls}/{path.name}": path for path in list(one_each(pool, small).values())[:n]}
    return chosen


def write_small(chosen, path):
    "Write the table of the small selection"
    rows = []
    for split, n in SMALL.items():
        for cls in CLASSES:
            rows += [f"{place},{split},{cls}" for place in chosen if place.startswith(f"{split}/{cls}/")][:n]
    path.write_text("\n".join(["path,split,label", *sorted(rows)]) + "\n", encoding="utf-8")


def write_masks(chosen, source, path):
    "Write the masks of the lungs of the images in val"
    with np.load(source) as stored:
        masks = {Path(str(name)).name: mask for name, mask in zip(stored["names"], stored["masks"], strict=True)}
    places = sorted(p for p in chosen if p.startswith("val/") and Path(p).name in masks)
    np.savez_compressed(path, names=np.array(places), masks=np.stack([masks[Path(p).name] for p in places]))


def main():
    folders = [Path(argument) for argument in sys.argv[1:]]
    if len(folders) not in (2, 3, 4) or any(str(folder).startswith("-") for folder in folders):
        sys.exit(__doc__)
    data, originals = folders[:2]
    out = folders[2] if len(folders) > 2 else sample_dir()
    chosen = choose(data, originals)
    for place, source in chosen.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / place)
    write_small(chosen, out / "small.csv")
    if len(folders) == 4:
        write_masks(chosen, folders[3], out / "lung_masks.npz")


if __name__ == "__main__":
    main()
