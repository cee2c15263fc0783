// The networks in LiteRT.js: loading, and one run for one image.
import { loadAndCompile, loadLiteRt, supportsFeature, Tensor } from "./vendor/litert.js";

// LiteRT.js compares data with `GPUBuffer`, which browsers without WebGPU don't define.
globalThis.GPUBuffer ??= class GPUBuffer {};

// A file of the app; the built app has its large files compressed with gzip, so that any web server can send them.
export async function fetchFile(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes; // a server has sent it decompressed
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Start the runtime: with threads where the page is isolated, else the build for all browsers.
export async function startRuntime(base, { threads }) {
  const isThreaded = threads && globalThis.crossOriginIsolated && (await supportsFeature("relaxedSimd"));
  const name = isThreaded ? "litert_wasm_threaded_internal" : "litert_wasm_compat_internal";
  const script = new URL(`vendor/${name}.js`, base).href;
  const wasmBinary = await fetchFile(new URL(`vendor/${name}.wasm.pack`, base));
  // the runtime writes its notes to standard error
  const printErr = (line) => /^(INFO|WARNING)/.test(line) || console.error(line);
  globalThis.Module = { wasmBinary: wasmBinary.buffer, mainScriptUrlOrBlob: script, printErr };
  await loadLiteRt(script);
  return { threads: isThreaded ? navigator.hardwareConcurrency : 1 };
}

// A network by its contract: {file, input, outputs}, each tensor with name, shape, type, scale and zero point.
export class Network {
  constructor(model, contract) {
    this.model = model;
    this.contract = contract;
    this.size = contract.input.shape.reduce((a, b) => a * b, 1); // numbers of the input
  }

  static async load(base, contract) {
    const model = await loadAndCompile(await fetchFile(new URL(contract.file, base)), { accelerator: "wasm" });
    return new Network(model, contract);
  }

  // The outputs by name: {values, rows, columns}; a vector has one row.
  async run(values) {
    const { input, outputs } = this.contract;
    const tensor = new Tensor(quantized(values, input), input.shape);
    const results = await this.model.run({ [input.name]: tensor });
    tensor.delete();
    const found = {};
    for (const details of outputs) {
      const result = results[details.name];
      const [rows, columns] = details.shape.length === 3 ? details.shape.slice(1) : [1, details.shape.at(-1)];
      found[details.name] = { values: dequantized(result.toTypedArray(), details), rows, columns };
    }
    for (const result of Object.values(results)) result.delete();
    return found;
  }
}

const LIMITS = { uint8: [0, 255, Uint8Array], int8: [-128, 127, Int8Array] };

function quantized(values, { type, scale, zero_point }) {
  if (!scale) return values;
  const [low, high, Kind] = LIMITS[type];
  return Kind.from(values, (v) => Math.min(high, Math.max(low, Math.round(v / scale + zero_point))));
}

function dequantized(values, { scale, zero_point }) {
  return scale ? Float32Array.from(values, (v) => (v - zero_point) * scale) : values;
}
