"""Files made by hand against the limits of the reader: bombs, endless structures, slow content, two formats in one.

    python tools/hostile.py             read each file, and print the error, the seconds and the bytes
    python tools/hostile.py NAME ...    only files whose name contains one of these words

Each file is small to send or cheap to make, and expensive to read: it inflates, repeats or announces a lot.
"""

import io
import struct
import sys
import time
import zlib
from functools import cache

import numpy as np
from PIL import Image

from mutate import SYNTAXES
from seeds import dicom, encoded, image

SIDE = 6300  # pixels; 39.7 million pixels, which is just below the limit
BOMB = 300 * 2**20  # bytes after decompression; more than the reader inflates
MADE = {}


def made(function):
    "Add a function to the list; its name is that of the file"
    MADE[function.__name__] = function
    return function


def segment(marker, content):
    "A JPEG segment"
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def chunk(name, content):
    "A PNG chunk"
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width, height, depth, color, *chunks, interlaced=0):
    "A PNG with these chunks"
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


@cache
def zeros(size):
    "Many zeros, deflated"
    packer = zlib.compressobj(9)
    block = bytes(2**20)
    parts = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, packer.compress(bytes(size % 2**20)), packer.flush()])


# --- PNG


@made
def png_largest_16_bit_rgba():
    return png(SIDE, SIDE, 16, 6, chunk(b"IDAT", zeros(SIDE * (SIDE * 8 + 1))))


@made
def png_largest_interlaced():
    return png(SIDE, SIDE, 16, 0, chunk(b"IDAT", zeros(SIDE * (SIDE * 2 + 8))), interlaced=1)


@made
def png_more_data_than_pixels():
    return png(60, 60, 8, 0, chunk(b"IDAT", zeros(BOMB)))


@made
def png_text_bomb():
    text = chunk(b"zTXt", b"Comment\0\0" + zeros(BOMB))
    return png(60, 60, 8, 0, text, text, chunk(b"IDAT", zeros(60 * 61)))


@made
def png_profile_bomb():
    profile = chunk(b"iCCP", b"p\0\0" + zeros(BOMB))
    return png(60, 60, 8, 0, profile, chunk(b"IDAT", zeros(60 * 61)))


@made
def png_million_chunks():
    return png(60, 60, 8, 0, chunk(b"tEXt", b"a\0b") * 700_000, chunk(b"IDAT", zeros(60 * 61)))


@made
def png_million_empty_data_chunks():
    return png(60, 60, 8, 0, chunk(b"IDAT", b"") * 1_000_000, chunk(b"IDAT", zeros(60 * 61)))


@made
def png_without_end():
    return png(60, 60, 8, 0, chunk(b"IDAT", zeros(60 * 61)))[:-12] + struct.pack(">I", 2**32 - 1) + b"IDAT"


@made
def png_largest_gray_alpha():
    return png(SIDE, SIDE, 8, 4, chunk(b"IDAT", zeros(SIDE * (SIDE * 2 + 1))))


@made
def png_largest_palette():
    palette = chunk(b"PLTE", bytes(768)) + chunk(b"tRNS", bytes(256))
    return png(SIDE, SIDE, 8, 3, palette, chunk(b"IDAT", zeros(SIDE * (SIDE + 1))))


@made
def png_16_bit_color():
    return png(6000, 5000, 16, 2, chunk(b"IDAT", zeros(5000 * (6000 * 6 + 1))))


# --- JPEG


def jpeg_header(width, height, sof=0xC2, components=3, precision=8):
    "Start of a JPEG: tables with one short code, frame header"
    parts = b"".join(bytes([i + 1, 0x11, 0]) for i in range(components))
    frame = struct.pack(">BHHB", precision, height, width, components) + parts
    table = segment(0xC4, bytes([0, 1, *[0] * 15, 0])) + segment(0xC4, bytes([0x10, 1, *[0] * 15, 0]))
    return b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64) + table + segment(sof, frame)


def scan(component, first, last, high=0, low=0, data=b"\0"):
    "A scan of one component"
    return segment(0xDA, bytes([1, component, 0, first, last, high << 4 | low])) + data


