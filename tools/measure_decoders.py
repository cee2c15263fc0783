"""Compare decoders of compressed DICOM pixels: damaged code streams, exact pixels and speed.

    python tools/measure_decoders.py [--mutants 2400] [--seed 1] [--only jpegls rle] [--keep FOLDER]

The same damaged code streams go through each decoder, each in a process of its own with 1 GiB more memory than it has
and 5 seconds of CPU time. The columns that end with `_checked` count other mutants, those that the structure check of
the package lets through. The table is written to nbs/results/decoders.csv. Needs imagecodecs, python-gdcm, pyjpegls
and pylibjpeg-openjpeg.
"""

import argparse
import csv
import datetime
import importlib
import importlib.metadata
import io
import os
import random
import resource
import select
import signal
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from mutate import SYNTAXES, mutate
from seeds import code_streams, dicom, image

ROOT = Path(__file__).resolve().parents[1]
MEMORY = 2**30  # bytes that a decoder may add
CPU_SECONDS = 5
COUNTS = ("sent", "read", "refused", "crash", "hang", "memory", "more", "peak")
LOSSY = ("jpeg", "jpeg12", "jpegls_near", "j2k")
EXACT = {True: "yes", False: "no", None: "not readable"}
OPTIONS = {
    "number_of_frames": 1,
    "photometric_interpretation": "MONOCHROME2",
    "planar_configuration": 0,
    "pixel_representation": 0,
    "samples_per_pixel": 1,
    "pixel_keyword": "PixelData",
}


def plugin(label):
    "A decoder of pydicom's: (code stream, pixels' shape, bits stored, syntax) -> array"

    def decode(stream, shape, bits, syntax):
        from pydicom.encaps import encapsulate
        from pydicom.pixels import get_decoder

        options = {"rows": shape[0], "columns": shape[1], "bits_stored": bits, "bits_allocated": 8 if bits == 8 else 16}
        decoder = get_decoder(SYNTAXES[syntax])
        return decoder.as_array(encapsulate([stream]), decoding_plugin=label, **OPTIONS, **options)[0]

    return decode


def codec(name):
    "A decoder of imagecodecs"

    def decode(stream, shape, bits, syntax):
        import imagecodecs

        return getattr(imagecodecs, f"{name}_decode")(stream)

    return decode


def rle_codec(stream, shape, bits, syntax):
    "Run-length decoding by imagecodecs"
    import imagecodecs

    return np.frombuffer(imagecodecs.dicomrle_decode(stream, "<u2"), "<u2").reshape(shape)


