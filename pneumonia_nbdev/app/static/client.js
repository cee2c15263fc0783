// The page's side of the worker: jobs with answers, one after the other.
export class Client {
  constructor(onProgress) {
    this.waiting = new Map();
    this.number = 0;
    this.worker = new Worker("worker.js");
    this.worker.onmessage = ({ data }) => {
      if (data.progress) return onProgress(data.progress);
      const job = this.waiting.get(data.number);
      this.waiting.delete(data.number);
      if (data.error) job.fail(data.error);
      else job.done(data.result);
    };
    this.worker.onerror = (event) => {
      // the worker could not be loaded, or has ended
      for (const job of this.waiting.values()) job.fail({ code: "error", reason: event.message ?? "" });
      this.waiting.clear();
    };
  }

  // Run a job of the worker; an error is an object with `code` and `reason`.
  ask(kind, more = {}) {
    return new Promise((done, fail) => {
      const number = this.number++;
      this.waiting.set(number, { done, fail });
      this.worker.postMessage({ number, kind, ...more });
    });
  }
}
