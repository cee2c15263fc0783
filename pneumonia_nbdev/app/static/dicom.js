// DICOM files: uncompressed and deflated ones, and JPEG baseline. dicom-parser reads the elements.
import { AppError, checkSize, unreadable, unsupported } from "./errors.js";
import { colorFraction, lumaOf } from "./levels.js";
import { checkJpeg, decodeRgba, inflate } from "./pictures.js";
import { looked } from "./prepare.js";
import { displayTable } from "./display.js";
import { hasStair } from "./damage.js";

const NATIVE = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"];
const DEFLATED = "1.2.840.10008.1.2.1.99";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";
const JPEG_BASELINE = "1.2.840.10008.1.2.4.50";
const MAX_INFLATED = 128 * 2 ** 20; // bytes of a deflated data set
const PIXELS = "x7fe00010";

// A file with the preamble and the syntax that dicom-parser requires; some programs write files without them.
function withPreamble(bytes) {
  if (String.fromCharCode(...bytes.subarray(128, 132)) === "DICM") return bytes;
  const start = new Uint8Array([...new Uint8Array(128), ...new TextEncoder().encode("DICM")]);
  let meta = new Uint8Array(0);
  if (bytes[0] !== 2) {
    const isExplicit = /^[A-Z]{2}$/.test(String.fromCharCode(bytes[4], bytes[5]));
    const uid = new TextEncoder().encode(isExplicit ? NATIVE[1] + "\0" : NATIVE[0] + "\0");
    meta = new Uint8Array([2, 0, 16, 0, 85, 73, uid.length, 0, ...uid]); // (0002,0010) UI
  }
  const out = new Uint8Array(start.length + meta.length + bytes.length);
  out.set(start);
  out.set(meta, start.length);
  out.set(bytes, start.length + meta.length);
  return out;
}

// The elements of a file up to its pixel data.
async function parse(file, parser) {
  try {
    const bytes = withPreamble(file);
    const meta = parser.readPart10Header(bytes);
    const syntax = (meta.string("x00020010") ?? "").trim();
    if (![...NATIVE, JPEG_BASELINE].includes(syntax)) throw unsupported(`DICOM transfer syntax ${syntax}`);
    let inflated = null;
    if (syntax === DEFLATED) {
      const body = await inflate(bytes.subarray(meta.position), MAX_INFLATED, "deflate-raw");
      inflated = new Uint8Array(meta.position + body.length);
      inflated.set(bytes.subarray(0, meta.position));
      inflated.set(body, meta.position);
    }
    const dataset = parser.parseDicom(bytes, { inflater: () => inflated });
    return { dataset, syntax };
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw unreadable(`DICOM: ${error?.exception ?? error?.message ?? error}`);
  }
}

// A text of the header; some devices write UTF-8 where a code is expected.
export function textOf(dataset, tag, length = 64) {
  const element = dataset.elements[tag];
  if (!element?.length) return "";
  const raw = dataset.byteArray.subarray(element.dataOffset, element.dataOffset + element.length);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(raw);
  } catch {
    text = new TextDecoder("latin1").decode(raw);
  }
  return text.slice(0, length).replace(/^[\0 ]+|[\0 ]+$/g, "");
}

const DATE = /^(\d{4})\.?(\d\d)\.?(\d\d)/;

// The age as in the header, or in years from two dates.
function ageOf(dataset) {
  const stated = textOf(dataset, "x00101010", 16);
  if (/[1-9]/.test(stated)) return stated;
  const birth = DATE.exec(textOf(dataset, "x00100030"));
  for (const tag of ["x00080020", "x00080022", "x00080023"]) {
    const date = DATE.exec(textOf(dataset, tag));
    if (!birth || !date) continue;
    const isBefore = date[2] + date[3] < birth[2] + birth[3];
    const years = Number(date[1]) - Number(birth[1]) - Number(isBefore);
    if (years >= 0 && years <= 130) return `${years}Y`;
  }
  return stated;
}

// The technical fields of the header that checks and groups need; names and numbers of patients aren't read.
function headerOf(dataset, rules) {
  const uid = textOf(dataset, "x00080016");
  const numbers = uid.startsWith(rules.storage) ? uid.slice(rules.storage.length).split(".") : [];
  const ofClass = [2, 1].map((n) => rules.modality_of_class[numbers.slice(0, n).join(".")]).find(Boolean) ?? "";
  return {
    modality: textOf(dataset, "x00080060") || ofClass,
    body_part: textOf(dataset, "x00180015"),
    view: textOf(dataset, "x00185101"),
    age: ageOf(dataset),
    orientation: textOf(dataset, "x00200020", 16),
  };
}