@made
def jpeg_progressive_most_scans():
    scans = scan(1, 0, 0, 0, 1) + b"".join(scan(1, 1, 63, 0, 0, b"\0") for _ in range(98))
    return jpeg_header(SIDE, SIDE, components=1) + scans + b"\xff\xd9"


@made
def jpeg_progressive_color_scans():
    scans = b"".join(scan(i % 3 + 1, 1 + i % 60, 63) for i in range(90))
    dc = segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 0, 0])) + b"\0"
    return jpeg_header(SIDE, SIDE) + dc + scans + b"\xff\xd9"


@made
def jpeg_scans_in_color_that_refine():
    refine = b"".join(scan(1 + i % 3, 1, 63, 2, 1, b"\0" * 2000) for i in range(60))
    return jpeg_header(SIDE, SIDE) + refine + b"\xff\xd9"


@made
def jpeg_arithmetic():
    return jpeg_header(SIDE, SIDE, sof=0xCA) + b"".join(scan(1, 1, 63) for _ in range(90)) + b"\xff\xd9"


@made
def jpeg_baseline_largest():
    return jpeg_header(SIDE, SIDE, sof=0xC0) + segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 63, 0])) + b"\0\xff\xd9"


@made
def jpeg_progressive_slow():
    noise = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)
    from PIL import ImageFile

    ImageFile.MAXBLOCK = 2**26  # bytes; the encoder needs the whole image in its buffer
    return encoded(noise, "JPEG", progressive=True, quality=100, subsampling=0)


@made
def jpeg_largest_cmyk():
    return encoded(Image.new("CMYK", (SIDE, SIDE)), "JPEG", quality=30)


@made
def jpeg_million_segments():
    raw = encoded(image(), "JPEG")
    return raw[:2] + segment(0xEF, b"") * 5_000_000 + raw[2:]


@made
def jpeg_many_fill_bytes():
    raw = encoded(image(), "JPEG")
    return raw[:2] + b"\xff" * 20_000_000 + raw[2:]


@made
def jpeg_fill_bytes_only():
    return b"\xff\xd8" + b"\xff" * 60_000_000


@made
def jpeg_many_tables():
    raw = encoded(image(), "JPEG")
    return raw[:2] + segment(0xC4, bytes([0, 1, *[0] * 15, 0])) * 500_000 + raw[2:]


@made
def jpeg_restart_markers():
    raw = encoded(image(), "JPEG", restart_marker_blocks=1)
    return raw[:-2] + b"".join(bytes([0xFF, 0xD0 + i % 8]) for i in range(5_000_000)) + raw[-2:]


@made
def jpeg_exif_loop():
    directory = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    raw = encoded(image(), "JPEG")
    return raw[:2] + segment(0xE1, b"Exif\0\0" + directory) + raw[2:]


@made
def jpeg_exif_counts():
    entries = b"".join(struct.pack("<HHII", 256 + i, 2, 60_000, 8) for i in range(4000))
    directory = b"II*\0\x08\0\0\0" + struct.pack("<H", 4000) + entries
    raw = encoded(image(), "JPEG")
    return raw[:2] + segment(0xE1, b"Exif\0\0" + directory) + raw[2:]


@made
def jpeg_many_pictures():
    picture = encoded(image(), "JPEG")
    return picture * 20_000


@made
def jpeg_in_dicom_preamble():
    raw = encoded(image(), "JPEG")
    file = dicom(image(), 8)
    return raw[:2] + segment(0xEF, bytes(128 - 6) + file[128:][:60_000]) + raw[2:]


@made
def tiff_in_dicom_preamble():
    file = bytearray(dicom(image(), 8))
    file[:8] = b"II*\0" + struct.pack("<I", len(file))
    return bytes(file) + encoded(image(), "TIFF")[-200:]


# --- TIFF, BMP, WebP


