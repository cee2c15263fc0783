"""How often the monitor rings on the same domain, and how soon on another, for the model that ships: 100 streams each.

    python tools/measure_drift.py DATA [--adults ADULTS] [--draws 100] [--out nbs/results/drift.csv]

DATA is the official set: validation makes the reference, by patient; its test part is looked at without its labels. ADULTS is a folder of other chest X-rays. Corruptions are those of the chapter on robustness, at their third level of five.
"""

import argparse
from pathlib import Path
import numpy as np, pandas as pd
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.continual.drift import detection_delay, false_alarms, observe, ALPHA, WINDOW
from pneumonia_nbdev.core.metrics import wilson_interval
from pneumonia_nbdev.core.image import XRay, read_xray
from pneumonia_nbdev.evaluation.robustness import CORRUPTIONS

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("data", type=Path)
args.add_argument("--adults", type=Path)
args.add_argument("--draws", type=int, default=100)
args.add_argument("--out", type=Path, default=Path("nbs/results/drift.csv"))
args = args.parse_args()
bundle = Bundle()
loader = MedicalDataLoader(args.data)
rows = []
val = loader.split_rows("val")
familiar = observe(bundle, val.path)


def note(stream, rang, found=None):
    "One line: how many of the streams rang within the window, and after how many images"
    k = int(np.sum(rang))
    rows.append(
        dict(
            stream=stream,
            streams=args.draws,
            rang=k,
            low=wilson_interval(k, args.draws)[0],
            high=wilson_interval(k, args.draws)[1],
            median_images=np.nanmedian(found) if found is not None and k else np.nan,
            model=bundle.id,
            alpha=ALPHA,
        )
    )
    print(rows[-1], flush=True)


note(
    "same domain (validation, other patients)",
    [True]
    * round(false_alarms(familiar, val.patient.to_numpy(), draws=args.n_resamples) * args.n_resamples),
)
strange = {}
if args.adults:
    strange["adults, another hospital"] = observe(
        bundle, sorted(p for p in args.adults.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    )
for name, (change, levels) in CORRUPTIONS.items():
    strange[f"{name.split(',')[0]} {levels[2]}"] = observe(
        bundle, (XRay(np.asarray(change(read_xray(p).levels, levels[2]), np.float32)) for p in val.path[::2])
    )
strange["official test set, no labels"] = observe(bundle, loader.split_rows("test").path)
for name, sight in strange.items():
    found = detection_delay(familiar, sight, draws=args.n_resamples)
    note(name, found <= WINDOW, found)
pd.DataFrame(rows).round(4).to_csv(args.out, index=False)
