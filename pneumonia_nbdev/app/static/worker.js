// The worker: all computing happens here, so that the page stays responsive.
// It is a classic script, because the scripts of the runtime and of dicom-parser are.
importScripts("vendor/dicomParser.min.js");

let pipeline = null;

const jobs = {
  // load data, runtime and networks
  open: async ({ threads }) => {
    const { Pipeline } = await import("./pipeline.js");
    const report = (done) => postMessage({ progress: done });
    pipeline = await Pipeline.open(self.location.href, self.dicomParser, { threads, report });
    const { texts, version, name, id, card } = pipeline.data;
    return { texts, version, name, id, coverage: card.conformal?.coverage ?? null, ...pipeline.runtime };
  },
  predict: ({ file, options }) => pipeline.predict(file, options),
  // seconds of the bare networks, for measurements
  time: async ({ rounds }) => {
    const seconds = { model: [], view: [] };
    for (let i = 0; i < rounds; i++) {
      for (const name of ["model", "view"]) {
        const input = new Float32Array(pipeline[name].size).fill(0.5);
        const start = performance.now();
        await pipeline[name].run(input);
        seconds[name].push((performance.now() - start) / 1000);
      }
    }
    return seconds;
  },
};

let last = Promise.resolve();

// One job at a time, in order.
onmessage = ({ data: { number, kind, ...more } }) => {
  last = last.then(async () => {
    try {
      postMessage({ number, result: await jobs[kind](more) });
    } catch (error) {
      const code = error.code && typeof error.code === "string" ? error.code : "error";
      postMessage({ number, error: { code, reason: error.reason ?? String(error.message ?? error) } });
    }
  });
};
