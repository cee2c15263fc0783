// Size, number, tilt and borders of the lungs in the map of the network, as in `core.quality`.

const LEVELS = [0.5, 0.6, 0.7, 0.8, 0.9]; // probabilities of lung; the first one that separates two parts is used
const MIN_PART = 0.1; // fraction of the area above the level
const MAX_DISAGREEMENT = 30; // degrees between the two directions

// Connected parts of a mask (neighbors share a side): an array of lists of positions, in reading order.
function components(mask, rows, columns) {
  const parts = [];
  const seen = new Uint8Array(mask.length);
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || seen[start]) continue;
    const part = [];
    const open = [start];
    seen[start] = 1;
    while (open.length) {
      const at = open.pop();
      part.push(at);
      const column = at % columns;
      const near = [at - columns, at + columns];
      if (column > 0) near.push(at - 1);
      if (column < columns - 1) near.push(at + 1);
      for (const next of near) {
        if (next < 0 || next >= rows * columns || !mask[next] || seen[next]) continue;
        seen[next] = 1;
        open.push(next);
      }
    }
    parts.push(part);
  }
  return parts;
}

// The connected parts of a lung mask, the largest one first.
function lungParts({ values, rows, columns }) {
  let parts = [];
  for (const level of LEVELS) {
    const found = components(Uint8Array.from(values, (v) => v > level), rows, columns);
    const total = found.reduce((n, part) => n + part.length, 0);
    const large = found.filter((part) => part.length >= MIN_PART * total).sort((a, b) => b.length - a.length);
    if (large.length > 1 || level === LEVELS[0]) parts = large;
    if (parts.length > 1) break;
  }
  return parts;
}

// Mean and covariance of the positions of a part, in units of the image.
function moments(part, rows, columns, image) {
  let x = 0;
  let y = 0;
  let xx = 0;
  let yy = 0;
  let xy = 0;
  for (const at of part) {
    const column = ((at % columns) / columns) * image.width;
    const row = (Math.floor(at / columns) / rows) * image.height;
    x += column;
    y += row;
    xx += column * column;
    yy += row * row;
    xy += column * row;
  }
  const n = part.length;
  x /= n;
  y /= n;
  return { x, y, xx: xx / n - x * x, yy: yy / n - y * y, xy: xy / n - x * y };
}

// The angle between the axis of the body and the vertical in degrees, positive: clockwise; 0 if it isn't certain.
function lungTilt(parts, map, image) {
  const [a, b] = parts.map((part) => moments(part, map.rows, map.columns, image));
  const dx = a.x - b.x;
  const dy = a.y - b.y;
  const across = [dx * dx - dy * dy, 2 * dx * dy]; // the square of the difference as a complex number
  const along = [a.yy - a.xx + b.yy - b.xx, -2 * (a.xy + b.xy)];
  const lengths = [Math.hypot(...across), Math.hypot(...along)];
  if (!lengths[0] || !lengths[1]) return 0;
  const re = across[0] / lengths[0] + along[0] / lengths[1];
  const im = across[1] / lengths[0] + along[1] / lengths[1];
  const isCertain = Math.hypot(re, im) >= 2 * Math.cos((MAX_DISAGREEMENT * Math.PI) / 180);
  return isCertain ? (Math.atan2(im, re) * 180) / Math.PI / 2 : 0;
}

// The measures of a map {values, rows, columns} with probabilities of lung, for an image {width, height}.
export function lungMeasures(map, image) {
  const { values, rows, columns } = map;
  const perRow = new Float64Array(rows);
  const perColumn = new Float64Array(columns);
  let inside = 0;
  for (let at = 0; at < values.length; at++) {
    if (values[at] <= LEVELS[0]) continue;
    inside++;
    perRow[Math.floor(at / columns)]++;
    perColumn[at % columns]++;
  }
  const parts = lungParts(map);
  const areas = parts.slice(0, 2).map((part) => part.length);
  const height = Math.max(...perColumn, 1);
  const width = Math.max(...perRow, 1);
  const isPair = areas.length === 2;
  return {
    lungs_area: inside / values.length,
    lungs_parts: parts.length,
    lungs_smaller: isPair ? areas[1] / (areas[0] + areas[1]) : 0,
    lungs_tilt: isPair ? lungTilt(parts.slice(0, 2), map, image) : 0,
    lungs_top: perRow[0] / width,
    lungs_bottom: perRow[rows - 1] / width,
    lungs_left: perColumn[0] / height,
    lungs_right: perColumn[columns - 1] / height,
  };
}