def tiff(tags, data=b"", order="<", entries=None):
    "A TIFF of one directory; values beyond 4 bytes are put at the end"
    tags = sorted(tags)
    start = 8 + 2 + 12 * len(tags) + 4 + len(data)
    more = b""
    rows = b""
    for tag, kind, values in tags:
        size = {1: "B", 3: "H", 4: "I"}[kind]
        packed = struct.pack(f"{order}{len(values)}{size}", *values)
        if len(packed) > 4:
            rows += struct.pack(order + "HHII", tag, kind, len(values), start + len(more))
            more += packed
        else:
            rows += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    count = struct.pack(order + "H", len(tags) if entries is None else entries)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", 8) + count + rows + bytes(4) + data + more


def gray_tiff(width, height, compression, data, *more, bits=8, rows=None):
    "A gray TIFF with one strip"
    header = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits]), (259, 3, [compression]), (262, 3, [1])]
    header += [(277, 3, [1]), (278, 4, [rows or height])]
    names = {tag for tag, *_ in more}
    offset = 8 + 2 + 12 * (len(header) + len(more) + 2) + 4
    strips = [(273, 4, [offset]), (279, 4, [len(data)])]
    return tiff([t for t in header + strips if t[0] not in names] + list(more), data)


@made
def tiff_deflate_bomb():
    return gray_tiff(60, 60, 8, zeros(BOMB))


@made
def tiff_deflate_largest():
    return gray_tiff(SIDE, SIDE, 8, zeros(SIDE * SIDE * 4), (339, 3, [3]), bits=32)


@made
def tiff_lzma_bomb():
    import lzma

    return gray_tiff(SIDE, SIDE, 34925, lzma.compress(bytes(SIDE * SIDE)))


@made
def tiff_many_strips():
    n = 12_000
    header = [(256, 4, [3000]), (257, 4, [n]), (258, 3, [8]), (259, 3, [8]), (262, 3, [1]), (277, 3, [1])]
    strip = zlib.compress(bytes(3000))
    at = 8 + 2 + 12 * 9 + 4
    return tiff([*header, (278, 4, [1]), (273, 4, [at] * n), (279, 4, [len(strip)] * n)], strip)


@made
def tiff_million_offsets():
    n = 1_000_000
    header = [(256, 4, [60]), (257, 4, [60]), (258, 3, [8]), (259, 3, [1]), (262, 3, [1]), (277, 3, [1])]
    return tiff([*header, (278, 4, [1]), (273, 4, [8] * n), (279, 4, [60] * n)], bytes(60))


@made
def tiff_huge_tiles():
    tags = [(256, 4, [60]), (257, 4, [60]), (258, 3, [8]), (259, 3, [8]), (262, 3, [1]), (277, 3, [1])]
    tags += [(322, 4, [2**20]), (323, 4, [2**12]), (324, 4, [200]), (325, 4, [100])]
    return tiff(tags, bytes(100)) + zeros(2**20)


@made
def tiff_announces_entries():
    return tiff([(256, 4, [60])], entries=65_535) + bytes(100)


@made
def tiff_circle_of_directories():
    entry = struct.pack("<HHHII", 1, 256, 4, 1, 60)
    return b"II*\0\x08\0\0\0" + entry + struct.pack("<I", 26) + entry + struct.pack("<I", 8)


@made
def tiff_old_jpeg():
    return gray_tiff(SIDE, SIDE, 6, encoded(image(), "JPEG"), (512, 3, [1]), (513, 4, [8]))


@made
def tiff_jpeg_of_other_size():
    return gray_tiff(60, 60, 7, jpeg_header(65_500, 65_500, 0xC0, 1) + scan(1, 0, 63) + b"\xff\xd9")


@made
def tiff_jpeg_progressive():
    scans = scan(1, 0, 0, 0, 1) + b"".join(scan(1, 1, 63) for _ in range(2000))
    return gray_tiff(SIDE, SIDE, 7, jpeg_header(SIDE, SIDE, components=1) + scans + b"\xff\xd9")


@made
def tiff_many_samples():
    return gray_tiff(600, 600, 1, bytes(1000), (277, 3, [65_535]), (258, 3, [8]))


@made
def bmp_rle_deltas():
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, 0, 0, 0, 256, 0)
    palette = bytes(1024)
    body = b"\0\2\1\0" * 3_000_000 + b"\0\1"
    return b"BM" + struct.pack("<IHHI", len(body), 0, 0, 14 + 40 + 1024) + header + palette + body