// The numbers that describe the pixels.
function describe(dataset) {
  const number = (tag, missing) => dataset.uint16(tag) ?? missing;
  const rows = number("x00280010", 0);
  const columns = number("x00280011", 0);
  if (!rows || !columns || !dataset.elements[PIXELS]) throw new AppError("no_pixels");
  if (parseInt(textOf(dataset, "x00280008") || "1", 10) > 1) throw new AppError("multi_frame", "DICOM");
  checkSize(columns, rows);
  const allocated = number("x00280100", 0);
  const stored = number("x00280101", allocated);
  return {
    rows,
    columns,
    allocated,
    stored,
    highBit: number("x00280102", stored - 1),
    isSigned: number("x00280103", 0) === 1,
    samples: number("x00280002", 1),
    isPlanar: number("x00280006", 0) === 1,
    shades: textOf(dataset, "x00280004").toUpperCase(),
  };
}

// --- pixels

// The samples of uncompressed pixel data as unsigned numbers of 8 or 16 bits.
function nativeSamples(dataset, d, isBigEndian) {
  const element = dataset.elements[PIXELS];
  const count = d.rows * d.columns * d.samples;
  if (element.length < (count * d.allocated) / 8) throw unreadable("DICOM: the pixel data are incomplete");
  const raw = dataset.byteArray.slice(element.dataOffset, element.dataOffset + element.length);
  if (d.allocated === 8 && !(isBigEndian && element.vr === "OW")) return raw.subarray(0, count);
  // pairs of bytes are exchanged in big endian; all browsers run on little-endian processors
  if (isBigEndian) for (let i = 0; i + 1 < raw.length; i += 2) [raw[i], raw[i + 1]] = [raw[i + 1], raw[i]];
  return d.allocated === 8 ? raw.subarray(0, count) : new Uint16Array(raw.buffer, 0, count);
}

// The compressed image; its fragments are joined.
function jpegOf(dataset) {
  const fragments = dataset.elements[PIXELS].fragments ?? [];
  const parts = fragments.map((f) => dataset.byteArray.subarray(f.position, f.position + f.length));
  const bytes = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

async function decodeJpeg(dataset, d, header) {
  const bytes = jpegOf(dataset);
  const frame = checkJpeg(bytes);
  if (frame.width !== d.columns || frame.height !== d.rows || frame.components !== d.samples)
    throw unreadable("DICOM: the size in the header differs from that of the JPEG");
  const decoded = await decodeRgba(bytes, "image/jpeg", false);
  const stored = { width: d.columns, height: d.rows, data: lumaOf(decoded.rgba).data };
  if (hasStair(stored, frame.blockRows)) header.damaged = "JPEG";
  if (d.samples === 3) return decoded;
  return { samples: stored.data }; // all channels are equal, so the luma is the sample
}

// Uncompressed RGB with 8 bits as RGBA.
function rgbaOf(samples, d) {
  const size = d.rows * d.columns;
  const rgba = new Uint8ClampedArray(4 * size);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = d.isPlanar ? samples[c * size + i] : samples[3 * i + c];
    rgba[4 * i + 3] = 255;
  }
  return rgba;
}

function colorImage(rgba, d, header) {
  const color = colorFraction(rgba, d.columns, d.rows);
  return { width: d.columns, height: d.rows, data: lumaOf(rgba).data, color, header };
}

// A DICOM file as {width, height, data, color, header}.
export async function decodeDicom(bytes, parser, rules) {
  const { dataset, syntax } = await parse(bytes, parser);
  const d = describe(dataset);
  const header = headerOf(dataset, rules);
  const isMono = d.shades.startsWith("MONOCHROME") && d.samples === 1;
  const isJpeg = syntax === JPEG_BASELINE;
  if (![8, 16].includes(d.allocated)) throw unsupported(`DICOM with ${d.allocated} bits`);
  if (!isMono && !(d.samples === 3 && (isJpeg || (d.shades === "RGB" && d.allocated === 8))))
    throw unsupported(`DICOM ${d.shades}`);
  const decoded = isJpeg ? await decodeJpeg(dataset, d, header) : { samples: nativeSamples(dataset, d, syntax === BIG_ENDIAN) };
  if (!isMono) return colorImage(decoded.rgba ?? rgbaOf(decoded.samples, d), d, header);
  if (isJpeg) Object.assign(d, { allocated: 8, stored: 8, highBit: 7 });
  const table = displayTable(dataset, d, decoded.samples);
  const data = looked(decoded.samples, table, new Uint8Array(decoded.samples.length));
  return { width: d.columns, height: d.rows, data, color: 0, header };
}
