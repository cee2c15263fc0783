// Results on this device in IndexedDB, without images; nothing is stored unless the user has switched it on.

const NAME = "pneumonia-history";
const MOST = 10_000; // results; the oldest ones are deleted
const SWITCH = "pneumonia-keep";

function open() {
  return new Promise((done, fail) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore("results", { autoIncrement: true });
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });
}

// Run an action on the store of results; the result is that of its request.
async function run(mode, action) {
  const database = await open();
  try {
    const transaction = database.transaction("results", mode);
    const request = action(transaction.objectStore("results"));
    return await new Promise((done, fail) => {
      transaction.oncomplete = () => done(request.result);
      transaction.onerror = transaction.onabort = () => fail(transaction.error);
    });
  } finally {
    database.close();
  }
}

export function isKept() {
  try {
    return localStorage.getItem(SWITCH) === "1";
  } catch {
    return false;
  }
}

// Switch the history on or off; false if the browser doesn't permit storage.
export async function setKept(on) {
  try {
    if (on) await run("readonly", (store) => store.count());
    localStorage.setItem(SWITCH, on ? "1" : "0");
    return true;
  } catch {
    return false;
  }
}

export const all = () => run("readonly", (store) => store.getAll()).catch(() => []);
export const count = () => run("readonly", (store) => store.count()).catch(() => 0);
export const clear = () => run("readwrite", (store) => store.clear()).catch(() => {});

// Add a row, and delete the oldest ones above the limit.
export async function add(row) {
  if (!isKept()) return;
  try {
    await run("readwrite", (store) => store.add(row));
    const surplus = (await count()) - MOST;
    if (surplus <= 0) return;
    const keys = await run("readonly", (store) => store.getAllKeys(null, surplus));
    await run("readwrite", (store) => store.delete(IDBKeyRange.bound(keys[0], keys.at(-1))));
  } catch {
    // the result is on the page; only the history lacks it
  }
}
