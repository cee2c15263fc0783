"""Small files of every supported format and transfer syntax, for `tools/fuzz.py` and `tools/measure_decoders.py`.

    python tools/seeds.py           list the files with their sizes
    python tools/seeds.py --write   write those that need imagecodecs to nbs/fixtures/hostile/seeds

A file is made from an image of the sample, at 64 pixels, with Pillow or pydicom. Encoders for the other code streams
(JPEG of 12 bits, lossless JPEG, JPEG-LS, JPEG 2000) are in imagecodecs; their files are committed.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mutate import SYNTAXES

ROOT = Path(__file__).resolve().parents[1]
COMMITTED = ROOT / "nbs/fixtures/hostile/seeds"
SIDE = 64  # pixels


def image(
    bits=8,  # of a gray level
    side=SIDE,  # height in pixels; the width is a little smaller
):  # (height, width) uint8 or uint16
    "An X-ray of the sample with noise in the low bits"
    path = sorted((ROOT / "pneumonia_nbdev/sample/test/NORMAL").glob("*.jp*g"))[0]
    levels = Image.open(path).convert("L").resize((side - 4, side), Image.Resampling.BILINEAR)
    levels = np.asarray(levels, np.uint32) << (bits - 8)
    noise = np.random.default_rng(0).integers(0, 1 << (bits - 8), levels.shape) if bits > 8 else 0
    return (levels + noise).astype(np.uint8 if bits == 8 else np.uint16)


def rgb():
    "(height, width, 3) uint8 with some color"
    gray = image()
    return np.stack([gray, gray // 2 + 30, 255 - gray], -1)


def encoded(pixels, fmt, **options):
    "The bytes that Pillow writes"
    buffer = io.BytesIO()
    img = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    img.save(buffer, fmt, **options)
    return buffer.getvalue()


def jpeg_files():
    "JPEG: baseline, progressive, color, CMYK, restart markers, comments, EXIF"
    gray = image()
    exif = Image.Exif()
    exif[274] = 6  # rotated
    yield "jpeg_gray", encoded(gray, "JPEG")
    yield "jpeg_progressive", encoded(rgb(), "JPEG", progressive=True)
    yield "jpeg_color", encoded(rgb(), "JPEG", subsampling=2, optimize=True)
    yield "jpeg_444", encoded(rgb(), "JPEG", subsampling=0, quality=95)
    yield "jpeg_cmyk", encoded(Image.fromarray(rgb()).convert("CMYK"), "JPEG")
    yield "jpeg_restart", encoded(gray, "JPEG", restart_marker_blocks=3)
    yield "jpeg_exif", encoded(gray, "JPEG", exif=exif, comment=b"comment", icc_profile=bytes(200))


def png_files():
    "PNG: every color type and bit depth, with transparency and text"
    gray = Image.fromarray(image())
    color = Image.fromarray(rgb())
    yield "png_gray", encoded(gray, "PNG")
    yield "png_gray_16", encoded(image(16), "PNG")
    yield "png_bits", encoded(gray.convert("1"), "PNG")
    yield "png_palette", encoded(color.quantize(12), "PNG", bits=4, transparency=3)
    yield "png_color", encoded(color, "PNG")
    yield "png_alpha", encoded(color.convert("RGBA"), "PNG")
    yield "png_gray_alpha", encoded(gray.convert("LA"), "PNG")
    import cv2

    yield "png_color_16", cv2.imencode(".png", rgb().astype(np.uint16) * 257)[1].tobytes()
    yield "png_interlaced", interlaced_png(image())


def interlaced_png(gray):
    "A PNG with Adam7 interlacing, which Pillow doesn't write"
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [row for x, y, dx, dy in steps for row in gray[y::dy, x::dx] if row.size]
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", gray.shape[1], gray.shape[0], 8, 0, 0, 0, 1)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def bmp_files():
    "BMP: 1, 8, 24 and 32 bits, and run-length encoding"
    gray = Image.fromarray(image())
    yield "bmp_gray", encoded(gray, "BMP")
    yield "bmp_color", encoded(rgb(), "BMP")
    yield "bmp_bits", encoded(gray.convert("1"), "BMP")
    yield "bmp_alpha", encoded(gray.convert("RGBA"), "BMP")
    yield "bmp_rle", rle_bmp(image())


def rle_bmp(gray):
    "A BMP with run-length encoding, which Pillow reads but doesn't write"
    import struct

    data = b"".join(b"".join(bytes([1, v]) for v in row) + b"\0\0" for row in gray[::-1]) + b"\0\1"
    palette = b"".join(bytes([v, v, v, 0]) for v in range(256))
    height, width = gray.shape
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


def tiff_files():
    "TIFF: every supported compression that Pillow writes, 16 bits, floats, tiles, BigTIFF"
    gray = Image.fromarray(image())
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"):
        yield f"tiff_{compression.removeprefix('tiff_')}", encoded(gray, "TIFF", compression=compression)
    for compression in ("group3", "group4", "tiff_ccitt"):
        yield f"tiff_{compression}", encoded(gray.convert("1"), "TIFF", compression=compression)
    yield "tiff_raw", encoded(gray, "TIFF")
    yield "tiff_16", encoded(image(16), "TIFF")
    yield "tiff_float", encoded(image().astype(np.float32), "TIFF", compression="tiff_lzw")
    yield "tiff_color", encoded(rgb(), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield "tiff_big", encoded(gray, "TIFF", big_tiff=True)
    yield "tiff_tiles", tiled_tiff(image())
    yield "tiff_big_endian", tiled_tiff(image(), ">")


def tiled_tiff(gray, order="<"):
    "A TIFF with deflated tiles of 32 pixels, which Pillow doesn't write"
    import struct
    import zlib

    height, width = gray.shape
    padded = np.pad(gray, ((0, -height % 32), (0, -width % 32)))
    tiles = [padded[y : y + 32, x : x + 32] for y in range(0, height, 32) for x in range(0, width, 32)]
    tiles = [zlib.compress(tile.tobytes()) for tile in tiles]
    start = 8 + 2 + 12 * 12 + 4 + 8 * len(tiles)
    offsets = [start + sum(map(len, tiles[:i])) for i in range(len(tiles))]
    lists = 8 + 2 + 12 * 12 + 4
    single = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 284: 1, 322: 32, 323: 32, 339: 1}
    entries = [(tag, 4, 1, value) for tag, value in single.items()]
    entries += [(324, 4, len(tiles), lists), (325, 4, len(tiles), lists + 4 * len(tiles))]
    mark = b"II*\0" if order == "<" else b"MM\0*"
    parts = [mark, struct.pack(order + "IH", 8, 12)]
    parts += [struct.pack(order + "HHII", *entry) for entry in sorted(entries)] + [bytes(4)]
    parts.append(struct.pack(f"{order}{2 * len(tiles)}I", *offsets, *map(len, tiles)))
    return b"".join([*parts, *tiles])


def webp_files():
    "WebP: lossy, lossless, with transparency"
    color = Image.fromarray(rgb())
    yield "webp_lossy", encoded(image(), "WEBP", quality=60)
    yield "webp_lossless", encoded(color, "WEBP", lossless=True)
    yield "webp_alpha", encoded(color.convert("RGBA"), "WEBP", quality=60, exif=b"Exif\0\0" + bytes(20))


# --- DICOM


def dicom(pixels, bits, syntax="explicit", frames=None, photometric=None, **fields):
    "A DICOM file of these pixels, or of these encoded frames"
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(SYNTAXES[syntax])
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID("1.2.826.0.1.3680043.8.498.1")
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition, ds.PatientID = "DX", "CHEST", "PA", "seed"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    ds.PhotometricInterpretation = photometric or ("RGB" if pixels.ndim == 3 else "MONOCHROME2")
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 if bits == 8 else 16, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in fields.items():
        setattr(ds, name, value)
    order = ">" if syntax == "big_endian" else "<"
    raw = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    ds.PixelData = encapsulate(frames) if frames else raw
    ds["PixelData"].VR = "OB" if frames or bits == 8 else "OW"
    buffer = io.BytesIO()
    options = {"implicit_vr": syntax == "implicit", "little_endian": order == "<", "enforce_file_format": True}
    pydicom.dcmwrite(buffer, ds, **(options if not frames else {"enforce_file_format": True}))
    return buffer.getvalue()


def windowed():
    "Fields that change the gray levels: rescale, window, padding, a lookup table"
    import pydicom

    table = pydicom.Dataset()
    table.add_new(0x00283002, "US", [4096, 0, 16])
    table.add_new(0x00283006, "OW", np.linspace(0, 65535, 4096).astype("<u2").tobytes())
    fields = {"RescaleSlope": 1, "RescaleIntercept": 0, "WindowCenter": 2048, "WindowWidth": 4000}
    return {**fields, "PixelPaddingValue": 0, "VOILUTSequence": [table]}


def dicom_files():
    "DICOM without a foreign encoder: uncompressed syntaxes, deflated, RLE, baseline JPEG"
    from pydicom.pixels.encoders import RLELosslessEncoder

    wide = image(12)
    for syntax in ("implicit", "explicit", "big_endian", "deflated"):
        yield f"dicom_{syntax}", dicom(wide, 12, syntax)
    yield "dicom_windowed", dicom(wide, 12, **windowed())
    yield "dicom_signed", dicom((wide.astype(np.int32) - 2048).astype(np.int16), 16)
    yield "dicom_8", dicom(image(), 8, photometric="MONOCHROME1")
    yield "dicom_color", dicom(rgb(), 8)
    settings = {"rows": wide.shape[0], "columns": wide.shape[1], "samples_per_pixel": 1, "number_of_frames": 1}
    settings |= {"bits_allocated": 16, "bits_stored": 12, "pixel_representation": 0}
    settings |= {"photometric_interpretation": "MONOCHROME2"}
    frame = next(RLELosslessEncoder.iter_encode(wide, encoding_plugin="pydicom", **settings))
    yield "dicom_rle", dicom(wide, 12, "rle", [frame])
    yield "dicom_jpeg", dicom(image(), 8, "jpeg", [encoded(image(), "JPEG", quality=90)])
    color = encoded(rgb(), "JPEG", subsampling=2)
    yield "dicom_jpeg_color", dicom(rgb(), 8, "jpeg", [color], photometric="YBR_FULL_422")
    restart = encoded(image(), "JPEG", restart_marker_blocks=3)
    yield "dicom_jpeg_restart", dicom(image(), 8, "jpeg", [restart])


def code_streams(
    side=SIDE,  # height in pixels
):  # name -> (code stream, pixels, bits stored)
    "Code streams that imagecodecs encodes"
    import imagecodecs as ic

    streams = {}
    for bits in (8, 12, 16):
        gray = image(bits, side)
        width = {"bitspersample": bits}
        lossless = ic.jpeg8_encode(gray, lossless=True, predictor=1, **width)
        streams[f"lossless_sv1_{bits}"] = lossless, gray, bits
        streams[f"jpegls_{bits}"] = ic.jpegls_encode(gray), gray, bits
        j2k = ic.jpeg2k_encode(gray, codecformat="j2k", reversible=True, **width)
        streams[f"j2k_lossless_{bits}"] = j2k, gray, bits
        if bits != 12:  # the encoder has no 12 bits
            streams[f"htj2k_{bits}"] = ic.htj2k_encode(gray), gray, bits
    streams["jpeg_8"] = encoded(image(8, side), "JPEG", quality=90), image(8, side), 8
    streams["jpeg12_12"] = ic.jpeg8_encode(image(12, side), level=95, bitspersample=12), image(12, side), 12
    gray = image(12, side)
    width = {"bitspersample": 12}
    streams["lossless_12"] = ic.jpeg8_encode(gray, lossless=True, predictor=6, **width), gray, 12
    streams["jpegls_near_12"] = ic.jpegls_encode(gray, level=3), gray, 12
    lossy = ic.jpeg2k_encode(gray, level=50, codecformat="j2k", reversible=False, **width)
    streams["j2k_12"] = lossy, gray, 12
    return streams


def coded_files():
    "DICOM files of the code streams of imagecodecs"
    for name, (stream, pixels, bits) in code_streams().items():
        if name == "jpeg_8":
            continue
        syntax = name.rsplit("_", 1)[0]
        yield f"dicom_{name}", dicom(pixels, bits, syntax, [stream])


def seeds():
    "All files: name -> content; the first word of a name is the format"
    files = {}
    for maker in (jpeg_files, png_files, bmp_files, tiff_files, webp_files, dicom_files):
        files |= dict(maker())
    files |= {path.stem: path.read_bytes() for path in sorted(COMMITTED.glob("*.dcm"))}
    return files


def main():
    if "--write" in sys.argv:
        COMMITTED.mkdir(parents=True, exist_ok=True)
        for name, raw in coded_files():
            (COMMITTED / f"{name}.dcm").write_bytes(raw)
    for name, raw in seeds().items():
        print(f"{len(raw):7} {name}")


if __name__ == "__main__":
    main()
