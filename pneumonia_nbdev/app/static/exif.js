// Two facts of the EXIF block of a JPEG: how it is turned, and whether a camera took it.

const ORIENTATION = 274;
const EXIF_DIRECTORY = 34665;
const EXPOSURE_TIME = 33434; // cameras write it; scanners and X-ray devices don't

// The entries of a directory: tag -> position of its value.
function directory(view, start, little) {
  const entries = new Map();
  const count = view.getUint16(start, little);
  for (let i = 0; i < Math.min(count, 1000); i++) {
    const at = start + 2 + 12 * i;
    entries.set(view.getUint16(at, little), at + 8);
  }
  return entries;
}

// {orientation, isPhoto} of the content of an APP1 segment; a damaged block is ignored.
export function readExif(bytes) {
  const missing = { orientation: 1, isPhoto: false };
  try {
    if (String.fromCharCode(...bytes.subarray(0, 6)) !== "Exif\0\0") return missing;
    const block = bytes.subarray(6);
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
    const little = view.getUint16(0) === 0x4949;
    const main = directory(view, view.getUint32(4, little), little);
    const orientation = main.has(ORIENTATION) ? view.getUint16(main.get(ORIENTATION), little) : 1;
    const more = main.has(EXIF_DIRECTORY) && directory(view, view.getUint32(main.get(EXIF_DIRECTORY), little), little);
    return { orientation, isPhoto: Boolean(more && more.has(EXPOSURE_TIME)) };
  } catch {
    return missing;
  }
}
