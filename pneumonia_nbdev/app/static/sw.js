// Service worker of the app. The build writes the two constants: the version, and the files with their hashes.
// All files of a version are in one cache. A file with another hash isn't stored, so versions can't be mixed.
const VERSION = "";
const FILES = {};

const OF_THREADS = /litert_wasm_(threaded|compat)_/;
const usesThreads = new URL(self.location.href).searchParams.get("threads") === "1";
const PREFIX = `pneumonia ${self.registration.scope} `;
const CACHE = `${PREFIX}${VERSION} ${Number(usesThreads)}`;
const isUsed = (name) => !OF_THREADS.test(name) || name.includes(usesThreads ? "threaded" : "compat");
const NAMES = Object.keys(FILES).filter(isUsed);

async function hashOf(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (v) => v.toString(16).padStart(2, "0")).join("");
}

// Fetch one file past the browser's cache, and check its hash.
async function fetchChecked(name) {
  const response = await fetch(new URL(name, self.registration.scope), { cache: "no-store" });
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  const bytes = await response.arrayBuffer();
  if ((await hashOf(bytes)) !== FILES[name].sha256) throw new Error(`${name}: another version`);
  return new Response(bytes, { headers: response.headers });
}

async function announce(stored) {
  for (const client of await self.clients.matchAll({ includeUncontrolled: true })) client.postMessage({ stored });
}

async function install() {
  const cache = await caches.open(CACHE);
  const total = NAMES.reduce((n, name) => n + FILES[name].bytes, 0);
  let done = 0;
  try {
    for (const name of NAMES) {
      await cache.put(new URL(name, self.registration.scope), await fetchChecked(name));
      done += FILES[name].bytes;
      await announce(done / total);
    }
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
}

async function activate() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
  await self.clients.claim();
}

// The page gets files of this version only; all other requests fail, so nothing leaves the device.
async function answer(request) {
  const url = new URL(request.url);
  url.search = "";
  url.hash = "";
  if (url.href === self.registration.scope) url.pathname += "index.html";
  const found = request.method === "GET" && (await (await caches.open(CACHE)).match(url.href));
  return found || Response.error();
}

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("message", (event) => event.data === "activate" && self.skipWaiting());
self.addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
