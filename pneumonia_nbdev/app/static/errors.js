// An error with a stable code; its sentence is in the texts of the page.
export class AppError extends Error {
  constructor(code, reason = "") {
    super(reason || code);
    this.code = code;
    this.reason = reason;
  }
}

export const unreadable = (reason) => new AppError("unreadable_image", reason);
export const unsupported = (reason) => new AppError("app_format", reason);

const MAX_PIXELS = 40_000_000;
const MAX_SIDE = 12_000;

// The limits on the size of an image, before it is decoded.
export function checkSize(width, height) {
  if (Math.min(width, height) < 1) throw unreadable(`${width} x ${height} pixels`);
  if (Math.max(width, height) > MAX_SIDE || width * height > MAX_PIXELS)
    throw new AppError("too_large", `${width} x ${height} pixels`);
}