def opencv(stream, shape, bits, syntax):
    "OpenCV, which the package has for plain JPEG files"
    import cv2

    pixels = cv2.imdecode(np.frombuffer(stream, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("unreadable")
    return pixels


def pillow(stream, shape, bits, syntax):
    "Pillow without pydicom"
    return np.asarray(Image.open(io.BytesIO(stream), formats=("JPEG", "JPEG2000")))


def openjpeg(stream, shape, bits, syntax):
    "OpenJPEG of pylibjpeg"
    from openjpeg import decode

    return decode(stream, j2k_format=0)


GDCM = plugin("gdcm")
JPEG8 = codec("jpeg8")  # libjpeg-turbo: 8 and 12 bits, lossless up to 16 bits
# (decoder, package, function), the reference of a syntax first
LOSSLESS = (("imagecodecs jpeg8", "imagecodecs", JPEG8), ("GDCM", "python-gdcm", GDCM))
LOSSLESS += (("imagecodecs ljpeg", "imagecodecs", codec("ljpeg")),)
LOSSLESS += (("imagecodecs jpegsof3", "imagecodecs", codec("jpegsof3")),)
JPEG_LS = (("imagecodecs jpegls", "imagecodecs", codec("jpegls")), ("GDCM", "python-gdcm", GDCM))
JPEG_LS += (("pyjpegls", "pyjpegls", plugin("pyjpegls")),)
JPEG_2000 = (("Pillow", "pillow", plugin("pillow")), ("GDCM", "python-gdcm", GDCM))
JPEG_2000 += (("imagecodecs jpeg2k", "imagecodecs", codec("jpeg2k")),)
JPEG_2000 += (("openjpeg", "pylibjpeg-openjpeg", openjpeg),)
DECODERS = {
    "jpeg": (
        ("Pillow", "pillow", plugin("pillow")),
        ("GDCM", "python-gdcm", GDCM),
        ("imagecodecs jpeg8", "imagecodecs", JPEG8),
        ("OpenCV", "opencv-python", opencv),
    ),
    "jpeg12": (("imagecodecs jpeg8", "imagecodecs", JPEG8), ("GDCM", "python-gdcm", GDCM)),
    "lossless": LOSSLESS,
    "lossless_sv1": LOSSLESS,
    "jpegls": JPEG_LS,
    "jpegls_near": JPEG_LS,
    "j2k_lossless": JPEG_2000,
    "j2k": JPEG_2000,
    "htj2k": (
        ("imagecodecs jpeg2k", "imagecodecs", codec("jpeg2k")),
        ("imagecodecs htj2k", "imagecodecs", codec("htj2k")),
    ),
    "rle": (
        ("pydicom", "pydicom", plugin("pydicom")),
        ("imagecodecs dicomrle", "imagecodecs", rle_codec),
    ),
}


def rle_stream(side):
    "A code stream of DICOM's run-length encoding"
    from pydicom.pixels.encoders import RLELosslessEncoder

    pixels = image(12, side)
    options = {**OPTIONS, "rows": pixels.shape[0], "columns": pixels.shape[1]}
    options |= {"bits_allocated": 16, "bits_stored": 12}
    del options["planar_configuration"], options["pixel_keyword"]
    frame = next(RLELosslessEncoder.iter_encode(pixels, encoding_plugin="pydicom", **options))
    return frame, pixels, 12


def streams_of(side):
    "Syntax -> list of (code stream, pixels, bits stored)"
    found = {"rle": [rle_stream(side)]}
    for name, stream in code_streams(side).items():
        found.setdefault(name.rsplit("_", 1)[0], []).append(stream)
    return found


# --- one decoding in a process of its own


def in_child(function, *arguments):
    "Run a function in a forked process; ('read' | 'refused' | 'memory' | 'crash' | 'hang', peak in bytes, signal)"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(writer, function, arguments)
    os.close(writer)
    ready = _closes(reader, 60)
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    before, _, answer = os.read(reader, 100).decode().partition(" ")
    os.close(reader)
    peak = max(0, usage.ru_maxrss * 1024 - int(before or 2**62))
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        slow = not ready or number in (signal.SIGXCPU, signal.SIGKILL)
        return ("hang" if slow else "crash"), peak, number
    return answer or "crash", peak, 0


def _closes(reader, seconds):
    "Whether the other end of a pipe is closed in time; nothing is read"
    poll = select.poll()
    poll.register(reader, 0)  # only the end of the pipe
    return bool(poll.poll(seconds * 1000))


def _child(writer, function, arguments):
    "What the forked process does"
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        virtual, resident = Path("/proc/self/statm").read_text().split()[:2]
        size = int(virtual) * resource.getpagesize()
        os.write(writer, f"{int(resident) * resource.getpagesize()} ".encode())
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
        try:
            answer = function(*arguments)
        except MemoryError:
            answer = "memory"
        except BaseException as error:  # noqa: BLE001
            text = repr(error).lower()
            answer = "memory" if "memory" in text or "alloc" in text else "refused"
        os.write(writer, answer.encode())
    finally:
        os._exit(0)


def decode_once(decode, stream, shape, bits, syntax):
    "'read' for an image of the right size"
    pixels = decode(stream, shape, bits, syntax)
    return "read" if tuple(pixels.shape) == tuple(shape) else "refused"


# --- the table


def damaged(streams, syntax, seed, number):
    "(code stream, pixels, bits) of a mutant"
    rng = random.Random(f"{seed}/{syntax}/{number}")
    stream, pixels, bits = streams[syntax][number % len(streams[syntax])]
    others = [other[0] for other in streams[syntax]]
    family = [other[0] for key, values in streams.items() if key != "rle" for other in values]
    if syntax == "rle":
        return _damaged_rle(stream, rng), pixels, bits
    return mutate(stream, rng, others if rng.random() < 0.7 else family), pixels, bits


def _damaged_rle(stream, rng):
    "The table of offsets is a key part of a run-length stream"
    raw = bytearray(stream)
    for _ in range(rng.choice((1, 1, 2, 4))):
        table = rng.random() < 0.5
        at = rng.randrange(0, 16) * 4 if table else rng.randrange(len(raw))
        if table:
            value = rng.choice((0, 1, 2, 3, 15, 64, 65535, 2**31, 2**32 - 1, rng.randrange(9000)))
            raw[at : at + 4] = value.to_bytes(4, "little")
        else:
            raw[at] = rng.randrange(256)
    if rng.random() < 0.2:
        raw = raw[: rng.randrange(1, len(raw))]
    return bytes(raw)


def passes_check(stream, pixels, bits, syntax):
    "Whether the package would give this code stream to a decoder"
    from pneumonia_nbdev.core.base import InputError
    from pneumonia_nbdev.core.image import check_content

    with suppress(InputError):
        check_content(dicom(pixels, bits, syntax, [stream]))
        return True
    return False


def attack(syntax, decoders, streams, mutants, seed, checked, keep):
    "A row for each decoder of a syntax: counts of what the mutants did"
    counts = {name: dict.fromkeys(COUNTS, 0) for name, *_ in decoders}
    for number in range(mutants):
        stream, pixels, bits = damaged(streams, syntax, seed, number)
        if checked and not passes_check(stream, pixels, bits, syntax):
            continue
        reference = None
        for name, _, decode in decoders:
            state, peak, died = in_child(decode_once, decode, stream, pixels.shape, bits, syntax)
            reference = reference or state
            row = counts[name]
            row["sent"] += 1
            row[state] += 1
            row["more"] += state == "read" and reference != "read"
            row["peak"] = max(row["peak"], peak)
            if keep and state in ("crash", "hang"):
                keep_stream(keep, stream, syntax, name, number, state, died)
    return counts


def keep_stream(folder, stream, syntax, name, number, state, died):
    "Store a code stream that broke a decoder"
    folder = folder / syntax
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name.replace(' ', '-')}_{number}_{state}{died}.bin").write_bytes(stream)


def speed(syntax, decoders, streams, repeats):
    "Median seconds and exactness of each decoder, taken in turns"
    seconds = {name: [] for name, *_ in decoders}
    exact = dict.fromkeys(seconds, True)
    stream, pixels, bits = streams[syntax][len(streams[syntax]) // 2]
    for name, _, decode in decoders:
        for stream_, pixels_, bits_ in streams[syntax]:
            try:
                same = np.array_equal(decode(stream_, pixels_.shape, bits_, syntax), pixels_)
                exact[name] = exact[name] and same
            except Exception:  # noqa: BLE001
                exact[name] = None
    for _ in range(repeats):
        for name, _, decode in decoders:
            if exact[name] is None:
                continue
            start = time.process_time()
            decode(stream, pixels.shape, bits, syntax)
            seconds[name].append(time.process_time() - start)
    return {name: float(np.median(times)) if times else None for name, times in seconds.items()}, exact


def rows_of(syntax, arguments, small, large):
    "Rows of the table for a syntax"
    decoders = DECODERS[syntax]
    start = time.time()
    common = (syntax, decoders, small, arguments.mutants)
    counts = attack(*common, arguments.seed, checked=False, keep=arguments.keep)
    behind = attack(*common, arguments.seed + 1, checked=True, keep=arguments.keep)
    seconds, exact = speed(syntax, decoders, large, arguments.repeats)
    base = seconds.get("GDCM") or seconds[decoders[0][0]]
    for name, package, _ in decoders:
        count = counts[name]
        row = {
            "transfer_syntax": SYNTAXES[syntax],
            "name": syntax,
            "decoder": name,
            "version": importlib.metadata.version(package),
            "mutants": count["sent"],
            "crashes": count["crash"],
            "hangs": count["hang"],
            "over_memory": count["memory"],
            "peak_mib": round(count["peak"] / 2**20),
            "accepted": count["read"],
            "accepted_alone": count["more"],
            "mutants_checked": behind[name]["sent"],
            "crashes_checked": behind[name]["crash"],
            "hangs_checked": behind[name]["hang"],
            "exact": "lossy" if syntax in LOSSY and exact[name] is not None else EXACT[exact[name]],
            "seconds_ratio": round(seconds[name] / base, 2) if seconds[name] else "",
            "milliseconds": round(seconds[name] * 1000, 1) if seconds[name] else "",
            "seed": arguments.seed,
            "date": datetime.date.today().isoformat(),
        }
        print(*row.values(), f"{time.time() - start:.0f} s", flush=True)
        yield row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mutants", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--only", nargs="*", default=list(DECODERS))
    parser.add_argument("--keep", type=Path, help="folder for code streams that crash or block a decoder")
    parser.add_argument("--out", type=Path, default=ROOT / "nbs/results/decoders.csv")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("imagecodecs", "gdcm", "cv2", "jpeg_ls", "openjpeg", "pydicom.pixels"):
        with suppress(ImportError):  # only the decoders of `--only` are needed
            importlib.import_module(name)
    small = streams_of(64)
    large = streams_of(1200)
    rows = [row for syntax in arguments.only for row in rows_of(syntax, arguments, small, large)]
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
    sys.exit(0)
