// The service worker: it stores the files of one version of the app, so that the app works without a network.

const MOST = 180_000; // milliseconds that the first visit waits for the files

// Relaxed SIMD is part of the build with threads; this module has one of its instructions.
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
  253, 128, 2, 11,
];

// Whether this browser can run the build with threads.
const hasThreads = () =>
  Boolean(globalThis.crossOriginIsolated) && WebAssembly.validate(new Uint8Array(RELAXED_SIMD));

// Threads for this page: the stored files must be those of the build with threads.
export const usesThreads = () => hasThreads() && !navigator.serviceWorker?.controller?.scriptURL.endsWith("threads=0");

// Wait until the service worker has stored the app and answers this page.
// Returns false where the browser doesn't permit it; then the app runs with a network only.
export async function storeApp(onProgress, onUpdate) {
  if (!navigator.serviceWorker) return false;
  const service = navigator.serviceWorker;
  service.addEventListener("message", ({ data }) => data?.stored && onProgress(data.stored));
  const isFirst = !service.controller;
  try {
    const name = `sw.js?threads=${Number(hasThreads())}`;
    const registration = await service.register(name, { updateViaCache: "none" });
    watch(registration, onUpdate);
    return isFirst ? await controlled(service, registration) : true;
  } catch {
    return Boolean(service.controller);
  }
}

function controlled(service, registration) {
  return new Promise((done) => {
    const finish = () => done(Boolean(service.controller));
    if (service.controller) return finish();
    service.addEventListener("controllerchange", finish, { once: true });
    const worker = registration.installing ?? registration.waiting;
    worker?.addEventListener("statechange", () => worker.state === "redundant" && done(false));
    setTimeout(finish, MOST);
  });
}

// Call `onUpdate` with a function that starts the new version, when its files are complete.
function watch(registration, onUpdate) {
  const service = navigator.serviceWorker;
  const offer = (worker) => {
    if (!worker || !service.controller) return;
    onUpdate(() => {
      service.addEventListener("controllerchange", () => location.reload(), { once: true });
      worker.postMessage("activate");
    });
  };
  offer(registration.waiting);
  registration.addEventListener("updatefound", () => {
    const worker = registration.installing;
    worker.addEventListener("statechange", () => worker.state === "installed" && offer(worker));
  });
}
