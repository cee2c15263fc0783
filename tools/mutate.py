"""Damage image files in a reproducible way: the same seed and number give the same file.

A parser for each format lists the parts of a file: key fields, lengths, headers, tables, coded data and whole segments.
One operation changes one part, and a mutant is the result of one to four operations. Content that is compressed as a
whole (deflated DICOM, the data of a PNG) is also changed inside, and PNG checksums are mended, so that a decoder gets
past them.
"""

import random
import struct
import zlib
from typing import NamedTuple

MAX_MUTANT = 400_000  # bytes; repeated segments stop here
NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 64, 127, 128, 129, 255, 256, 257, 1000, 4096, 12_000, 12_001)
NUMBERS += (32_767, 32_768, 65_534, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
JPEG_MARKERS = (*range(0xC0, 0xD0), *range(0xD0, 0xE0), 0xE0, 0xEE, 0xF0, *range(0xF7, 0xFF), 0x51, 0x52, 0x90, 0x93)
SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "big_endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "jpeg": "1.2.840.10008.1.2.4.50",
    "jpeg12": "1.2.840.10008.1.2.4.51",
    "lossless": "1.2.840.10008.1.2.4.57",
    "lossless_sv1": "1.2.840.10008.1.2.4.70",
    "jpegls": "1.2.840.10008.1.2.4.80",
    "jpegls_near": "1.2.840.10008.1.2.4.81",
    "j2k_lossless": "1.2.840.10008.1.2.4.90",
    "j2k": "1.2.840.10008.1.2.4.91",
    "htj2k": "1.2.840.10008.1.2.4.201",
    "rle": "1.2.840.10008.1.2.5",
}
LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")


class Part(NamedTuple):
    "A range of bytes of a file"

    kind: str  # key, length, header, data, segment or syntax
    start: int  # offset of the first byte
    stop: int  # offset after the last byte
    order: str = "<"  # byte order of its numbers


# --- what a file consists of


def jpeg_parts(raw, start, stop):
    "Parts of a JPEG, JPEG-LS or JPEG 2000 code stream"
    parts = []
    at = start + 2
    j2k = raw[start + 1 : start + 2] == b"\x4f"
    while at + 4 <= stop and raw[at] == 0xFF and len(parts) < 2000:
        marker = raw[at + 1]
        size = int.from_bytes(raw[at + 2 : at + 4], "big")
        if marker == 0x93 or 0xD0 <= marker <= 0xD9:  # without a length
            size = 0
        end = min(at + 2 + size, stop)
        parts.append(Part("segment", at, end, ">"))
        if size:
            key = marker in (0x51, 0x52, 0x90, 0xC4, 0xDA, 0xDD) or 0xC0 <= marker <= 0xCF or marker >= 0xF7
            parts.append(Part("length", at + 2, at + 4, ">"))
            parts.append(Part("key" if key else "header", at + 4, min(end, at + 80), ">"))
        if marker in (0xDA, 0x93):
            coded = end
            while coded + 1 < stop and not _is_marker(raw, coded, j2k):
                coded += 1
            parts.append(Part("data", end, coded, ">"))
            end = coded
        at = end
    return parts


def _is_marker(raw, at, j2k):
    "Whether the bytes at an offset of coded data are a marker"
    after = raw[at + 1]
    return raw[at] == 0xFF and after >= (0x90 if j2k else 0x80) and (j2k or not 0xD0 <= after <= 0xD7)


def png_parts(raw, start, stop):
    "Parts of a PNG: chunks with their lengths"
    parts = []
    at = start + 8
    while at + 12 <= stop and len(parts) < 2000:
        size = int.from_bytes(raw[at : at + 4], "big")
        end = min(at + 12 + size, stop)
        name = raw[at + 4 : at + 8]
        parts.append(Part("segment", at, end, ">"))
        parts.append(Part("length", at, at + 4, ">"))
        parts.append(Part("key" if name == b"IHDR" else "header", at + 4, min(at + 40, end), ">"))
        parts.append(Part("data", at + 8, end, ">"))
        at = end
    return parts


