// From gray levels to the inputs of both networks, with the arithmetic of `core.image` and `core.view`.
import { crop, resize, resizeArea } from "./resize.js";

const SIDE = 224; // pixels of the small image for the quality checks and the view network
const VIEW_SIDE = 96; // pixels of the input of the view network
const MIN_CONTENT = 48; // pixels of `SIDE`; a smaller rest isn't an X-ray in a frame

// Two percentiles of bytes, as computed by `np.percentile`.
export function percentiles(data, shares) {
  const counts = new Float64Array(256);
  for (const value of data) counts[value]++;
  const levelAt = (position) => {
    // the level at a position of the sorted pixels
    let sum = 0;
    for (let level = 0; level < 256; level++) {
      sum += counts[level];
      if (sum > position) return level;
    }
    return 255;
  };
  return shares.map((share) => {
    const position = (share / 100) * (data.length - 1);
    const below = levelAt(Math.floor(position));
    return below + (levelAt(Math.ceil(position)) - below) * (position % 1);
  });
}

// Gray levels in 8 bits with the size of the network, unchanged if they have it.
export function resized(image, width, height) {
  return image.width === width && image.height === height ? image : resize(image, width, height);
}

// The input of the model: (height, width, channels) floats from 0 to 1.
export function modelInput(small, spec) {
  const [low, high] = spec.stretch ? percentiles(small.data, spec.stretch) : [0, 255];
  const factor = 1 / Math.max(high - low, 1);
  const scale = Math.fround(factor);
  const shift = Math.fround(low * factor);
  const input = new Float32Array(small.data.length * spec.channels);
  for (let i = 0; i < small.data.length; i++) {
    const value = Math.fround(Math.fround(small.data[i] * scale) - shift);
    input.fill(Math.min(1, Math.max(0, value)), i * spec.channels, (i + 1) * spec.channels);
  }
  return input;
}

// Percentiles 1 and 99 become 0 and 1.
export function normalized(data) {
  const [low, high] = percentiles(data, [1, 99]);
  const range = Math.fround(Math.max(high - low, 1e-3));
  return Float32Array.from(data, (v) => Math.min(1, Math.max(0, Math.fround(v - low) / range)));
}

// Rows and columns inside the uniform border: those with a standard deviation of at least 4.
export function contentBox(values, width, height) {
  const inside = { rows: [], columns: [] };
  const deviates = (n, at) => {
    let sum = 0;
    let squares = 0;
    for (let k = 0; k < n; k++) {
      const value = at(k);
      sum += value;
      squares += value * value;
    }
    return squares / n - (sum / n) ** 2 >= 16;
  };
  for (let y = 0; y < height; y++) if (deviates(width, (x) => values[y * width + x])) inside.rows.push(y);
  for (let x = 0; x < width; x++) if (deviates(height, (y) => values[y * width + x])) inside.columns.push(x);
  const range = (found) => (found.length ? [found[0], found.at(-1) + 1] : [0, 0]);
  const [top, bottom] = range(inside.rows);
  const [left, right] = range(inside.columns);
  return { top, bottom, left, right };
}

// The small image of the quality checks.
export const smallImage = (image) => resized(image, SIDE, SIDE);

// The input of the view network: the content of the small image, (96, 96) floats from 0 to 1.
export function viewInput(small) {
  const bright = normalized(small.data).map((v) => 255 * v);
  const box = contentBox(bright, small.width, small.height);
  const isTiny = Math.min(box.bottom - box.top, box.right - box.left) < MIN_CONTENT;
  const content = isTiny ? small : crop(small, box);
  return normalized(resizeArea(content, VIEW_SIDE, VIEW_SIDE).data);
}
