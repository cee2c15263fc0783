// From stored values of a DICOM image to gray levels, as in `core.display`: stored bits, modality transformation,
// values of interest, inversion, and the range of the image.
import { rint, robustRange } from "./levels.js";

const COMPLETE_TABLE = 0.95; // smallest fraction of the announced entries of a lookup table
const LEAST_SHOWN = 0.02; // smallest fraction of the pixels between the ends of a window

// The first value of a decimal text, or null.
function decimal(dataset, tag) {
  const text = dataset.elements[tag] ? (dataset.string(tag) ?? "").split("\\")[0].trim() : "";
  return text && Number.isFinite(Number(text)) ? Number(text) : null;
}

// The value of the stored bits of each sample: its number is the position.
function storedValues(d) {
  const size = d.allocated;
  const shift = d.highBit + 1 - d.stored;
  const isSensible = d.stored >= 1 && d.stored <= size && shift >= 0 && shift <= size - d.stored;
  const values = new Float64Array(2 ** size);
  for (let sample = 0; sample < values.length; sample++) {
    const bits = isSensible ? d.stored : size;
    const value = isSensible ? (sample >> shift) & (2 ** bits - 1) : sample;
    values[sample] = d.isSigned && value >= 2 ** (bits - 1) ? value - 2 ** bits : value;
  }
  return values;
}

// A number of 16 bits with the sign of the pixels, such as the value of the padding.
function pixelNumber(dataset, tag, isSigned) {
  if (!dataset.elements[tag]?.length) return null;
  return (isSigned ? dataset.int16(tag) : dataset.uint16(tag)) ?? null;
}

// The entries of the first lookup table of a sequence, or null.
function firstTable(dataset, tag, values) {
  for (const item of dataset.elements[tag]?.items ?? []) {
    const found = item.dataSet && lookupTable(item.dataSet, values);
    if (found) return found;
  }
  return null;
}

function lookupTable(item, values) {
  const data = item.elements.x00283006;
  if (!item.elements.x00283002 || !data) return null;
  const count = item.uint16("x00283002", 0) || 65536;
  let first = item.uint16("x00283002", 1);
  const bits = item.uint16("x00283002", 2);
  const hasBytes = data.length <= count + 1 && (bits <= 8 || data.length >= count);
  const n = Math.min(count, hasBytes ? data.length : data.length >> 1);
  const entryAt = (i) => (hasBytes ? item.byteArray[data.dataOffset + i] : item.uint16("x00283006", i));
  const entries = Float64Array.from({ length: n }, (_, i) => entryAt(i));
  const covered = (start) => values.reduce((sum, v) => sum + (v >= start && v < start + count), 0);
  if (first > 32767 && covered(first - 65536) > covered(first)) first -= 65536;
  return n >= COMPLETE_TABLE * count && bits > 0 && bits <= 16 ? { entries, first, bits } : null;
}

const lookUp = ({ entries, first }, v) => entries[Math.min(Math.max(Math.trunc(v - first), 0), entries.length - 1)];

const spread = (values, f) => {
  let low = Infinity;
  let high = -Infinity;
  for (const v of values) {
    const y = f(v);
    low = Math.min(low, y);
    high = Math.max(high, y);
  }
  return high - low;
};

// The modality transformation; one that makes the image flat counts as missing.
function modalityFunction(dataset, values) {
  const table = firstTable(dataset, "x00283000", values);
  const slope = decimal(dataset, "x00281053") || 1;
  const intercept = decimal(dataset, "x00281052") || 0;
  const transform = table ? (v) => lookUp(table, v) : (v) => v * slope + intercept;
  return spread(values, transform) > 0 ? transform : (v) => v;
}

function windowFunction(center, width, kind) {
  if (kind === "SIGMOID")
    return (v) => 1 / (1 + Math.exp(Math.min(80, Math.max(-80, (-4 * (v - center)) / width))));
  const clip = (x) => Math.min(1, Math.max(0, x));
  if (kind === "LINEAR_EXACT") return (v) => clip((v - center) / width + 0.5);
  return (v) => clip((v - (center - 0.5)) / Math.max(width - 1, 1e-3) + 0.5);
}

// The selection of the values of interest; one that hides the image counts as missing.
function voiFunction(dataset, values, counts) {
  const table = firstTable(dataset, "x00283010", values);
  if (table && spread(values, (v) => lookUp(table, v)) > 0) {
    const largest = Math.max(2 ** table.bits - 1, table.entries.reduce((a, v) => Math.max(a, v), 0));
    return (v) => lookUp(table, v) / largest;
  }
  const center = decimal(dataset, "x00281050");
  const width = decimal(dataset, "x00281051");
  const kind = (dataset.string("x00281056") || "LINEAR").trim().toUpperCase();
  const smallest = ["SIGMOID", "LINEAR_EXACT"].includes(kind) ? 1e-6 : 1;
  if (center === null || width === null || width < smallest) return null;
  const shown = windowFunction(center, width, kind);
  let inside = 0;
  let all = 0;
  values.forEach((v, i) => {
    const y = shown(v);
    all += counts[i];
    if (y > 0.001 && y < 0.999) inside += counts[i];
  });
  return spread(values, shown) === 0 || inside < LEAST_SHOWN * all ? null : shown;
}

function isInverted(dataset) {
  const shades = (dataset.string("x00280004") || "").trim().toUpperCase();
  const shape = (dataset.string("x20500020") || "").trim().toUpperCase();
  return shades === "MONOCHROME1" || shape === "INVERSE";
}

// The gray level of each possible sample, for the samples of one image.
export function displayTable(dataset, d, samples) {
  const stored = storedValues(d);
  const counts = new Float64Array(stored.length);
  for (const sample of samples) counts[sample]++;
  const first = pixelNumber(dataset, "x00280120", d.isSigned);
  const last = pixelNumber(dataset, "x00280121", d.isSigned) ?? first;
  const [low, high] = [Math.min(first, last), Math.max(first, last)];
  const isPadding = (v) => first !== null && v >= low && v <= high;
  let used = [...stored.keys()].filter((i) => counts[i] > 0);
  const ofImage = used.filter((i) => !isPadding(stored[i]));
  const hasPadding = first !== null && ofImage.length > 0;
  if (ofImage.length) used = ofImage;
  const values = used.map((i) => stored[i]);
  const numbers = used.map((i) => counts[i]);
  const modality = modalityFunction(dataset, values);
  const voi = voiFunction(dataset, values.map(modality), numbers);
  const sign = isInverted(dataset) ? -1 : 1;
  const shown = (v) => sign * (voi ? voi(modality(v)) : modality(v));
  const pairs = values.map((v, i) => [shown(v), numbers[i]]).sort((a, b) => a[0] - b[0]);
  const range = robustRange(pairs.map((pair) => pair[0]), pairs.map((pair) => pair[1]));
  const factor = range[1] > range[0] ? 255 / (range[1] - range[0]) : 0;
  return Uint8Array.from(stored, (v) =>
    hasPadding && isPadding(v) ? 0 : rint(Math.min(255, Math.max(0, (shown(v) - range[0]) * factor))),
  );
}
