// JPEG, PNG, WebP and BMP files as gray levels. The browser decodes them; PNG files with 16 bits are decoded here,
// because the browser would drop half of their bits.
import { checkSize, AppError, unreadable, unsupported } from "./errors.js";
import { colorFraction, lumaOf, scaleLevels } from "./levels.js";
import { hasStair } from "./damage.js";
import { readExif } from "./exif.js";

const text = (bytes, start, end) => String.fromCharCode(...bytes.subarray(start, end));
const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

// Whether a file begins with an element of DICOM's group 2 or 8, without the preamble.
function isBareDicom(bytes) {
  if (bytes.length < 12 || ![2, 8].includes(bytes[0]) || bytes[1] !== 0) return false;
  return /^[A-Z]{2}$/.test(text(bytes, 4, 6)) || viewOf(bytes).getUint32(4, true) <= 1024;
}

// The kind of a file by its first bytes.
export function kindOf(bytes) {
  if (text(bytes, 128, 132) === "DICM" || isBareDicom(bytes)) return "DICOM";
  if (text(bytes, 0, 3) === "\xff\xd8\xff") return "JPEG";
  if (text(bytes, 0, 8) === "\x89PNG\r\n\x1a\n") return "PNG";
  if (text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 12) === "WEBP") return "WEBP";
  if (text(bytes, 0, 2) === "BM") return "BMP";
  const others = { "II*\0": "TIFF", "MM\0*": "TIFF", "GIF8": "GIF", "PK\x03\x04": "zip", "%PDF": "PDF" };
  const found = others[text(bytes, 0, 4)] ?? (bytes[0] === 0x1f && bytes[1] === 0x8b ? "gzip" : null);
  if (found) throw unsupported(found);
  throw unreadable("unknown format");
}

// --- size and structure, before the decoder

// The size of a JPEG; the file must have a frame, a scan and its end.
export function checkJpeg(bytes) {
  const view = viewOf(bytes);
  let at = 2;
  let frame = null;
  let exif = { orientation: 1, isPhoto: false };
  while (at + 4 <= bytes.length) {
    if (bytes[at] !== 0xff) throw unreadable("JPEG: unknown data between the segments");
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++;
      continue;
    }
    if (marker === 0xd9) break;
    const size = view.getUint16(at + 2);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) {
      if (bytes[at + 4] !== 8) throw unsupported(`JPEG with ${bytes[at + 4]} bits`);
      if (marker > 0xc2) throw unsupported("JPEG process");
      frame = {
        height: view.getUint16(at + 5),
        width: view.getUint16(at + 7),
        components: bytes[at + 9],
      };
      checkSize(frame.width, frame.height);
      // the rows of a block: those of the component with the finest rows
      const samplings = Array.from({ length: frame.components }, (_, i) => bytes[at + 11 + 3 * i] & 15);
      frame.blockRows = 8 * (frame.components > 1 ? Math.max(...samplings) : 1);
    }
    if (marker === 0xe1 && text(bytes, at + 4, at + 8) === "Exif") exif = readExif(bytes.subarray(at + 4, at + 2 + size));
    at += 2 + size;
    if (marker === 0xda) {
      // the data of a scan end at the next marker that isn't a restart
      while (at + 1 < bytes.length && (bytes[at] !== 0xff || bytes[at + 1] === 0 || (bytes[at + 1] & 0xf8) === 0xd0))
        at++;
      if (at + 1 >= bytes.length) throw unreadable("JPEG: the file ends before the image");
    }
  }
  if (!frame) throw unreadable("JPEG: the file ends before the image");
  return { ...frame, ...exif };
}

function* pngChunks(bytes) {
  const view = viewOf(bytes);
  let at = 8;
  while (at + 8 <= bytes.length) {
    const size = view.getUint32(at);
    const name = text(bytes, at + 4, at + 8);
    yield { name, data: bytes.subarray(at + 8, Math.min(at + 8 + size, bytes.length)) };
    if (name === "IEND") return;
    at += 12 + size;
  }
  throw unreadable("PNG: the file ends before the image");
}

