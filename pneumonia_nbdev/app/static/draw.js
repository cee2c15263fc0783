// The X-ray with a map and the outline of the lungs on a canvas.

const OUTLINE = "rgb(94, 234, 212)";
// Colors of the map (inferno) at equal distances.
const COLORS = [
  [0, 0, 4], [27, 12, 65], [74, 12, 107], [120, 28, 109], [165, 44, 96], [207, 68, 70], [237, 105, 37],
  [251, 155, 6], [247, 209, 61], [252, 255, 164],
];

// The color of each of 256 values, as bytes for red, green and blue.
const TABLE = new Uint8Array(3 * 256);
for (let level = 0; level < 256; level++) {
  const position = (level / 255) * (COLORS.length - 1);
  const below = Math.min(Math.floor(position), COLORS.length - 2);
  for (let c = 0; c < 3; c++)
    TABLE[3 * level + c] = COLORS[below][c] + (COLORS[below + 1][c] - COLORS[below][c]) * (position - below);
}

// The value of a map between its positions; (x, y) are fractions of the image.
function sampler({ values, rows, columns }) {
  const clamp = (v, most) => Math.min(Math.max(v, 0), most);
  return (x, y) => {
    const [u, v] = [clamp(x * columns - 0.5, columns - 1), clamp(y * rows - 0.5, rows - 1)];
    const [c, r] = [Math.floor(u), Math.floor(v)];
    const [c2, r2] = [Math.min(c + 1, columns - 1), Math.min(r + 1, rows - 1)];
    const top = values[r * columns + c] * (1 - u + c) + values[r * columns + c2] * (u - c);
    const bottom = values[r2 * columns + c] * (1 - u + c) + values[r2 * columns + c2] * (u - c);
    return top * (1 - v + r) + bottom * (v - r);
  };
}

// A map as a small picture whose opacity grows with its value.
function mapCanvas(map, strength) {
  const side = 96;
  const canvas = new OffscreenCanvas(side, side);
  const image = new ImageData(side, side);
  const at = sampler(map);
  for (let y = 0, k = 0; y < side; y++) {
    for (let x = 0; x < side; x++, k += 4) {
      const value = Math.min(Math.max(at((x + 0.5) / side, (y + 0.5) / side), 0), 1);
      const level = Math.round(255 * value);
      for (let c = 0; c < 3; c++) image.data[k + c] = TABLE[3 * level + c];
      image.data[k + 3] = level * strength;
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// The line on which the probability of lung is one half, as segments in fractions of the image (marching squares).
export function outline(lungs) {
  const side = 64;
  const at = sampler(lungs);
  const grid = Array.from({ length: side + 1 }, (_, y) =>
    Array.from({ length: side + 1 }, (_, x) => at(x / side, y / side) - 0.5),
  );
  const segments = [];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]];
      const crossings = [];
      for (let k = 0; k < 4; k++) {
        const [[ax, ay], [bx, by]] = [corners[k], corners[(k + 1) % 4]];
        const [a, b] = [grid[ay][ax], grid[by][bx]];
        if (a < 0 === b < 0) continue;
        const t = a / (a - b);
        crossings.push([(ax + (bx - ax) * t) / side, (ay + (by - ay) * t) / side]);
      }
      for (let k = 0; k + 1 < crossings.length; k += 2) segments.push([crossings[k], crossings[k + 1]]);
    }
  }
  return segments;
}

// Draw a bitmap, a map with a strength from 0 to 1, and the outline of the lungs; map and lungs may be null.
export function draw(canvas, bitmap, map, lungs, strength) {
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  context.imageSmoothingQuality = "high";
  if (map && strength > 0) context.drawImage(mapCanvas(map, strength), 0, 0, bitmap.width, bitmap.height);
  if (!lungs || !map) return;
  context.strokeStyle = OUTLINE;
  context.lineWidth = Math.max(1, Math.max(bitmap.width, bitmap.height) / 300);
  context.beginPath();
  for (const [a, b] of outline(lungs)) {
    context.moveTo(a[0] * bitmap.width, a[1] * bitmap.height);
    context.lineTo(b[0] * bitmap.width, b[1] * bitmap.height);
  }
  context.stroke();
}
