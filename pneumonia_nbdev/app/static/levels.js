// Gray levels from colors and from numbers with more than 8 bits, as in `core.pictures` and `core.xray`.

const MAX_SAMPLES = 2 ** 20; // pixels that determine the range of an image
const COLORED = 32; // levels between the channels of a colored pixel

// The luma of RGBA (or BGRA) pixels as computed by Pillow, and whether all three channels are equal everywhere.
export function lumaOf(rgba, isBgr = false) {
  const pixels = new Uint32Array(rgba.buffer, rgba.byteOffset, rgba.length / 4); // red is the lowest byte
  const data = new Uint8Array(pixels.length);
  let isGray = true;
  for (let i = 0; i < data.length; i++) {
    const v = pixels[i];
    const g = (v >> 8) & 255;
    if ((v & 0xffffff) === Math.imul(g, 0x010101)) {
      data[i] = g; // the usual case
      continue;
    }
    isGray = false;
    const r = isBgr ? (v >> 16) & 255 : v & 255;
    const b = isBgr ? v & 255 : (v >> 16) & 255;
    data[i] = (Math.imul(r, 19595) + Math.imul(g, 38470) + Math.imul(b, 7471) + 0x8000) >> 16;
  }
  return { data, isGray };
}

// The fraction of 128 x 128 pixels whose channels differ by more than 32 levels.
export function colorFraction(rgba, width, height) {
  let colored = 0;
  for (let y = 0; y < 128; y++) {
    const row = Math.floor(((y + 0.5) * height) / 128);
    for (let x = 0; x < 128; x++) {
      const k = 4 * (row * width + Math.floor(((x + 0.5) * width) / 128));
      const [r, g, b] = [rgba[k], rgba[k + 1], rgba[k + 2]];
      if (Math.max(r, g, b) - Math.min(r, g, b) > COLORED) colored++;
    }
  }
  return colored / 128 ** 2;
}

// The range of values without a few extreme ones. `values` are sorted numbers, `counts` their numbers of pixels.
export function robustRange(values, counts) {
  const cumulative = [];
  let sum = 0;
  for (let i = 0; i < values.length; i++) cumulative.push((sum += counts ? counts[i] : 1));
  if (!values.length) throw new Error("no pixel has a valid value");
  const [p1, p99] = [0.01, 0.99].map((share) => {
    let low = 0;
    let high = cumulative.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cumulative[middle] < share * sum) low = middle + 1;
      else high = middle;
    }
    return values[low];
  });
  const margin = 0.05 * (p99 - p1);
  const last = values[values.length - 1];
  if (margin === 0) return [values[0], last];
  return [Math.max(values[0], p1 - margin), Math.min(last, p99 + margin)];
}

// Round half to even, as NumPy does.
export function rint(x) {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

// Numbers as gray levels in 8 bits: the range of the image becomes 0 to 255.
export function scaleLevels(values) {
  const step = Math.max(Math.floor(values.length / MAX_SAMPLES), 1);
  const samples = new Float64Array(Math.ceil(values.length / step));
  for (let i = 0; i < samples.length; i++) samples[i] = values[i * step];
  const [low, high] = robustRange(samples.sort());
  const factor = high > low ? 255 / (high - low) : 0;
  return Uint8Array.from(values, (v) => rint(Math.min(255, Math.max(0, (v - low) * factor))));
}
