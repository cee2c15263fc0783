"""Choose the sample in `pneumonia_nbdev/sample/` again: `python tools/sample.py DATA ORIGINALS [OUT]`.

DATA is the official set at 224 x 224, ORIGINALS holds some of its files at their first size, both as `split/CLASS/file`. One image of each
patient, at random with a fixed seed; train and val by the patients' hashes, and val without the numbers that test uses too. The small
versions of the originals are part of test.
"""

import random
import shutil
import sys
from pathlib import Path

from pneumonia_nbdev.core.base import CLASSES, sample_dir
from pneumonia_nbdev.data.dataset import in_validation, patient_id

SIZES = dict(train=24, val=12, test=24)  # of each class
SPLITS = dict(train=("train", "val"), val=("train", "val"), test=("test",))


def one_each(paths, start=None):
    "{patient: path}, the first of each patient, in the order given"
    found = dict(start or {})
    for p in paths:
        found.setdefault(patient_id(p.name), p)
    return found


def choose(data, originals):
    "{place in the sample: source}"
    rng = random.Random(2018)
    chosen = {}
    in_test = {patient_id(p.name) for p in data.glob("test/*/*.jpeg")}
    for cls in CLASSES:
        first = sorted((originals / "test" / cls).glob("*.jpeg"))
        rng.shuffle(first)
        first = list(one_each(first).values())[:4]
        chosen |= {f"originals/test/{cls}/{p.name}": p for p in first}
        for part, n in SIZES.items():
            pool = sorted(p for s in SPLITS[part] for p in (data / s / cls).glob("*.jpeg"))
            if part != "test":
                pool = [p for p in pool if in_validation(patient_id(p.name)) == (part == "val")]
            rng.shuffle(pool)
            if part != "test":
                pool = [p for p in pool if patient_id(p.name) not in in_test]
            small = (
                {patient_id(p.name): data / "test" / cls / p.name for p in first} if part == "test" else {}
            )
            chosen |= {f"{part}/{cls}/{p.name}": p for p in list(one_each(pool, small).values())[:n]}
    return chosen


if __name__ == "__main__":
    data, originals, out = (list(map(Path, sys.argv[1:])) + [sample_dir()])[:3]
    for place, source in choose(data, originals).items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / place)