def tiff_parts(raw, start, stop):
    "Parts of a TIFF or BigTIFF: header, entries of the first directories, the rest"
    order = ">" if raw[start : start + 1] == b"M" else "<"
    big = raw[start + 2 : start + 4] in (b"\x2b\x00", b"\x00\x2b")
    word, entry, count = ("Q", 20, "Q") if big else ("I", 12, "H")
    parts = [Part("header", start, start + (16 if big else 8), order), Part("data", start + 8, stop, order)]
    pointer = start + (8 if big else 4)
    for _ in range(4):
        try:
            at = start + struct.unpack_from(order + word, raw, pointer)[0]
            n = struct.unpack_from(order + count, raw, at)[0]
        except (struct.error, OverflowError):
            break
        parts.append(Part("length", at, at + struct.calcsize(count), order))
        first = at + struct.calcsize(count)
        for i in range(min(n, 60)):
            here = first + i * entry
            parts.append(Part("segment", here, here + entry, order))
            parts.append(Part("key", here, here + entry, order))
            parts.append(Part("length", here + 4, here + entry // 2 + 2, order))
        pointer = first + n * entry
    return [p for p in parts if p.stop <= stop]


def bmp_parts(raw, start, stop):
    "Parts of a BMP: two headers, palette, pixels"
    pixels = int.from_bytes(raw[start + 10 : start + 14], "little") + start
    middle = min(start + 54, stop)
    pixels = min(max(middle, pixels), stop)
    return [
        Part("length", start + 2, start + 6),
        Part("length", start + 10, start + 18),
        Part("key", start + 14, middle),
        Part("header", middle, pixels),
        Part("data", pixels, stop),
        Part("segment", middle, pixels),
    ]


def webp_parts(raw, start, stop):
    "Parts of a WebP: RIFF chunks, and the first bytes of their content"
    parts = [Part("length", start + 4, start + 8)]
    at = start + 12
    while at + 8 <= stop and len(parts) < 1000:
        size = int.from_bytes(raw[at + 4 : at + 8], "little")
        end = min(at + 8 + size + size % 2, stop)
        parts.append(Part("segment", at, end))
        parts.append(Part("length", at + 4, at + 8))
        parts.append(Part("key", at, min(at + 40, end)))
        parts.append(Part("data", at + 8, end))
        at = end
    return parts


def dicom_parts(raw, start, stop):
    "Parts of a DICOM file: elements, items, fragments and the code streams inside"
    at = start + 132 if raw[start + 128 : start + 132] == b"DICM" else start
    parts = []
    explicit, order = True, "<"
    uid = ""
    meta = True
    while at + 8 <= stop and len(parts) < 3000:
        if meta and raw[at : at + 2] != b"\x02\x00":  # the end of the file meta information
            meta = False
            explicit = uid != SYNTAXES["implicit"]
            order = ">" if uid == SYNTAXES["big_endian"] else "<"
        tag, head, size = _element(raw, at, explicit, order)
        descends = size == 0xFFFFFFFF or tag == (0xFFFE, 0xE000) and not _is_code(raw, at + head)
        end = at + head if descends else min(at + head + size, stop)
        if tag == (2, 0x10):
            uid = raw[at + head : end].decode("ascii", "replace").strip("\0 ")
            parts.append(Part("syntax", at, end, order))
        parts.append(Part("segment", at, end, order))
        parts.append(Part("length", at + head - (4 if head == 12 or size > 65535 else 2), at + head, order))
        parts.append(Part("header", at, at + head, order))
        kind = "data" if size > 128 else "key" if tag[0] in (0x28, 0x7FE0, 2, 0xFFFE) else "header"
        if not descends:
            parts.append(Part(kind, at + head, end, order))
        if _is_code(raw, at + head):
            parts += jpeg_parts(raw, at + head, end)
        elif tag == (0xFFFE, 0xE000) and size > 64:  # RLE begins with a table of 16 numbers
            parts.append(Part("key", at + head, at + head + 64))
        at = max(end, at + 8)
    return parts


def _element(raw, at, explicit, order):
    "(tag, bytes of the header, length) of the element or item at an offset"
    tag = struct.unpack_from(order + "HH", raw, at)
    if not explicit or tag[0] == 0xFFFE:
        return tag, 8, struct.unpack_from(order + "I", raw, at + 4)[0]
    if raw[at + 4 : at + 6] in LONG_VRS and at + 12 <= len(raw):
        return tag, 12, struct.unpack_from(order + "I", raw, at + 8)[0]
    return tag, 8, struct.unpack_from(order + "H", raw, at + 6)[0]


def _is_code(raw, at):
    "Whether a JPEG or JPEG 2000 code stream begins at an offset"
    return raw[at : at + 3] in (b"\xff\xd8\xff", b"\xff\x4f\xff")


PARSERS = {
    "JPEG": jpeg_parts,
    "PNG": png_parts,
    "TIFF": tiff_parts,
    "BMP": bmp_parts,
    "WEBP": webp_parts,
    "DICOM": dicom_parts,
}


def format_of(raw):
    "The format of a file by its first bytes; DICOM when nothing else fits"
    starts = {b"\xff\xd8": "JPEG", b"\xff\x4f": "JPEG", b"\x89P": "PNG", b"BM": "BMP", b"RI": "WEBP"}
    starts |= {b"II": "TIFF", b"MM": "TIFF"}
    return starts.get(bytes(raw[:2]), "DICOM")


def parts_of(raw):
    "All parts of a file; the whole file is a part as well"
    try:
        parts = PARSERS[format_of(raw)](raw, 0, len(raw))
    except (struct.error, IndexError, OverflowError):
        parts = []
    return [p for p in parts if p.start < p.stop <= len(raw)] + [Part("data", 0, len(raw))]


# --- operations: (content, random numbers, other files of the format) -> content


def choose(raw, rng, *kinds):
    "A random part of these kinds; every kind is equally likely"
    parts = parts_of(raw)
    rng_kinds = [kind for kind in kinds if any(p.kind == kind for p in parts)]
    if not rng_kinds:
        return parts[-1]
    kind = rng.choice(rng_kinds)
    return rng.choice([p for p in parts if p.kind == kind])


def flip_bits(raw, rng, others):
    "Flip one to eight bits of a part"
    part = choose(raw, rng, "key", "header", "data", "length")
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(part.start, part.stop)
        raw[at] ^= 1 << rng.randrange(8)
    return raw


def random_byte(raw, rng, others):
    "Replace one byte anywhere"
    raw[rng.randrange(len(raw))] = rng.randrange(256)
    return raw


def random_bytes(raw, rng, others):
    "Overwrite up to 64 bytes of a part"
    part = choose(raw, rng, "key", "header", "data")
    at = rng.randrange(part.start, part.stop)
    n = min(rng.choice((1, 4, 16, 64)), part.stop - at)
    raw[at : at + n] = rng.randbytes(n)
    return raw


def write_number(raw, rng, others):
    "Write an extreme number into a field"
    part = choose(raw, rng, "key", "key", "length", "header")
    return _put(raw, rng, part, rng.choice((1, 2, 2, 4)))


def write_length(raw, rng, others):
    "Write a wrong length: an extreme number, or one near the right one"
    part = choose(raw, rng, "length")
    return _put(raw, rng, part, part.stop - part.start)


def _put(raw, rng, part, width):
    "Write a number of 1, 2, 4 or 8 bytes into a part"
    width = width if width in (1, 2, 4, 8) else 2
    at = part.start + rng.randrange(max(1, part.stop - part.start - width + 1))
    order = "big" if part.order == ">" else "little"
    was = int.from_bytes(raw[at : at + width], order)
    value = was + rng.choice((-2, -1, 1, 2, 16)) if rng.random() < 0.4 else rng.choice(NUMBERS)
    raw[at : at + width] = (value % 256**width).to_bytes(width, order)
    return raw


def delete_segment(raw, rng, others):
    "Leave a segment out"
    part = choose(raw, rng, "segment")
    if part.stop - part.start < len(raw):
        del raw[part.start : part.stop]
    return raw


def repeat_segment(raw, rng, others):
    "Repeat a segment, up to 300 times"
    part = choose(raw, rng, "segment")
    piece = raw[part.start : part.stop]
    n = min(rng.choice((1, 1, 2, 20, 300)), max(0, MAX_MUTANT - len(raw)) // len(piece))
    raw[part.stop : part.stop] = piece * n
    return raw


def repeat_scan(raw, rng, others):
    "Repeat everything from a segment to the end of the coded data behind it"
    first = choose(raw, rng, "segment")
    later = [p for p in parts_of(raw) if p.kind == "data" and p.start >= first.start and p.stop < len(raw)]
    if not later:
        return raw
    piece = raw[first.start : rng.choice(later).stop]
    n = min(rng.choice((1, 2, 10, 100)), max(0, MAX_MUTANT - len(raw)) // max(1, len(piece)))
    raw[first.start : first.start] = piece * n
    return raw


def swap_segments(raw, rng, others):
    "Exchange two segments"
    one, two = sorted((choose(raw, rng, "segment"), choose(raw, rng, "segment")), key=lambda p: p.start)
    if one.stop > two.start:
        return raw
    middle = raw[one.stop : two.start]
    return raw[: one.start] + raw[two.start : two.stop] + middle + raw[one.start : one.stop] + raw[two.stop :]


def splice_segment(raw, rng, others):
    "Put a segment of another file in or in place of one"
    other = bytearray(rng.choice(others))
    piece = choose(other, rng, "segment")
    here = choose(raw, rng, "segment")
    stop = here.stop if rng.random() < 0.5 else here.start
    raw[here.start : stop] = other[piece.start : piece.stop][:MAX_MUTANT]
    return raw


def splice_files(raw, rng, others):
    "The start of one file and the end of another"
    other = bytearray(rng.choice(others))
    return raw[: choose(raw, rng, "segment").stop] + other[choose(other, rng, "segment").start :]


def truncate(raw, rng, others):
    "Cut the end off, at any place or at the end of a part"
    at = rng.randrange(len(raw)) if rng.random() < 0.5 else choose(raw, rng, "segment", "header").stop
    return raw[: max(1, at)]


def pad(raw, rng, others):
    "Insert zeros, ones or random bytes"
    n = rng.choice((1, 2, 16, 1000, 20_000))
    at = choose(raw, rng, "segment").start
    raw[at:at] = rng.choice((bytes(n), b"\xff" * n, rng.randbytes(n)))
    return raw


def fill(raw, rng, others):
    "Fill a part with one byte"
    part = choose(raw, rng, "data", "key")
    at = rng.randrange(part.start, part.stop)
    n = min(rng.choice((8, 64, 1000)), part.stop - at)
    raw[at : at + n] = bytes([rng.choice((0, 255, rng.randrange(256)))]) * n
    return raw


def swap_bytes(raw, rng, others):
    "Reverse the byte order of a part, or announce the other one"
    if format_of(raw) == "TIFF" and rng.random() < 0.4:
        raw[:4] = raw[:4][::-1] if rng.random() < 0.5 else (b"II*\0" if raw[:1] == b"M" else b"MM\0*")
        return raw
    part = choose(raw, rng, "key", "header", "length")
    width = rng.choice((2, 4))
    for at in range(part.start, part.stop - width + 1, width):
        raw[at : at + width] = raw[at : at + width][::-1]
    return raw


def change_marker(raw, rng, others):
    "Change the marker of a JPEG segment, or the name of a chunk"
    part = choose(raw, rng, "segment")
    if raw[part.start] == 0xFF:
        raw[part.start + 1] = rng.choice(JPEG_MARKERS)
    elif format_of(raw) == "PNG":
        name = rng.choice((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"fdAT", b"eXIf"))
        raw[part.start + 4 : part.start + 8] = name
    else:
        raw[part.start : part.start + 2] = rng.randbytes(2)
    return raw


def change_syntax(raw, rng, others):
    "Announce another transfer syntax (DICOM)"
    part = choose(raw, rng, "syntax")
    if part.kind != "syntax":
        return random_byte(raw, rng, others)
    uid = rng.choice(list(SYNTAXES.values())).encode()
    uid += b"\0" * (len(uid) % 2)
    raw[part.start : part.stop] = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid
    return raw


OPERATIONS = {
    flip_bits: 4,
    random_byte: 2,
    random_bytes: 3,
    write_number: 8,
    write_length: 3,
    delete_segment: 2,
    repeat_segment: 2,
    repeat_scan: 1,
    swap_segments: 1,
    splice_segment: 2,
    splice_files: 1,
    truncate: 1,
    pad: 1,
    fill: 1,
    swap_bytes: 1,
    change_marker: 2,
    change_syntax: 1,
}


# --- a mutant


def mutate(
    raw,  # content of a file
    rng,  # a `random.Random`
    others=(),  # other files of the format, for splices
):  # the damaged content
    "Damage a file"
    inside = _deflated_dicom if format_of(raw) == "DICOM" else _deflated_png if raw[:2] == b"\x89P" else None
    if inside and rng.random() < 0.5:
        changed = inside(raw, rng)
        if changed is not None:
            return changed
    data = _operate(bytearray(raw), rng, list(others) or [raw])
    if data[:2] == b"\x89P" and rng.random() < 0.8:
        data = _mend_checksums(data)
    return bytes(data)


def _operate(data, rng, others):
    "Apply one to four operations"
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        operation = rng.choices(list(OPERATIONS), OPERATIONS.values())[0]
        if len(data) > 1:
            data = operation(data, rng, others)
    return data


def _deflated_dicom(raw, rng):
    "Change the inside of a deflated DICOM file; None for another file"
    if SYNTAXES["deflated"].encode() not in raw[:1000]:
        return None
    syntax = next((p for p in dicom_parts(raw, 0, 1000) if p.kind == "syntax"), None)
    size = int.from_bytes(raw[140:144], "little")
    start = 144 + size
    if syntax is None or start >= len(raw):
        return None
    try:
        plain = zlib.decompress(raw[start:], -15)
    except zlib.error:
        return None
    changed = _operate(bytearray(plain), rng, [plain])
    return raw[:start] + zlib.compress(bytes(changed), wbits=-15)


def _deflated_png(raw, rng):
    "Change the filtered pixels of a PNG; None when its data cannot be inflated"
    chunks = [p for p in png_parts(raw, 0, len(raw)) if p.kind == "segment"]
    chunks = [p for p in chunks if raw[p.start + 4 : p.start + 8] == b"IDAT"]
    try:
        plain = bytearray(zlib.decompress(b"".join(raw[p.start + 8 : p.stop - 4] for p in chunks)))
    except zlib.error:
        return None
    if not plain:
        return None
    for operation in rng.sample((flip_bits, fill, truncate, random_bytes, pad), 2):
        plain = operation(plain, rng, [plain]) or bytearray(1)
    packed = zlib.compress(bytes(plain))
    chunk = struct.pack(">I", len(packed)) + b"IDAT" + packed + bytes(4)
    return bytes(_mend_checksums(bytearray(raw[: chunks[0].start] + chunk + raw[chunks[-1].stop :])))


def _mend_checksums(data):
    "Write the right checksum into each PNG chunk"
    for part in png_parts(data, 0, len(data)):
        if part.kind == "segment" and part.stop - part.start >= 12:
            crc = zlib.crc32(data[part.start + 4 : part.stop - 4])
            data[part.stop - 4 : part.stop] = struct.pack(">I", crc)
    return data


def mutant(
    seeds,  # name -> content
    name,  # the file to damage
    seed,  # number of the run
    number,  # number of the mutant
):  # the damaged content
    "The mutant with this number; other files with the same first word in their name are spliced in"
    rng = random.Random(f"{seed}/{name}/{number}")
    family = name.split("_")[0]
    others = [raw for key, raw in seeds.items() if key.split("_")[0] == family and key != name]
    return mutate(seeds[name], rng, others)


def minimise(
    raw,  # content with some effect
    has_effect,  # content -> bool
    tries=300,  # calls of `has_effect`
):  # shorter content with the same effect
    "Leave out ever smaller pieces, as long as the effect stays (delta reduction)"
    size = max(1, len(raw) // 2)
    while size and tries > 0:
        at = 0
        while at < len(raw) and tries > 0:
            shorter = raw[:at] + raw[at + size :]
            tries -= 1
            if shorter and has_effect(shorter):
                raw = shorter
            else:
                at += size
        size //= 2
    return raw