function checkPng(bytes) {
  const view = viewOf(bytes);
  if (bytes.length < 33 || text(bytes, 12, 16) !== "IHDR") throw unreadable("PNG: damaged header");
  checkSize(view.getUint32(16), view.getUint32(20));
  for (const { name, data } of pngChunks(bytes)) {
    const frames = name === "acTL" ? viewOf(data).getUint32(0) : 1;
    if (frames !== 1 || name === "fdAT") throw new AppError("multi_frame", "animated PNG");
  }
  return { bits: bytes[24], colors: bytes[25], interlaced: bytes[28] };
}

function checkWebp(bytes) {
  const view = viewOf(bytes);
  const name = text(bytes, 12, 16);
  const triple = (at) => bytes[at] + bytes[at + 1] * 256 + bytes[at + 2] * 65536;
  if (bytes.length < 30) throw unreadable("WEBP: damaged header");
  if (name === "VP8X") {
    if (bytes[20] & 2) throw new AppError("multi_frame", "animated WEBP");
    checkSize(triple(24) + 1, triple(27) + 1);
  } else if (name === "VP8 ") checkSize(view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff);
  else {
    const packed = view.getUint32(21, true);
    checkSize((packed & 0x3fff) + 1, ((packed >> 14) & 0x3fff) + 1);
  }
  if (view.getUint32(4, true) + 8 > bytes.length) throw unreadable("WEBP: the file ends before the image");
}

function checkBmp(bytes) {
  if (bytes.length < 54) throw unreadable("BMP: damaged header");
  const view = viewOf(bytes);
  checkSize(Math.abs(view.getInt32(18, true)), Math.abs(view.getInt32(22, true)));
}

// --- pixels

// RGBA pixels of an encoded image, turned by its EXIF block and composed over black; without color management.
export async function decodeRgba(bytes, type, upright = true) {
  let bitmap;
  try {
    const options = { colorSpaceConversion: "none", imageOrientation: upright ? "from-image" : "none" };
    bitmap = await createImageBitmap(new Blob([bytes], { type }), options);
  } catch {
    throw unreadable("the browser can't decode the image");
  }
  try {
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.fillRect(0, 0, width, height); // black
    context.drawImage(bitmap, 0, 0);
    return { width, height, rgba: context.getImageData(0, 0, width, height).data };
  } finally {
    bitmap.close();
  }
}

const TRAILERS = [0, 1, 8]; // bytes after compressed data: none, padding, or the checksum and size of gzip

// The same for a JPEG that isn't turned, by WebCodecs: it needs no canvas. {width, height, rgba, isBgr}, or null where
// the browser lacks it.
async function decodeFast(bytes) {
  if (!globalThis.ImageDecoder) return null;
  const decoder = new ImageDecoder({ data: bytes, type: TYPES.JPEG, colorSpaceConversion: "none" });
  try {
    const { image } = await decoder.decode();
    const { format, displayWidth: width, displayHeight: height } = image;
    const isKnown = ["RGBX", "RGBA", "BGRX", "BGRA"].includes(format) && image.allocationSize() === 4 * width * height;
    const rgba = isKnown ? new Uint8Array(4 * width * height) : null;
    if (isKnown) await image.copyTo(rgba);
    image.close();
    return isKnown ? { width, height, rgba, isBgr: format.startsWith("BGR") } : null;
  } catch {
    return null; // the other way has the error
  } finally {
    decoder.close();
  }
}

// Inflate data, at most `limit` bytes. A browser rejects bytes after the end, so they are cut off.
export async function inflate(data, limit, format = "deflate") {
  const blob = new Blob([data]);
  for (const n of TRAILERS) {
    try {
      return await inflateAll(blob.slice(0, blob.size - n), limit, format);
    } catch (error) {
      if (n === TRAILERS.at(-1)) throw error;
    }
  }
}

