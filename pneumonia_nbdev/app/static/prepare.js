// From gray levels to the inputs of both networks, with the arithmetic of `core.image` and `core.view`.
import { crop, resize, resizeArea } from "./resize.js";

const SIDE = 224; // pixels of the small image for the quality checks and the view network
const VIEW_SIDE = 96; // pixels of the input of the view network
const MIN_CONTENT = 48; // pixels of `SIDE`; a smaller rest isn't an X-ray in a frame

// The value of each level; a loop, because `Float32Array.from` is ten times slower.
export function looked(data, values, out = new Float32Array(data.length)) {
  for (let i = 0; i < data.length; i++) out[i] = values[data[i]];
  return out;
}

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
  // each gray level has one value
  const values = Float32Array.from({ length: 256 }, (_, level) => {
    const value = Math.fround(Math.fround(level * scale) - shift);
    return Math.min(1, Math.max(0, value));
  });
  const { channels } = spec;
  const input = new Float32Array(small.data.length * channels);
  for (let i = 0, k = 0; i < small.data.length; i++)
    for (let c = 0; c < channels; c++) input[k++] = values[small.data[i]];
  return input;
}

// Percentiles 1 and 99 become 0 and 1.
export function normalized(data) {
  const [low, high] = percentiles(data, [1, 99]);
  const range = Math.fround(Math.max(high - low, 1e-3));
  const values = Float32Array.from({ length: 256 }, (_, level) =>
    Math.min(1, Math.max(0, Math.fround(level - low) / range)),
  );
  return looked(data, values);
}

// Rows and columns inside the uniform border: those with a standard deviation of at least 4.
export function contentBox(values, width, height) {
  const ofRows = { sums: new Float64Array(height), squares: new Float64Array(height), n: width };
  const ofColumns = { sums: new Float64Array(width), squares: new Float64Array(width), n: height };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = values[y * width + x];
      ofRows.sums[y] += value;
      ofRows.squares[y] += value * value;
      ofColumns.sums[x] += value;
      ofColumns.squares[x] += value * value;
    }
  }
  const range = ({ sums, squares, n }) => {
    const inside = [...sums.keys()].filter((k) => squares[k] / n - (sums[k] / n) ** 2 >= 16);
    return inside.length ? [inside[0], inside.at(-1) + 1] : [0, 0];
  };
  const [top, bottom] = range(ofRows);
  const [left, right] = range(ofColumns);
  return { top, bottom, left, right };
}

// The small image of the quality checks.
export const smallImage = (image) => resized(image, SIDE, SIDE);

// The input of the view network: the content of the small image, (96, 96) floats from 0 to 1.
export function viewInput(small) {
  const bright = normalized(small.data);
  for (let i = 0; i < bright.length; i++) bright[i] *= 255;
  const box = contentBox(bright, small.width, small.height);
  const isTiny = Math.min(box.bottom - box.top, box.right - box.left) < MIN_CONTENT;
  const content = isTiny ? small : crop(small, box);
  return normalized(resizeArea(content, VIEW_SIDE, VIEW_SIDE).data);
}
