// One file becomes a result: decode, measure, run both networks, decide. It runs in a worker.
import { assess, qualityMetrics } from "./quality.js";
import { decide, oodScore, patientGroup } from "./decision.js";
import { decodeDicom } from "./dicom.js";
import { decodePicture, kindOf } from "./pictures.js";
import { AppError, unreadable } from "./errors.js";
import { fetchFile, Network, startRuntime } from "./network.js";
import { headerReasons, ageInYears } from "./header.js";
import { modelInput, resized, smallImage, viewInput } from "./prepare.js";

const MAX_BYTES = 64 * 2 ** 20;
const PREVIEW = 1024; // longest side of the preview in pixels

// The arrays of the app's data: name -> Float32Array.
function arraysOf(bytes, layout) {
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  return Object.fromEntries(
    Object.entries(layout).map(([name, { start, size }]) => [name, new Float32Array(buffer, 4 * start, size)]),
  );
}

// The gray levels as a small JPEG, for the page.
async function previewOf({ width, height, data }) {
  const factor = Math.min(1, PREVIEW / Math.max(width, height));
  const [w, h] = [Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor))];
  const rgba = new ImageData(width, height);
  const pixels = new Uint32Array(rgba.data.buffer);
  for (let i = 0; i < data.length; i++) pixels[i] = 0xff000000 + data[i] * 0x010101;
  const bitmap = await createImageBitmap(rgba, { resizeWidth: w, resizeHeight: h, resizeQuality: "medium" });
  const canvas = new OffscreenCanvas(w, h);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

export class Pipeline {
  // Load the data and both networks; `parser` is dicom-parser, `report` gets the number of steps that are done.
  static async open(base, parser, { threads = true, report = () => {} } = {}) {
    const self = new Pipeline();
    const data = JSON.parse(new TextDecoder().decode(await fetchFile(new URL("model.json", base))));
    const arrays = arraysOf(await fetchFile(new URL(data.arrays.file, base)), data.arrays.layout);
    report(1);
    self.runtime = await startRuntime(base, { threads });
    report(2);
    self.model = await Network.load(base, data.contract.model);
    self.view = await Network.load(base, data.contract.view);
    report(3);
    const { mean, scale, centroids, w, b, template } = arrays;
    self.ood = mean ? { mean, scale, centroids, threshold: data.ood_threshold } : null;
    self.groups = w ? { w, b } : null;
    Object.assign(self, { data, card: data.card, rules: data.rules, template, parser });
    for (const network of [self.view, self.model]) await network.run(new Float32Array(network.size)); // the first runs are slow
    report(4);
    return self;
  }

  async decode(bytes) {
    const kind = kindOf(bytes);
    if (kind === "DICOM") return decodeDicom(bytes, this.parser, this.rules);
    return decodePicture(bytes, kind);
  }

  // The result of a file; `isPhoto` for a photo of a film or screen.
  async predict(file, { isPhoto = false, preview = true } = {}) {
    if (file.size > MAX_BYTES) throw new AppError("too_large", `${file.size} bytes`);
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (!bytes.length) throw unreadable("the file is empty");
    const times = { start: performance.now() };
    const image = await this.decode(bytes);
    times.decoded = performance.now();
    const small = smallImage(image);
    const { height, width } = this.data.input;
    const isSmall = height === small.height && width === small.width;
    const prepared = modelInput(isSmall ? small : resized(image, width, height), this.data.input);
    const viewed = viewInput(small);
    times.prepared = performance.now();
    const p = (await this.view.run(viewed)).probability.values;
    const outputs = await this.model.run(prepared);
    times.ran = performance.now();
    const view = Object.fromEntries(this.rules.views.map((name, i) => [name, p[i]]));
    const header = { ...(image.header ?? {}), years: ageInYears(image.header?.age) };
    const embedding = outputs.embedding?.values;
    const { metrics, reasons } = assess(
      image,
      qualityMetrics(image, small, view, this.template),
      oodScore(embedding, this.ood),
      outputs.lungs ?? null,
      this.rules,
      headerReasons(header, this.rules),
    );
    const group = patientGroup(outputs.finding_embedding?.values ?? embedding, this.groups, header);
    const result = decide(this.card, this.rules, { outputs, reasons, group, isPhoto: isPhoto || Boolean(image.isPhoto) });
    const seconds = {
      decode: (times.decoded - times.start) / 1000,
      prepare: (times.prepared - times.decoded) / 1000,
      networks: (times.ran - times.prepared) / 1000,
      all: (performance.now() - times.start) / 1000,
    };
    const size = { width: image.width, height: image.height };
    return { ...result, metrics, seconds, size, preview: preview ? await previewOf(image) : null };
  }
}
