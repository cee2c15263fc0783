"""How often the monitor rings on the same domain, and how soon on another, for the model that ships: 100 streams each.

    python tools/measure_drift.py DATA [--adults ADULTS] [--draws 100] [--out nbs/results/drift.csv]

DATA is the official set: validation makes the reference, by patient; its test part is looked at without its labels. ADULTS is a folder of other chest X-rays. Corruptions are those of the chapter on robustness, at their third level of five.
"""
import argparse
from pathlib import Path
import numpy as np, pandas as pd
from pneumonia_nbdev.bundle import Bundle
from pneumonia_nbdev.data import MedicalDataLoader
from pneumonia_nbdev.drift import detection, false_alarms, sight_of, ALPHA, WINDOW
from pneumonia_nbdev.figures import wilson
from pneumonia_nbdev.image import XRay, read_xray
from pneumonia_nbdev.robustness import CORRUPTIONS

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("data", type=Path); args.add_argument("--adults", type=Path); args.add_argument("--draws", type=int, default=100)
args.add_argument("--out", type=Path, default=Path("nbs/results/drift.csv"))
args = args.parse_args()
bundle,loader,rows = Bundle(),MedicalDataLoader(args.data),[]
val = loader.part("val")
familiar = sight_of(bundle, val.path)

def note(stream, rang, found=None):
    "One line: how many of the streams rang within the window, and after how many images"
    k = int(np.sum(rang))
    rows.append(dict(stream=stream, streams=args.draws, rang=k, low=wilson(k, args.draws)[0], high=wilson(k, args.draws)[1], median_images=np.nanmedian(found) if found is not None and k else np.nan, model=bundle.id, alpha=ALPHA))
    print(rows[-1], flush=True)

note("same domain (validation, other patients)", [True] * round(false_alarms(familiar, val.patient.to_numpy(), draws=args.draws) * args.draws))
strange = {}
if args.adults: strange["adults, another hospital"] = sight_of(bundle, sorted(p for p in args.adults.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")))
for name,(change,levels) in CORRUPTIONS.items():
    strange[f"{name.split(',')[0]} {levels[2]}"] = sight_of(bundle, (XRay(np.asarray(change(read_xray(p).levels, levels[2]), np.float32)) for p in val.path[::2]))
strange["official test set, no labels"] = sight_of(bundle, loader.part("test").path)
for name,sight in strange.items():
    found = detection(familiar, sight, draws=args.draws)
    note(name, found <= WINDOW, found)
pd.DataFrame(rows).round(4).to_csv(args.out, index=False)
