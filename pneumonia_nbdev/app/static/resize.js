// Resizing with the arithmetic of the Python package: Pillow's filters in 8 bits, and the area filter of OpenCV.
// An image is {width, height, data}, with one byte a pixel.

const PRECISION = 22; // bits of Pillow's fixed-point coefficients
const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
};

// First input position and integer weights of each output position.
function coefficients(size, target, filter) {
  const scale = size / target;
  const stretch = Math.max(scale, 1); // a filter covers at least one pixel
  const support = filter.support * stretch;
  const inverse = 1 / stretch; // Pillow multiplies; a division rounds otherwise
  const rows = [];
  for (let i = 0; i < target; i++) {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(size, Math.trunc(center + support + 0.5));
    const weights = [];
    for (let x = first; x < end; x++) weights.push(filter.weight((x - center + 0.5) * inverse));
    const sum = weights.reduce((a, b) => a + b, 0);
    rows.push({ first, weights: weights.map((w) => Math.trunc(0.5 + (w / sum) * 2 ** PRECISION)) });
  }
  return rows;
}

// One pass of Pillow: along the rows, and the result is transposed, so that two passes keep the orientation.
function pass(image, target, filter) {
  const { width, height, data } = image;
  const rows = coefficients(width, target, filter);
  const out = new Uint8Array(target * height);
  const half = 2 ** (PRECISION - 1);
  const firsts = Int32Array.from(rows, (row) => row.first);
  const counts = Int32Array.from(rows, (row) => row.weights.length);
  const most = Math.max(...counts);
  const table = new Int32Array(most * target);
  rows.forEach((row, i) => table.set(row.weights, i * most));
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < target; i++) {
      const start = y * width + firsts[i];
      const n = counts[i];
      const row = i * most;
      let sum = half; // fits 31 bits, because the weights are positive and their sum is 2 ** 22
      for (let k = 0; k < n; k++) sum = (sum + Math.imul(data[start + k], table[row + k])) | 0;
      out[i * height + y] = sum >> PRECISION;
    }
  }
  return { width: height, height: target, data: out };
}

function transposed({ width, height, data }) {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) out[x * height + y] = data[y * width + x];
  return { width: height, height: width, data: out };
}

// `Image.resize` of Pillow 13 for gray images: two passes, each only if its side changes. The order matters, because
// the result of the first one is rounded: the height comes first if it shrinks, by more than twice as much as the width.
export function resize(image, width, height, filter = "bilinear") {
  const kernel = FILTERS[filter];
  const isTall = image.height > height && image.height - height > 2 * (image.width - width);
  if (isTall) {
    const lower = pass(transposed(image), height, kernel);
    return lower.width === width ? lower : transposed(pass(lower, width, kernel));
  }
  const turned = image.width === width ? transposed(image) : pass(image, width, kernel);
  return turned.width === height ? transposed(turned) : pass(turned, height, kernel);
}

// Weights of OpenCV's area filter along one side that becomes shorter.
function areaWeights(size, target) {
  const scale = size / target;
  const rows = [];
  for (let i = 0; i < target; i++) {
    const start = i * scale;
    const end = start + scale;
    const cell = Math.min(scale, size - start);
    const last = Math.min(Math.floor(end), size - 1);
    const first = Math.min(Math.ceil(start), last);
    const weights = [];
    if (first - start > 1e-3) weights.push([first - 1, (first - start) / cell]);
    for (let x = first; x < last; x++) weights.push([x, 1 / cell]);
    if (end - last > 1e-3) weights.push([last, Math.min(end - last, 1, cell) / cell]);
    rows.push(weights);
  }
  return rows;
}

// Weights of OpenCV's linear filter in the form that it uses for `INTER_AREA` if a side becomes longer.
function linearWeights(size, target) {
  const scale = size / target;
  const rows = [];
  for (let i = 0; i < target; i++) {
    let first = Math.floor(i * scale);
    let part = Math.fround(i + 1 - (first + 1) / scale);
    part = part <= 0 ? 0 : part - Math.floor(part);
    if (first >= size - 1) {
      first = size - 1;
      part = 0;
    }
    rows.push([[first, 1 - part], ...(part ? [[first + 1, part]] : [])]);
  }
  return rows;
}

// `cv2.resize(…, interpolation=cv2.INTER_AREA)` of bytes; the sums of the area filter have 32 bits in OpenCV, too.
export function resizeArea(image, width, height) {
  const shrinks = image.width >= width && image.height >= height;
  const weightsOf = shrinks ? areaWeights : linearWeights;
  const across = weightsOf(image.width, width);
  const down = weightsOf(image.height, height);
  const rows = new Float32Array(image.height * width);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (const [k, w] of across[x]) sum += image.data[y * image.width + k] * w;
      rows[y * width + x] = sum;
    }
  }
  const out = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (const [k, w] of down[y]) sum += rows[k * width + x] * w;
      out[y * width + x] = Math.max(0, Math.min(255, Math.round(sum)));
    }
  }
  return { width, height, data: out };
}

// The part of an image with rows [top, bottom) and columns [left, right).
export function crop(image, { top, bottom, left, right }) {
  const width = right - left;
  const data = new Uint8Array(width * (bottom - top));
  for (let y = top; y < bottom; y++)
    data.set(image.data.subarray(y * image.width + left, y * image.width + right), (y - top) * width);
  return { width, height: bottom - top, data };
}