@made
def bmp_rle_zero_runs():
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 8, 1, 0, 0, 0, 256, 0)
    body = b"\0\0" * 10_000_000 + b"\0\1"
    return b"BM" + struct.pack("<IHHI", len(body), 0, 0, 14 + 40 + 1024) + header + bytes(1024) + body


@made
def bmp_one_bit_largest():
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, -SIDE, 1, 1, 0, 0, 0, 0, 2, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 62) + header + bytes(8) + bytes(SIDE * (SIDE // 8 + 4))


@made
def webp_largest():
    return encoded(Image.new("RGB", (SIDE, SIDE)), "WEBP", lossless=True, method=0, quality=0)


@made
def webp_animation():
    frames = [Image.new("RGB", (1000, 1000), (i, 0, 0)) for i in range(8)]
    return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, method=0, quality=0)


@made
def webp_million_chunks():
    raw = encoded(image(), "WEBP")
    body = raw[8:] + b"ABCD\0\0\0\0" * 1_000_000
    return b"RIFF" + struct.pack("<I", len(body)) + body


# --- DICOM


def element(group, number, vr, value):
    "An element in explicit little endian"
    value += b"\0" * (len(value) % 2)
    tag = struct.pack("<HH", group, number) + vr
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return tag + (bytes(2) + struct.pack("<I", len(value)) if long else struct.pack("<H", len(value))) + value


def file_of(body, syntax="explicit"):
    "A DICOM file with this data set"
    uid = SYNTAXES.get(syntax, syntax).encode()
    meta = element(2, 1, b"OB", b"\0\1") + element(2, 0x10, b"UI", uid)
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + body


def image_header(rows, columns, bits=16, samples=1, photometric=b"MONOCHROME2"):
    "The elements of a gray image"
    numbers = {0x10: rows, 0x11: columns, 0x100: 8 if bits <= 8 else 16, 0x101: bits, 0x102: bits - 1, 0x103: 0}
    parts = element(0x28, 2, b"US", struct.pack("<H", samples)) + element(0x28, 4, b"CS", photometric)
    if samples > 1:
        parts += element(0x28, 6, b"US", b"\0\0")
    return parts + b"".join(element(0x28, n, b"US", struct.pack("<H", v)) for n, v in numbers.items())


def encapsulated(*fragments):
    "Pixel data of fragments"
    items = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(f)) + f for f in (b"", *fragments))
    return b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0"


def coded(stream, syntax, rows, columns, bits=8, samples=1):
    "A DICOM file with a code stream"
    stream += b"\0" * (len(stream) % 2)
    photometric = b"MONOCHROME2" if samples == 1 else b"RGB"
    return file_of(image_header(rows, columns, bits, samples, photometric) + encapsulated(stream), syntax)


SMALL = image_header(60, 60) + element(0x7FE0, 0x10, b"OW", bytes(7200))


@made
def dicom_deflate_bomb():
    body = image_header(60, 60) + element(0x7FE0, 0x10, b"OW", bytes(7200))
    packer = zlib.compressobj(9, wbits=-15)
    head = packer.compress(element(9, 0x10, b"LO", b"x") + b"\x09\0\0\x10OB\0\0" + struct.pack("<I", BOMB))
    parts = [packer.compress(bytes(2**20)) for _ in range(BOMB >> 20)]
    return file_of(head + b"".join(parts) + packer.compress(body) + packer.flush(), "deflated")


@made
def dicom_deflate_elements():
    body = element(9, 0x10, b"LO", b"x") * 5_000_000
    packer = zlib.compressobj(9, wbits=-15)
    return file_of(packer.compress(body + SMALL) + packer.flush(), "deflated")


@made
def dicom_nested():
    opened = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return file_of(opened * 100_000 + closed * 100_000 + SMALL)


@made
def dicom_nested_not_closed():
    return file_of(b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 200_000)


