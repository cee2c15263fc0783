// Measurements of an image, and the reasons against its evaluation, as in `core.quality`.
import { contentBox, looked, percentiles } from "./prepare.js";
import { resize } from "./resize.js";
import { lungMeasures } from "./lungs.js";

const LUNG_REASONS = ["no_lungs", "one_lung", "lungs_cut", "tilted"];
const MIN_LUNGS = 0.05; // fraction of the image
const MIN_SMALLER = 0.25; // the smaller lung's fraction of both lungs
const MAX_TILT = 15; // degrees
const MAX_CUT = { top: 0.7, bottom: 0.4, left: 0.25, right: 0.25 }; // width at the border / greatest width

// An image of 32 x 32 pixels as a vector with mean 0 and norm 1.
export function thumbnailVector(small) {
  const data = resize(small, 32, 32, "box").data;
  const mean = data.reduce((a, b) => a + b, 0) / data.length;
  const centered = Float64Array.from(data, (v) => v - mean);
  const norm = Math.max(Math.sqrt(centered.reduce((a, v) => a + v * v, 0)), 1e-6);
  return centered.map((v) => v / norm);
}

// The highest correlation with the mirror image, shifted by at most 12 of 32 columns.
export function symmetry(x) {
  const products = new Float64Array(32 * 32); // of all pairs of columns
  const columns = new Float64Array(32);
  for (let row = 0; row < 32; row++) {
    for (let i = 0; i < 32; i++) {
      const value = x[row * 32 + i];
      columns[i] += value;
      for (let j = 0; j < 32; j++) products[i * 32 + j] += value * x[row * 32 + j];
    }
  }
  let best = -Infinity;
  for (let shift = -12; shift <= 12; shift++) {
    const first = Math.max(shift, 0); // the columns that the image and the shifted mirror image share
    const end = 32 + Math.min(shift, 0);
    let mirrored = 0;
    let total = 0;
    let squares = 0;
    for (let i = first; i < end; i++) {
      mirrored += products[i * 32 + 31 + shift - i];
      total += columns[i];
      squares += products[i * 33];
    }
    const mean = total ** 2 / (32 * (end - first));
    best = Math.max(best, (mirrored - mean) / Math.max(squares - mean, 1e-6));
  }
  return best;
}

// The standard deviation of the Laplacian; the border is mirrored.
function sharpness(small, low, high) {
  const { width, height } = small;
  const range = Math.max(high - low, 1);
  const values = Float32Array.from({ length: 256 }, (_, v) => Math.min(1, Math.max(0, (v - low) / range)));
  const x = looked(small.data, values);
  let sum = 0;
  let squares = 0;
  for (let r = 0; r < height; r++) {
    const row = r * width;
    const above = (r ? r - 1 : 1) * width;
    const below = (r < height - 1 ? r + 1 : height - 2) * width;
    for (let c = 0; c < width; c++) {
      const left = c ? c - 1 : 1;
      const right = c < width - 1 ? c + 1 : width - 2;
      const value = x[above + c] + x[below + c] + x[row + left] + x[row + right] - 4 * x[row + c];
      sum += value;
      squares += value * value;
    }
  }
  const n = width * height;
  return Math.sqrt(Math.max(squares / n - (sum / n) ** 2, 0));
}

// The metrics of an image; `view` are the probabilities of the view network.
export function qualityMetrics(image, small, view, template) {
  const [low, high] = percentiles(small.data, [1, 99]);
  const thumbnail = thumbnailVector(small);
  const box = contentBox(small.data, small.width, small.height);
  const area = (box.bottom - box.top) * (box.right - box.left);
  const views = Object.fromEntries(Object.entries(view).map(([name, p]) => [`view_${name}`, p]));
  return {
    side: Math.min(image.width, image.height),
    aspect: Math.max(image.width, image.height) / Math.min(image.width, image.height),
    contrast: high - low,
    white: small.data.filter((v) => v >= 254).length / small.data.length,
    sharpness: sharpness(small, low, high),
    likeness: thumbnail.reduce((sum, v, i) => sum + v * template[i], 0),
    symmetry: symmetry(thumbnail),
    content: area / (small.width * small.height),
    color: image.color,
    ...views,
  };
}

// The view by the thresholds of the view network's card; `frontal` in case of doubt.
function detectView(m, views, thresholds) {
  if (m.view_frontal + m.view_mirrored < thresholds.upright) {
    const others = views.filter((view) => view !== "frontal" && view !== "mirrored");
    return others.reduce((best, view) => (m[`view_${view}`] > m[`view_${best}`] ? view : best));
  }
  return m.view_mirrored > thresholds.mirrored ? "mirrored" : "frontal";
}

// The checks of the metrics in the order of `REASONS`.
function conditions(m, rules) {
  const view = detectView(m, rules.views, rules.view_thresholds);
  const has = (name) => view === name;
  const isOdd =
    (m.likeness >= -0.25 && m.likeness < 0.1) ||
    m.sharpness > 0.135 ||
    m.strangeness + (1 - m.symmetry) / 2 > 1.1;
  const isUpright = m.view_frontal + m.view_mirrored >= rules.view_thresholds.sure;
  const hasNoLungs = (m.lungs_area ?? 1) < MIN_LUNGS;
  return {
    too_small: m.side < 128,
    odd_shape: m.aspect > 2.2,
    bordered: m.content < 0.65,
    low_contrast: m.contrast < 70,
    saturated: m.white > 0.1,
    blurred: m.sharpness < 0.018,
    inverted: (m.likeness < -0.25 && (has("frontal") || has("mirrored") || has("inverted"))) || has("inverted"),
    not_chest_like: has("other") || (isOdd && !isUpright),
    unusual: isOdd && isUpright,
    montage: has("montage"),
    upside_down: has("upside_down"),
    rotated: has("rotated"),
    partial: has("partial"),
    lateral: has("lateral"),
    mirrored: has("mirrored"),
    no_lungs: hasNoLungs,
    one_lung: (m.lungs_smaller ?? 1) < MIN_SMALLER && !hasNoLungs,
    lungs_cut: Object.entries(MAX_CUT).some(([side, limit]) => (m[`lungs_${side}`] ?? 0) > limit),
    tilted: Math.abs(m.lungs_tilt ?? 0) > MAX_TILT,
    colored: m.color > 0.05,
  };
}

// Metrics with those of the lungs, and the codes of all reasons; `lungs` is the map of the network, or null.
export function assess(image, metrics, oodScore, lungs, rules, headerReasons) {
  const m = { ...metrics, strangeness: oodScore };
  if (m.contrast < 4) throw Object.assign(new Error("blank"), { code: "not_an_xray" });
  if (lungs) Object.assign(m, lungMeasures(lungs, image));
  const found = conditions(m, rules);
  let reasons = Object.keys(found).filter((code) => found[code]);
  const views = ["montage", "partial", "lateral"];
  if (reasons.includes("colored") && views.some((view) => reasons.includes(view))) {
    // a photo has no view
    const kept = reasons.filter((code) => ![...views, "not_chest_like"].includes(code));
    reasons = ["not_chest_like", ...kept];
  }
  reasons.push(...headerReasons);
  if (rules.no_class.some((code) => reasons.includes(code)))
    reasons = reasons.filter((code) => !LUNG_REASONS.includes(code)); // such an image is expected to have other lungs
  return { metrics: m, reasons };
}
