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
  // seconds of the bare network, for measurements
  time: async ({ rounds }) => {
    const { height, width, channels } = pipeline.data.input;
    const input = new Float32Array(height * width * channels).fill(0.5);
    const seconds = [];
    for (let i = 0; i < rounds; i++) {
      const start = performance.now();
      await pipeline.model.run(input);
      seconds.push((performance.now() - start) / 1000);
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