@made
def dicom_nested_unknown():
    return file_of(b"\x09\0\x40\x11UN\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 50_000)


@made
def dicom_million_elements():
    return file_of(element(9, 0x10, b"LO", b"") * 4_000_000 + SMALL)


@made
def dicom_million_items():
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 3_000_000
    return file_of(b"\x08\0\x40\x11SQ\0\0" + struct.pack("<I", len(items)) + items + SMALL)


@made
def dicom_million_fragments():
    return file_of(image_header(60, 60, 8) + encapsulated(*[b"\0\0"] * 2_000_000), "jpeg")


@made
def dicom_offset_table():
    table = bytes(40_000_000)
    items = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(table)) + table + b"\xfe\xff\x00\xe0\x04\0\0\0\xff\xd8\xff\xd9"
    body = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return file_of(image_header(60, 60, 8) + body, "jpeg")


@made
def dicom_long_texts():
    texts = element(0x28, 0x1050, b"DS", b"\\".join([b"1"] * 30_000)) + element(0x28, 0x1051, b"DS", b"9" * 60_000)
    return file_of(texts + SMALL)


@made
def dicom_numbers():
    header = element(0x28, 8, b"IS", b"1" * 60_000)
    return file_of(header + SMALL)


@made
def dicom_not_finite():
    window = {0x1050: b"nan", 0x1051: b"inf", 0x1052: b"1e308", 0x1053: b"1e308"}
    return file_of(SMALL[:-7212] + b"".join(element(0x28, n, b"DS", v) for n, v in window.items()) + SMALL[-7212:])


@made
def dicom_character_sets():
    names = element(8, 5, b"CS", b"\\".join([b"ISO 2022 IR 149"] * 4000))
    return file_of(names + element(0x10, 0x10, b"PN", b"\x1b$)C" * 16_000) + SMALL)


@made
def dicom_lookup_table():
    descriptor = element(0x28, 0x3002, b"US", struct.pack("<HHH", 0, 0, 16))
    table = descriptor + element(0x28, 0x3006, b"OW", bytes(131_072))
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(table)) + table
    return file_of(element(0x28, 0x3010, b"SQ", item * 200) + SMALL)


