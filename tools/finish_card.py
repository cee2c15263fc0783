"""Learn the conformal limits of a bundle from validation, as it is and pushed, and write them into its card; the network stays as it is.

    python tools/finish_card.py DATA [BUNDLE]
"""
import os, sys
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from pneumonia_nbdev.bundle import Bundle, write_bundle
from pneumonia_nbdev.calibration import conformal_limits
from pneumonia_nbdev.data import MedicalDataLoader
from pneumonia_nbdev.report import pushed_scores, scorer

bundle = Bundle(*sys.argv[2:3])
loader = MedicalDataLoader(sys.argv[1], (bundle.spec.height, bundle.spec.width))
limits = {k: np.round(v, 6).tolist() for k,v in conformal_limits(*pushed_scores(scorer(bundle), loader)).items()}
own = {k: v for k,v in bundle.card.items() if k not in ("format", "version", "files", "sha256")}
write_bundle(bundle.path, bundle.parts.pop("model.tflite"), {**own, "conformal": limits}, bundle.parts)
print(Bundle(bundle.path), limits)