async function inflateAll(blob, limit, format) {
  const out = new Uint8Array(limit);
  let size = 0;
  const reader = blob.stream().pipeThrough(new DecompressionStream(format)).getReader();
  for (let part = await reader.read(); !part.done && size < limit; part = await reader.read()) {
    out.set(part.value.subarray(0, limit - size), size);
    size += part.value.length;
  }
  reader.cancel().catch(() => {});
  return out.subarray(0, Math.min(size, limit));
}

// Undo the filters of the rows of a PNG file, in place; `step` are the bytes of a pixel.
function unfilter(raw, width, height, step) {
  const stride = width * step;
  const out = new Uint8Array(stride * height);
  const paeth = (a, b, c) => {
    const p = a + b - c;
    const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)];
    return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
  };
  for (let y = 0; y < height; y++) {
    const kind = raw[y * (stride + 1)];
    const row = y * stride;
    for (let x = 0; x < stride; x++) {
      const left = x >= step ? out[row + x - step] : 0;
      const up = y ? out[row + x - stride] : 0;
      const corner = y && x >= step ? out[row + x - stride - step] : 0;
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][kind];
      out[row + x] = raw[y * (stride + 1) + 1 + x] + guess;
    }
  }
  return out;
}

const CHANNELS = { 0: 1, 2: 3, 4: 2, 6: 4 }; // by color type

// A PNG with 16 bits: gray, gray with opacity, RGB or RGBA.
async function decodePng16(bytes, { colors, interlaced }) {
  if (interlaced || !CHANNELS[colors]) throw unsupported("interlaced PNG with 16 bits");
  const view = viewOf(bytes);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const channels = CHANNELS[colors];
  const parts = [...pngChunks(bytes)].filter((chunk) => chunk.name === "IDAT").map((chunk) => chunk.data);
  const expected = height * (1 + width * channels * 2);
  const raw = await inflate(new Blob(parts), expected).catch(() => new Uint8Array(0));
  if (raw.length < expected) throw unreadable("PNG: damaged pixels");
  const rows = viewOf(unfilter(raw, width, height, channels * 2));
  const sample = (i, c) => rows.getUint16(2 * (i * channels + c));
  const values = new Float32Array(width * height);
  for (let i = 0; i < values.length; i++) {
    const luma = channels < 3 ? sample(i, 0) : 0.299 * sample(i, 0) + 0.587 * sample(i, 1) + 0.114 * sample(i, 2);
    values[i] = luma * (channels % 2 ? 1 : sample(i, channels - 1) / 65535);
  }
  return { width, height, data: scaleLevels(values), color: 0 };
}

const TYPES = { JPEG: "image/jpeg", PNG: "image/png", WEBP: "image/webp", BMP: "image/bmp" };

// Whether a JPEG shows damage; it is searched in the image as it is stored.
async function isDamaged(bytes, header, upright) {
  if (header.orientation === 1) return hasStair(upright, header.blockRows);
  const { width, height, rgba } = await decodeRgba(bytes, TYPES.JPEG, false);
  return hasStair({ width, height, data: lumaOf(rgba).data }, header.blockRows);
}

// A picture as {width, height, data, color, isPhoto, header}: one byte a pixel, and the fraction of colored pixels.
export async function decodePicture(bytes, kind) {
  let header = {};
  if (kind === "JPEG") header = checkJpeg(bytes);
  else if (kind === "PNG") header = checkPng(bytes);
  else if (kind === "WEBP") checkWebp(bytes);
  else checkBmp(bytes);
  if (kind === "PNG" && header.bits === 16) return decodePng16(bytes, header);
  const fast = kind === "JPEG" && header.orientation === 1 ? await decodeFast(bytes) : null;
  const { width, height, rgba, isBgr } = fast ?? (await decodeRgba(bytes, TYPES[kind]));
  const { data, isGray } = lumaOf(rgba, isBgr);
  const color = isGray ? 0 : colorFraction(rgba, width, height);
  const image = { width, height, data, color, isPhoto: Boolean(header.isPhoto) };
  const damaged = kind === "JPEG" && (await isDamaged(bytes, header, image));
  return { ...image, header: damaged ? { damaged: "JPEG" } : {} };
}
