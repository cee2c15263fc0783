// The page: start, files, results and history. All computing happens in the worker.
import { answer, cellsOf, csvOf, download, make, shortText } from "./answer.js";
import { Client } from "./client.js";
import { draw } from "./draw.js";
import * as history from "./history.js";
import { storeApp, usesThreads } from "./offline.js";
import { language, setLanguage, setTexts, word } from "./words.js";

const $ = (selector) => document.querySelector(selector);
const STEPS = 4; // of the worker's start
const VERSION = document.documentElement.dataset.version; // of the built app
const items = []; // one for each file: {number, name, time, result, error, preview}
let current = null;
let picture = null; // {item, bitmap} of the shown preview
let model = null;
let client = null;
let state = "loading"; // key of the text of the status line

function show(key, part = null) {
  state = key;
  $("#state").textContent = key ? word(key) : "";
  $("#bar").hidden = part === null;
  if (part !== null) $("#bar").value = part;
}

// --- results

async function bitmapOf(item) {
  if (picture?.item !== item) {
    picture?.bitmap.close();
    picture = null;
    const bitmap = await createImageBitmap(item.preview);
    if (picture) return picture.bitmap.close(), (picture = { item, bitmap }).bitmap;
    picture = { item, bitmap };
  }
  return picture.bitmap;
}

const mapName = () => document.querySelector("#maps input[name=map]:checked").value;

async function paint() {
  const item = current;
  const r = item?.result;
  const maps = ["opacity_map", "heatmap"].filter((name) => r?.[name]);
  $("#maps").hidden = !maps.length;
  for (const input of document.querySelectorAll("#maps input[name=map]")) {
    input.parentElement.hidden = !maps.includes(input.value) || maps.length < 2;
    if (input.checked && maps.length && !maps.includes(input.value)) document.querySelector(`#maps [value=${maps[0]}]`).checked = true;
  }
  $("#picture").hidden = !r?.preview;
  const name = maps.length ? mapName() : null;
  $("#about-map").hidden = !name;
  $("#about-map").textContent = name ? word(name === "opacity_map" ? "opacity_maps" : "maps") : "";
  if (!r?.preview) return;
  const bitmap = await bitmapOf(item);
  if (item !== current) return;
  const lungs = name === "opacity_map" ? r.lungs : null;
  draw($("#picture"), bitmap, name ? r[name] : null, lungs, Number($("#opacity").value) / 100);
  $("#picture").setAttribute("aria-label", `${word(name ? "viewer" : "image")}: ${item.name}`);
}

function select(item) {
  current = item;
  $("#case").hidden = !item;
  if (item) {
    $("#case-title").textContent = item.name;
    $("#answer").replaceChildren(...answer(item, model));
  }
  list();
  return paint();
}

function list() {
  $("#all").hidden = !items.length;
  $("#list").replaceChildren(
    ...items.map((item) => {
      const button = make("button", { onclick: () => select(item) }, item.name, make("span", { textContent: shortText(item) }));
      if (item === current) button.setAttribute("aria-current", "true");
      return make("li", {}, button);
    }),
  );
}

// --- files

async function work(item, isPhoto) {
  try {
    const result = await client.ask("predict", { file: item.file, options: { isPhoto } });
    item.result = result;
    item.preview = result.preview;
  } catch (error) {
    item.error = error;
  }
  item.file = null; // the page doesn't need it any more
  if (!items.includes(item)) return; // cleared in the meantime
  await history.add(cellsOf(item, model));
  if (item === current) await select(item);
  else list();
  progress();
}

function progress() {
  const done = items.filter((item) => item.result || item.error).length;
  const isReady = done === items.length;
  show(isReady ? "" : "progress", isReady ? null : done / items.length);
  if (!isReady) $("#state").textContent = word("progress", { done, all: items.length });
  if (isReady) showKept();
}

function add(files, isPhoto) {
  const fresh = [...files].map((file) => ({
    file,
    name: file.name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd"),
    time: new Date().toISOString(),
    result: null,
    error: null,
  }));
  if (!fresh.length) return;
  items.push(...fresh);
  select(fresh[0]);
  progress();
  for (const item of fresh) work(item, isPhoto);
}

function connect() {
  const pick = (button, input, isPhoto) => {
    $(button).onclick = () => $(input).click();
    $(input).onchange = () => {
      const files = [...$(input).files];
      $(input).value = ""; // the same file can be chosen again
      add(files, isPhoto);
    };
  };
  pick("#open", "#files", false);
  pick("#camera", "#photo", true);
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    add(event.dataTransfer?.files ?? [], false);
  });
  $("#maps").oninput = () => paint();
  $("#clear").onclick = () => {
    items.length = 0;
    select(null);
    show("");
  };
  $("#csv").onclick = () => download("results.csv", csvOf(items.map((item) => cellsOf(item, model))));
}

// --- history and language

async function showKept() {
  const n = history.isKept() ? await history.count() : 0;
  $("#kept").textContent = history.isKept() ? word("kept", { n }) : "";
}

function connectHistory() {
  $("#keep").checked = history.isKept();
  $("#keep").onchange = async () => {
    const isPermitted = await history.setKept($("#keep").checked);
    $("#no-storage").hidden = isPermitted;
    if (!isPermitted) $("#keep").checked = false;
    showKept();
  };
  $("#history-csv").onclick = async () => download("history.csv", csvOf(await history.all()));
  $("#history-clear").onclick = async () => {
    await history.clear();
    showKept();
  };
}

function remembered(value) {
  try {
    if (value) localStorage.setItem("pneumonia-lang", value);
    return localStorage.getItem("pneumonia-lang");
  } catch {
    return null; // the browser permits no storage
  }
}

function speak(to) {
  setLanguage(to);
  $("#lang").value = language();
  if (model) $("#model").textContent = `${model.name} ${model.id} · ${word("version", { v: model.version })}`;
  if (state) $("#state").textContent = word(state);
  if (current) select(current);
  else list();
  showKept();
}

// --- start

async function start() {
  const base = new URL(".", location.href);
  setTexts(await (await fetch(new URL("texts.json", base))).json());
  speak(remembered() ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
  $("#lang").onchange = () => speak(remembered($("#lang").value) ?? $("#lang").value);
  show("storing", 0);
  const offerUpdate = (activate) => {
    $("#update").hidden = false;
    $("#reload").onclick = activate;
  };
  const isStored = await storeApp((part) => show("storing", part), offerUpdate);
  show("starting", 0);
  client = new Client((done) => show("starting", done / STEPS));
  model = await client.ask("open", { threads: usesThreads() });
  if (isStored && model.version !== VERSION) return location.reload(); // the page itself is of an older version
  speak(language());
  connect();
  connectHistory();
  $("#choose").hidden = false;
  show(isStored ? "ready" : "ready_online");
  document.documentElement.dataset.ready = isStored ? "offline" : "online";
}

start().catch((error) => {
  show("not_started");
  $("#state").append(` ${error?.reason ?? error?.message ?? ""}`);
  document.documentElement.dataset.ready = "failed";
});

// For measurements and tests from outside of the page.
globalThis.pneumonia = { ask: (kind, more) => client.ask(kind, more), items };
