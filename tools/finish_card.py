"""Learn what a card needs besides the network, and write it in: the conformal limits, from validation as it is and pushed, and what the Keras model says of the X-rays in the package. The network stays as it is.

    python tools/finish_card.py [BUNDLE] [--data DATA]

Without DATA the conformal limits stay as they are.
"""
import argparse, os
from pathlib import Path
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from pneumonia_nbdev.bundle import Bundle, sample_answers, write_bundle
from pneumonia_nbdev.calibration import conformal_limits
from pneumonia_nbdev.data import MedicalDataLoader
from pneumonia_nbdev.evaluation import scorer
from pneumonia_nbdev.explanation import keras_model
from pneumonia_nbdev.report import pushed_scores

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("bundle", type=Path, nargs="?"); args.add_argument("--data", type=Path)
args = args.parse_args()
bundle = Bundle(args.bundle)
own = {k: v for k,v in bundle.card.items() if k not in ("format", "version", "files", "sha256")}
if args.data:
    loader = MedicalDataLoader(args.data, (bundle.spec.height, bundle.spec.width))
    own["conformal"] = {k: np.round(v, 6).tolist() for k,v in conformal_limits(*pushed_scores(scorer(bundle), loader)).items()}
model = keras_model(bundle)
own["sample"] = sample_answers(lambda x: model.predict_on_batch(x)[:, -1], bundle.spec)
write_bundle(bundle.path, bundle.parts.pop("model.tflite"), own, bundle.parts)
print(Bundle(bundle.path), own["conformal"])