@made
def dicom_announces_pixels():
    header = image_header(11_999, 3333)
    return file_of(header + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", 2**32 - 2) + bytes(100))


@made
def dicom_largest_color():
    header = image_header(3000, 3000, 16, 3, b"RGB")
    return file_of(header + element(0x7FE0, 0x10, b"OW", bytes(3000 * 3000 * 6)))


@made
def dicom_rle_largest():
    plane = b"\x81\0" * (SIDE * SIDE // 128 + 1)
    table = struct.pack("<16I", 2, 64, 64 + len(plane), *[0] * 13)
    return coded(table + plane + plane, "rle", SIDE, SIDE, 16)


@made
def dicom_rle_zero_bytes():
    plane = b"\x80" * 20_000_000
    table = struct.pack("<16I", 2, 64, 64 + len(plane), *[0] * 13)
    return coded(table + plane + plane, "rle", SIDE, SIDE, 16)


@made
def dicom_rle_color():
    plane = b"\x81\0" * (SIDE * SIDE // 128 + 1)
    table = struct.pack("<16I", 15, *[64] * 15)
    return coded(table + plane * 2, "rle", SIDE, SIDE, 8, 3)


@made
def dicom_lossless_without_data():
    frame = struct.pack(">BHHB", 16, SIDE, SIDE, 1) + b"\1\x11\0"
    table = segment(0xC4, bytes([0, 1, *[0] * 15, 0]))
    stream = b"\xff\xd8" + table + segment(0xC3, frame) + segment(0xDA, b"\1\1\0\1\0\0") + b"\0\xff\xd9"
    return coded(stream, "lossless_sv1", SIDE, SIDE, 16)


@made
def dicom_lossless_restarts():
    frame = struct.pack(">BHHB", 16, SIDE, SIDE, 1) + b"\1\x11\0"
    start = b"\xff\xd8" + segment(0xDD, struct.pack(">H", SIDE)) + segment(0xC4, bytes([0, 1, *[0] * 15, 0]))
    marks = b"".join(b"\0\xff" + bytes([0xD0 + i % 8]) for i in range(SIDE))
    stream = start + segment(0xC3, frame) + segment(0xDA, b"\1\1\0\1\0\0") + marks + b"\xff\xd9"
    return coded(stream, "lossless_sv1", SIDE, SIDE, 16)


@made
def dicom_12_bit_scans():
    scans = scan(1, 0, 0, 0, 1) + b"".join(scan(1, 1, 63) for _ in range(2000))
    header = jpeg_header(SIDE, SIDE, components=1, precision=12)
    return coded(header + scans + b"\xff\xd9", "jpeg12", SIDE, SIDE, 12)


@made
def dicom_progressive_scans():
    scans = scan(1, 0, 0, 0, 1) + b"".join(scan(1, 1, 63) for _ in range(95))
    return coded(jpeg_header(SIDE, SIDE, components=1) + scans + b"\xff\xd9", "jpeg", SIDE, SIDE)


@made
def dicom_jpegls_without_data():
    frame = struct.pack(">BHHB", 16, SIDE, SIDE, 1) + b"\1\x11\0"
    stream = b"\xff\xd8" + segment(0xF7, frame) + segment(0xDA, b"\1\1\0\0\0\0") + bytes(5_000_000) + b"\xff\xd9"
    return coded(stream, "jpegls", SIDE, SIDE, 16)


def j2k(width, height, tile, layers=1, levels=5, block=4, style=0, components=1, data=bytes(8), depth=11):
    "A JPEG 2000 code stream with these parameters and no image"
    sizes = (width, height, 0, 0, tile, tile, 0, 0)
    siz = struct.pack(">H8IH", 0, *sizes, components) + bytes([depth, 1, 1]) * components
    cod = struct.pack(">BBHBBBBBB", style & 1, 0, layers, 0, levels, block, block, 0, 1)
    cod += b"\0" * (levels + 1 if style & 1 else 0)
    qcd = b"\x40" + bytes([0x50] * (3 * levels + 1))
    tiles = b""
    for i in range(min(-(-width // tile) * -(-height // tile), 65_535)):
        tiles += b"\xff\x90\0\x0a" + struct.pack(">HIBB", i, 14 + len(data), 0, 1) + b"\xff\x93" + data
    return b"\xff\x4f" + segment(0x51, siz) + segment(0x52, cod) + segment(0x5C, qcd) + tiles + b"\xff\xd9"


@made
def dicom_j2k_layers():
    return coded(j2k(SIDE, SIDE, SIDE, layers=65_535, levels=32), "j2k", SIDE, SIDE, 12)


@made
def dicom_j2k_precincts():
    return coded(j2k(SIDE, SIDE, SIDE, layers=1000, levels=5, style=1, block=0), "j2k", SIDE, SIDE, 12)


@made
def dicom_j2k_code_blocks():
    return coded(j2k(SIDE, SIDE, SIDE, block=0, data=bytes(2_000_000)), "j2k", SIDE, SIDE, 12)


@made
def dicom_j2k_tiles():
    return coded(j2k(SIDE, SIDE, 25, data=bytes(2)), "j2k", SIDE, SIDE, 12)


@made
def dicom_j2k_tiny_tiles():
    return coded(j2k(SIDE, SIDE, 1, data=b"\0"), "j2k", SIDE, SIDE, 12)


@made
def dicom_j2k_components():
    return coded(j2k(2000, 2000, 2000, components=3, layers=100), "j2k", 2000, 2000, 8, 3)


@made
def dicom_j2k_in_boxes():
    box = struct.pack(">I", 0) + b"jp2c"
    boxes = struct.pack(">II", 12, 0x6A502020) + b"\r\n\x87\n" + b"\0\0\0\x08abcd" * 500_000 + box
    return coded(boxes + j2k(60, 60, 60), "j2k", 60, 60, 12)


@made
def dicom_other_syntaxes():
    return file_of(SMALL, "1.2.840.10008.1.2.4.201")


@made
def dicom_palette():
    return file_of(image_header(60, 60, 8, 1, b"PALETTE COLOR") + element(0x7FE0, 0x10, b"OW", bytes(3600)))


@made
def dicom_big_endian_elements():
    body = b"".join(struct.pack(">HH", 9, 0x10) + b"LO\0\0" for _ in range(1_000_000))
    return file_of(body, "big_endian")


@made
def dicom_implicit_elements():
    return file_of(struct.pack("<HHI", 9, 0x10, 0) * 4_000_000, "implicit")


@made
def dicom_without_preamble():
    return element(8, 0x16, b"UI", b"1.2") * 2_000_000


@made
def dicom_largest_windowed():
    window = element(0x28, 0x1050, b"DS", b"100") + element(0x28, 0x1051, b"DS", b"200")
    slope = element(0x28, 0x1052, b"DS", b"0.5") + element(0x28, 0x1053, b"DS", b"0.25")
    pixels = element(0x7FE0, 0x10, b"OW", bytes(5700 * 5700 * 2))
    return file_of(image_header(5700, 5700) + window + slope + pixels)


@made
def dicom_j2k_noise():
    import imagecodecs

    noise = np.random.default_rng(0).integers(0, 65536, (4000, 4000), np.uint16)
    stream = imagecodecs.jpeg2k_encode(noise, codecformat="j2k", reversible=True, bitspersample=16)
    return coded(stream, "j2k_lossless", 4000, 4000, 16)


@made
def dicom_jpegls_noise():
    import imagecodecs

    noise = np.random.default_rng(0).integers(0, 4096, (5000, 5000), np.uint16)
    return coded(imagecodecs.jpegls_encode(noise), "jpegls", 5000, 5000, 16)


@made
def dicom_lossless_noise():
    import imagecodecs

    noise = np.random.default_rng(0).integers(0, 65536, (4500, 4500), np.uint16)
    stream = imagecodecs.jpeg8_encode(noise, lossless=True, predictor=1, bitspersample=16)
    return coded(stream, "lossless_sv1", 4500, 4500, 16)


@made
def dicom_long_identity():
    tags = ((0x10, 0x10), (0x10, 0x20), (0x18, 0x15))
    body = b"".join(element(*tag, b"LO", b"\xff\x00\n=" * 8000) for tag in tags)
    return file_of(element(8, 0x60, b"CS", b"\x1b[2J" * 5000) + body + SMALL)


@made
def dicom_bits():
    header = image_header(60, 60, 16).replace(struct.pack("<HH", 0x28, 0x100) + b"US\2\0\x10\0", b"")
    return file_of(header + element(0x28, 0x100, b"US", b"\x01\0") + element(0x7FE0, 0x10, b"OW", bytes(7200)))


@made
def dicom_float_pixels():
    return file_of(image_header(60, 60) + element(0x7FE0, 8, b"OF", b"\xff" * 14_400).replace(b"OF", b"OW"))


# --- neither


@made
def largest_zeros():
    return bytes(64 * 2**20)


@made
def largest_start_of_scans():
    return b"\xff\xd8" + b"\xff\xda\0\2" * 10_000_000


@made
def too_large():
    return bytes(64 * 2**20 + 1)


@made
def empty():
    return b""


@made
def one_byte():
    return b"\xff"


@made
def postscript():
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 60\nshowpage\n"


@made
def zip_archive():
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(10_000_000))
    return buffer.getvalue()


def files():
    "Name -> function that makes the content"
    return dict(MADE)


def main():
    import os

    from pneumonia_nbdev.core.base import InputError
    from pneumonia_nbdev.core.image import read_xray
    from pneumonia_nbdev.core.isolation import configure_isolation

    died = []
    configure_isolation(processes=1, on_death=died.append)
    words = sys.argv[1:]
    for name, make in MADE.items():
        if words and not any(word in name for word in words):
            continue
        raw = make()
        start = time.time()
        died.clear()
        try:
            state = f"read {np.shape(read_xray(raw).pixels)}"
        except InputError as error:
            state = f"{error.code}: {error.reason}"
        limit = died and (died[0]["limit"] or died[0]["signal"])
        print(f"{time.time() - start:7.2f} s {len(raw):10} {name:34} {limit or '-':8} {state[:100]}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
