"""Measure the memory and the time of reading a 4000 x 5000 DICOM file of 16 bits (Linux).

    python tools/measure_memory.py [--jpeg2000]

The first line is the decoding process: resident memory before, its peak, and the seconds of decoding. The second line
is the caller: what reading the file and preparing the input of the network add to its peak.
"""

import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def big_dicom(is_jpeg2000):
    "The bytes of the file: an X-ray of the sample, enlarged, with noise"
    import imagecodecs
    import pydicom
    from PIL import Image
    from pneumonia_nbdev import sample_dir

    picture = Image.open(min((sample_dir() / "originals").rglob("*.jpeg"))).convert("L").resize((4000, 5000))
    noise = np.random.default_rng(0).integers(0, 60, (5000, 4000))
    pixels = (np.asarray(picture, np.uint16) * 200 + noise).astype(np.uint16)
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.Modality = "DX"
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelRepresentation = 0
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelData = pixels.tobytes()
    if is_jpeg2000:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
        stream = imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True)
        ds.PixelData = pydicom.encaps.encapsulate([stream])
        ds["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=False)
    return buffer.getvalue()


def mebibytes(field):
    "A field of `/proc/self/status`"
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def measured(work):
    "Resident memory before, peak and seconds of a function"
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets the peak
    before = mebibytes("VmRSS")
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return f"before {before:.0f} MiB, peak {mebibytes('VmHWM'):.0f} MiB, {seconds:.2f} s"


def decode(path):
    "What the decoding process does"
    from pneumonia_nbdev.core import image

    for functions in image.preparations():
        for function in functions:
            function()
    raw = Path(path).read_bytes()
    print("decoder:", measured(lambda: image.xray_task(raw)))


def read(path):
    "What the caller does"
    from pneumonia_nbdev import preprocess, read_xray, sample_dir

    read_xray(min((sample_dir() / "originals").rglob("*.jpeg")))  # starts the decoding process
    print("caller:", measured(lambda: preprocess(read_xray(path))))


def main():
    if len(sys.argv) > 2:
        {"decode": decode, "read": read}[sys.argv[1]](sys.argv[2])
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.dcm"
        path.write_bytes(big_dicom("--jpeg2000" in sys.argv))
        for step in ("decode", "read"):
            subprocess.run([sys.executable, __file__, step, path], check=True)


if __name__ == "__main__":
    main()
