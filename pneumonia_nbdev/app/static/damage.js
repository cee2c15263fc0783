// Damage of a JPEG that leaves its structure valid: a step in brightness that begins inside a row of blocks.
// The browser decodes such a file without an error. As `brightness_stair` of `core.pictures`.

const MAX_STAIR = 2; // gray levels

// The steps between rows of blocks, without the slope beside them: {values, down, across}.
// `below` and `beside` are the distances of neighbors in the data, so rows and columns can be exchanged.
function blockSteps(data, { height, width, below, beside }, rows, columns) {
  const down = Math.floor(height / rows) - 1;
  const across = Math.floor(width / columns);
  const values = new Float64Array(Math.max(down, 0) * across);
  for (let k = 0; k < down; k++) {
    for (let b = 0; b < across; b++) {
      let sum = 0;
      let at = (k + 1) * rows * below + b * columns * beside;
      for (let n = 0; n < columns; n++, at += beside)
        sum += 3 * (data[at] - data[at - below]) + data[at - 2 * below] - data[at + below];
      values[k * across + b] = Math.min(60, Math.max(-60, sum / (2 * columns)));
    }
  }
  return { values, down, across };
}

function cumulative(values) {
  const sums = new Float64Array(values.length + 1);
  for (let i = 0; i < values.length; i++) sums[i + 1] = sums[i] + values[i];
  return sums;
}

// The height of a step in gray levels; 0 for less than `MAX_STAIR`. `rows` is the height of a block.
export function brightnessStair({ width, height, data }, rows = 8) {
  if (height < 8 * rows || width < 64) return 0;
  const { values, down, across } = blockSteps(data, { height, width, below: width, beside: 1 }, rows, 8);
  const sums = cumulative(values);
  const squares = cumulative(values.map((v) => v * v));
  let beside = null;
  let highest = 0;
  for (let begin = 0; begin + across <= values.length; begin++) {
    const mean = (sums[begin + across] - sums[begin]) / across;
    const size = Math.abs(mean);
    const row = Math.floor(begin / across);
    const column = begin % across;
    if (size <= MAX_STAIR || row < 3 || row > down - 2 || column < 2 || column > across - 2) continue;
    const variance = Math.max((squares[begin + across] - squares[begin]) / across - mean ** 2, 0.5);
    const constancy = Math.min(1, size / Math.sqrt(variance) / 2) ** 2;
    if (size * constancy <= MAX_STAIR) continue;
    beside ??= blockSteps(data, { height: width, width: height, below: 1, beside: width }, 8, rows);
    const step = beside.values[(column - 1) * beside.across + row];
    const [low, high] = [Math.min(size, Math.abs(step)), Math.max(size, Math.abs(step))];
    if (Math.sign(mean) === Math.sign(step) && high < 3 * low) highest = Math.max(highest, low * constancy);
  }
  return highest;
}

export const hasStair = (image, rows) => brightnessStair(image, rows) > MAX_STAIR;
