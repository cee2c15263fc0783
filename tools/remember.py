"""Write the memory of the old domain and the monitor's reference into a bundle; its network stays as it is.

    python tools/remember.py DATA [BUNDLE] [--core 1000]

DATA is what the bundle was trained on. Without BUNDLE it is the one that comes with the package.
"""
import argparse, os
from pathlib import Path
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from pneumonia_nbdev.bundle import Bundle
from pneumonia_nbdev.continual import with_memory
from pneumonia_nbdev.data import MedicalDataLoader

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("data", type=Path); args.add_argument("bundle", type=Path, nargs="?"); args.add_argument("--core", type=int, default=1000)
args = args.parse_args()
bundle = Bundle(args.bundle)
print(with_memory(bundle, MedicalDataLoader(args.data, (bundle.spec.height, bundle.spec.width)), bundle.path, args.core), {k: len(v) for k,v in bundle.parts.items()})
