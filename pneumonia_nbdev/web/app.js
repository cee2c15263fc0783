import {
  bar,
  choices,
  columns,
  csvCells,
  findingOf,
  findingsBox,
  labelOf,
  mapKey,
  setEntries,
  stateOf,
  stateText,
  summary,
} from "./findings.js";
import { setLanguage, word, language, LANGS } from "./words.js";
import { startWorklist, translateWorklist } from "./worklist.js";

const $ = (s) => document.querySelector(s);
const make = (tag, props = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
};
const store = (k, v) => {
  try {
    if (v === undefined) return localStorage.getItem(k);
    localStorage.setItem(k, v);
  } catch {
    return null;
  }
};
const reader = {
  name: "",
  get: () => {
    try {
      return sessionStorage.getItem("reader") ?? reader.name;
    } catch {
      return reader.name;
    }
  },
  set: (v) => {
    reader.name = v;
    try {
      sessionStorage.setItem("reader", v);
    } catch {
      /* kept until the page is closed */
    }
  },
};
const items = []; // one for each file: {id, file, name, url, state, part, result, error}
let counter = 0;
let run = 0;
let current = null;
let order = { by: null, down: false };
let codes = null;
let card = null;
let limits = { body: 2 ** 27, files: 200 };
let keeps = false;
let named = false; // the name of the reader comes from the key
let key = "";
let stopped = false;
let active = 0;
const DEFAULT_MAP = "opacity_map";
const view = { zoom: 1, x: 0, y: 0, side: false, map: DEFAULT_MAP, finding: null, experimental: false };

// ---------------------------------------------------------------- requests

const headers = () => ({ "Accept-Language": language(), ...(key && { "X-API-Key": key }) });

// the path of a proxy before the addresses of the server, such as "/xray"; "" without one
const ROOT = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

async function call(path, how = {}) {
  const answer = await fetch(ROOT + path, { ...how, headers: headers() });
  if (answer.status !== 401) return answer;
  const isReview = named && path.startsWith("/review");
  const entered = await askKey(isReview ? "reader_key" : "wrong_key");
  return entered || !isReview ? call(path, how) : answer; // without a reader's key, the page stays usable
}

async function get(path) {
  const answer = await call(path);
  if (!answer.ok) throw new Error(path);
  return answer;
}

let asking = null;
function askKey(reason = "wrong_key") {
  // one dialog for all requests; shows why the last key wasn't accepted
  $("#wrong").hidden = !key;
  $("#wrong").dataset.t = reason;
  $("#wrong").textContent = word(reason);
  asking ??= new Promise((done) => {
    const dialog = $("#key");
    dialog.addEventListener(
      "close",
      () => {
        const entered = dialog.returnValue === "enter"; // not if the dialog was closed by Escape
        if (entered) key = $("#key-value").value;
        asking = null;
        done(entered);
      },
      { once: true },
    );
    dialog.returnValue = "";
    dialog.showModal();
  });
  return asking;
}

// Formats that browsers display like the detector, by their first bytes. For all others (more than 8 bits, DICOM …) the server sends a preview.
async function shows(file) {
  const b = new Uint8Array(await file.slice(0, 32).arrayBuffer()),
    text = String.fromCharCode(...b);
  return (
    text.startsWith("\xff\xd8\xff") || (text.startsWith("\x89PNG") && b[24] === 8) || text.startsWith("BM")
  );
}

// One request with a few files. The progress is that of the upload, then one line of the response for each file.
function send(batch) {
  return new Promise((done) => {
    const request = new XMLHttpRequest(),
      form = new FormData();
    let seen = 0,
      next = 0;
    for (const i of batch) {
      form.append("files", i.file, i.name);
      i.state = "sending";
      i.part = 0;
    }
    const read = (end) => {
      if (request.status !== 200) return;
      const lines = request.responseText.slice(seen).split("\n");
      for (const line of lines.slice(0, -1)) {
        seen += line.length + 1;
        settle(batch[next++], JSON.parse(line));
      }
      if (end) batch.slice(next).forEach((i) => fail(i, "network"));
    };
    request.upload.onprogress = (e) => {
      let before = 0;
      const share = (e.loaded / e.total) * batch.reduce((n, i) => n + i.file.size, 0);
      for (const i of batch) {
        i.part = Math.min(1, Math.max(0, (share - before) / (i.file.size || 1)));
        i.state = i.part < 1 ? "sending" : "judging";
        before += i.file.size;
        draw(i);
      }
    };
    request.onprogress = () => read(false);
    request.onload = () => {
      read(true);
      done(request);
    };
    request.onerror = request.onabort = () => {
      batch.slice(next).forEach((i) => fail(i, stopped ? "stopped" : "network"));
      done(null);
    };
    request.open("POST", ROOT + "/batch_predict?findings=all" + (batch.some((i) => !i.shown) ? "&preview=1" : ""));
    for (const [k, v] of Object.entries({ ...headers(), Accept: "application/x-ndjson" }))
      request.setRequestHeader(k, v);
    requests.add(request);
    request.onloadend = () => requests.delete(request);
    request.send(form);
  });
}
const requests = new Set();

async function sendPatiently(batch, mine) {
  // retries for two minutes if the server is busy; "Stop" and "Clear" end the run
  for (let attempt = 0; mine === run; attempt++) {
    const request = await send(batch);
    if (!request || request.status === 200 || mine !== run) return;
    if (request.status === 401) {
      await askKey();
      continue;
    }
    if ([429, 503].includes(request.status) && attempt < 60) {
      await new Promise((r) => setTimeout(r, 1000 * (request.getResponseHeader("Retry-After") || 2)));
      continue;
    }
    let error;
    try {
      error = JSON.parse(request.responseText);
    } catch {
      error = { code: "network" };
    }
    return batch.forEach((i) => fail(i, error.code, error.reason));
  }
  batch.forEach((i) => fail(i, "stopped"));
}

async function work() {
  // two requests at a time: one is processed while the other is uploaded
  if (active >= 2) return;
  active++;
  for (let batch; (batch = take()).length;) await sendPatiently(batch, run);
  active--;
  if (!active) finished();
}

function take() {
  const waiting = items.filter((i) => i.state === "waiting"),
    batch = [];
  let size = 0;
  for (const i of waiting) {
    if (
      batch.length >= 8 ||
      (batch.length && (size + i.file.size > limits.body / 4 || i.shown !== batch[0].shown))
    )
      break;
    batch.push(i);
    size += i.file.size;
    i.state = "sending";
  }
  return batch;
}

const settle = (i, line) =>
  line.error
    ? fail(i, line.error.code, line.error.reason)
    : (Object.assign(i, { state: "done", result: line }),
      line.preview && (i.url = line.preview),
      draw(i),
      progress(),
      i === current && show(i));
function fail(i, code, reason = "") {
  Object.assign(i, { state: "failed", error: { code, reason } });
  draw(i);
  progress();
  if (i === current) show(i);
}

// ---------------------------------------------------------------- adding files

async function add(files) {
  const fresh = [],
    mine = run;
  const looks = await Promise.all(files.map((f) => shows(f).catch(() => null))); // a folder cannot be read
  if (mine !== run) return; // cleared in the meantime
  for (const [k, file] of files.entries()) {
    const shown = looks[k];
    const name = file.name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd"); // as `clean_name` of the package
    const i = { id: counter++, file, name, state: "waiting", part: 0, shown };
    if (i.shown) i.url = URL.createObjectURL(file);
    if (shown === null) Object.assign(i, { state: "failed", error: { code: "folder", reason: "" } });
    else if (file.size > limits.body - 100000)
      Object.assign(i, { state: "failed", error: { code: "body_too_large", reason: "" } });
    items.push(i);
    fresh.push(i);
  }
  if (!fresh.length) return;
  stopped = false;
  table();
  show(fresh[0]);
  progress();
  work();
  work();
}

async function tryout(sample) {
  const answer = await get(`/samples/${encodeURIComponent(sample.name)}`);
  add([new File([await answer.blob()], sample.name, { type: "image/jpeg" })]);
}

// ---------------------------------------------------------------- results

const sentence = (kind, code) => codes?.[kind]?.[code]?.[language()];
const wrong = (e) =>
  (sentence("errors", e.code) ??
    (["network", "stopped", "folder"].includes(e.code) ? word(e.code) : word("error"))) +
  (e.reason ? ` (${e.reason})` : "");
const prob = (p) => (p > 0.999 ? "> 0.999" : p < 0.001 ? "< 0.001" : p.toFixed(3));
const isDone = (i) => i.state === "done",
  assessed = (i) => isDone(i) && i.result.class !== null,
  unassessed = (i) => isDone(i) && i.result.class === null, // no class: no probability, no bar and no map
  unsure = (i) => isDone(i) && !!i.result.conformal?.refer,
  refers = (i) => isDone(i) && i.result.refer,
  flagged = (i) => assessed(i) && !i.result.quality.ok;
const GROUPS = ["not_assessed", "refer", "group_assessed", "group_failed"]; // of the printed report, in order
const groupOf = (i) =>
  !i.result ? "group_failed" : unassessed(i) ? "not_assessed" : refers(i) ? "refer" : "group_assessed";
const findings = (r) =>
  // sentences of the quality checks; the one that rules out a class is first
  r.quality.reasons
    .map((c, k) => [c !== r.reason, sentence("quality", c) ?? r.quality.messages[k]])
    .sort(([a], [b]) => a - b)
    .map(([, text]) => text);
const literally = (s) => s.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
function ofCard(text) {
  // a sentence of the model card in the language of the page; `{n}` is any number
  const translated = Object.entries(codes?.card ?? {}).reduce(
    (t, [en, words]) =>
      t.replace(
        new RegExp(literally(en).replace("\\{n\\}", "(\\d+)"), "g"),
        words[language()].replace("{n}", "$1"),
      ),
    text,
  );
  return language() === "en" || translated === text
    ? translated
    : translated.replaceAll(", ", "，").replaceAll("; ", "；");
}

function meter(r, labelled) {
  const m = make("div", { className: `meter ${r.class}` }),
    fill = make("span"),
    tick = make("i"),
    p = r.probabilities.PNEUMONIA,
    t = r.threshold;
  fill.style.width = `${100 * p}%`;
  tick.style.left = `${100 * t}%`;
  m.append(fill, tick);
  if (labelled) {
    const text = make("b", {
      textContent: word("point", { t: t.toFixed(3) }),
      className: t < 0.2 ? "left" : t > 0.8 ? "right" : "",
    });
    text.style.left = `${100 * t}%`;
    m.append(text);
  }
  m.setAttribute("role", "img");
  m.setAttribute("aria-label", `${word("probability")} ${prob(p)}, ${word("point", { t: t.toFixed(3) })}`);
  return m;
}

function answer(i, printed = false) {
  // the result card
  const r = i.result,
    out = [];
  if (!r) {
    const text = make("p", {
      className: `word ${i.state}`,
      textContent: i.error ? wrong(i.error) : word(i.state),
    });
    const more = i.error
      ? make("p", { className: "small", textContent: i.error.code })
      : make("progress", { value: i.part, max: 1, ariaLabel: word(i.state) });
    if (["network", "stopped", "busy", "late", "stopping"].includes(i.error?.code))
      out.push(
        make("button", {
          textContent: word("retry"),
          onclick: () => {
            i.state = "waiting";
            i.error = null;
            stopped = false;
            draw(i);
            show(i);
            progress();
            work();
          },
        }),
      );
    return [text, more, ...out];
  }
  const list = make("ul", {}, ...findings(r).map((textContent) => make("li", { textContent })));
  if (flagged(i)) out.push(make("div", { className: "box" }, word("warnings"), list));
  out.push(
    make("p", {
      className: `word ${r.class ?? "unassessed"}`,
      textContent: word(r.class ?? "not_assessed"),
    }),
  );
  if (unassessed(i)) out.push(list, make("p", { className: "small", textContent: word("why_no_class") }));
  if (refers(i))
    out.push(
      make(
        "div",
        { className: "box" },
        make("strong", { textContent: word("refer") }),
        ...(unsure(i) ? [make("br"), word("why_refer", { c: Math.round(100 * r.conformal.coverage) })] : []),
      ),
    );
  if (assessed(i))
    out.push(
      make(
        "p",
        {},
        word("probability") + " ",
        make("strong", { textContent: prob(r.probabilities.PNEUMONIA) }),
      ),
      meter(r, true),
      ...findingsBox(i, prob, { ...chips(i), printed }),
    );
  if (r.quality.ok)
    out.push(make("p", { className: "small", textContent: `${word("quality")}: ${word("good")}` }));
  for (const [name, reason] of Object.entries((assessed(i) && r.unavailable) || {}))
    out.push(make("p", { className: "small", textContent: word(`no_${name}`), title: reason }));
  if (r.heatmap && !r.heatmap.flat().some((v) => v > 0))
    out.push(make("p", { className: "small", textContent: word("no_map") }));
  if (keeps) out.push(review(i));
  const rows = {
    model: `${r.model.name} ${r.model.id} · ${ofCard(r.model.backbone)}`,
    ...(assessed(i) && r.group && { group: `${word(`for_${r.group}`)} (${word(`by_${r.group_source}`)})` }),
    ...(assessed(i) && { rule: ofCard(r.threshold_rule) }),
    time: word("seconds", { s: (r.seconds.waited + r.seconds.judged).toFixed(2) }),
  };
  out.push(
    make(
      "dl",
      {},
      ...Object.entries(rows).flatMap(([k, v]) => [
        make("dt", { textContent: word(k) }),
        make("dd", { textContent: v }),
      ]),
    ),
  );
  out.push(make("p", { className: "notice", textContent: word("notice") }));
  return out;
}

// ---------------------------------------------------------------- reviews

async function keep(i, label) {
  // sends the file without its name
  const form = new FormData(),
    was = i.review ?? {};
  form.append("file", i.file, "image");
  form.append("patient", i.patient ?? "");
  if (label) {
    form.append("label", label);
    form.append("comment", i.comment ?? "");
    if (!named) form.append("reader", reader.get());
  }
  i.review = { ...was, busy: true, error: null };
  try {
    const answer = await call("/review", { method: "POST", body: form }),
      found = await answer.json();
    if (!answer.ok) throw found;
    if (label) i.comment = "";
    const given = found.new ? [] : (was.given ?? []);
    i.review = {
      ...found,
      label: label || was.label,
      mine: was.mine || found.new,
      given: label ? [...given, { label, number: found.number }] : given,
    };
  } catch (e) {
    i.review = { ...was, error: e.code ? e : { code: "network" } };
  }
}

async function unkeep(i) {
  // deletes the last review of this page, or the case if it has no review
  const was = i.review,
    last = was.given.at(-1),
    left = was.given.slice(0, -1);
  i.review = { ...was, busy: true, error: null };
  try {
    const answer = await call(`/review/${was.id}${last ? `?number=${last.number}` : ""}`, {
      method: "DELETE",
    });
    if (!answer.ok && answer.status !== 404) throw await answer.json();
    const gone = !last || (answer.ok && (await answer.json()).whole);
    i.review =
      left.length && !gone
        ? { ...was, given: left, label: left.at(-1).label, reviews: was.reviews - 1, undone: "taken_back" }
        : { undone: gone ? "undone" : "taken_back" };
  } catch (e) {
    i.review = { ...was, error: e.code ? e : { code: "network" } };
  }
}

function review(i) {
  // the buttons below a result, if the server stores reviews
  const box = make("fieldset", { className: "review" }, make("legend", { textContent: word("reading") })),
    message = make("p", { className: "message" });
  const field = (value, most, hint, oninput) =>
    make("input", {
      type: "text",
      maxLength: most,
      value,
      placeholder: word(hint),
      autocomplete: "off",
      oninput: (e) => oninput(e.target.value),
    });
  const comment = field(i.comment ?? "", 2000, "no_names", (v) => (i.comment = v)),
    name = field(reader.get(), 80, "optional", reader.set),
    patient = field(i.patient ?? "", 200, "optional", (v) => (i.patient = v));
  patient.setAttribute("aria-describedby", "pseudonym");
  const buttons = ["NORMAL", "PNEUMONIA", "UNSURE", ""].map((label) =>
    make("button", {
      type: "button",
      textContent: word(label || "later"),
      onclick: () => act(() => keep(i, label)),
    }),
  );
  const undo = make("button", {
    type: "button",
    textContent: word("undo"),
    onclick: async () => {
      await act(() => unkeep(i));
      buttons[0].focus();
    },
  });
  const act = async (what) => {
    if (i.review?.busy) return;
    const doing = what();
    draw();
    await doing;
    comment.value = i.comment ?? "";
    draw();
    $("#live").textContent = text();
  };
  const text = () => {
    const s = i.review ?? {};
    return s.busy
      ? word("saving")
      : s.error
        ? `${word("not_saved")} ${wrong(s.error)}`
        : s.undone
          ? word(s.undone)
          : s.id
            ? word("saved") + s.warnings.map(word).join("")
            : "";
  };
  const draw = () => {
    const s = i.review ?? {};
    buttons
      .slice(0, 3)
      .forEach((b, k) => b.setAttribute("aria-pressed", s.label === ["NORMAL", "PNEUMONIA", "UNSURE"][k]));
    buttons[3].hidden = !!s.id;
    box.setAttribute("aria-busy", !!s.busy);
    message.className = s.error
      ? "message failed"
      : s.id && s.warnings.length && !s.busy && !s.undone
        ? "message box"
        : "message";
    message.replaceChildren(text());
    message.hidden = !text();
    undo.hidden =
      !s.id || !!s.busy || !(s.given.length ? s.mine || s.reviews > s.given.length : s.mine && !s.reviews); // only for reviews of this page; a case that was stored before must not be deleted with its last review
  };
  draw();
  box.append(
    make("div", { className: "buttons" }, ...buttons),
    make(
      "div",
      { className: "fields" },
      ...[
        ["comment", comment],
        ...(named ? [] : [["reader", name]]),
        ["patient", patient],
      ].map(([k, e]) => make("label", {}, word(k), e)),
    ),
    make("div", { className: "outcome" }, message, undo),
    make(
      "p",
      { className: "small" },
      word("keeps"),
      make("span", { id: "pseudonym", textContent: word("pseudonym") }),
    ),
  );
  return box;
}

// The map over the image: the chosen one, or the first. Models without an opacity map have Grad-CAM alone.
const MAPS = [
  { key: "opacity_map", field: "opacity_png", name: "opacity_map", viewer: "opacity_viewer", about: "opacity_maps" },
  { key: "heatmap", field: "heatmap_png", name: "opacity", viewer: "viewer", about: "maps" },
];
const FINDING_MAP = { key: "finding", name: "finding_map", viewer: "finding_viewer", about: "finding_maps" };

function mapsOf(i) {
  // the maps of a result, and that of the chosen finding
  const r = i?.result;
  const maps = MAPS.filter((m) => r?.[m.field]).map((m) => ({ ...m, picture: r[m.field] }));
  const f = findingOf(i, view.finding);
  const hasOwn = f && mapKey(i, f) === "finding";
  return hasOwn ? [...maps, { ...FINDING_MAP, picture: f.heatmap_png, label: labelOf(f) }] : maps;
}

function mapOf(i) {
  const maps = mapsOf(i);
  return maps.find((m) => m.key === view.map) ?? maps[0];
}

function chips(i) {
  // what the chips of findings do: each shows its map over the image
  const isShown = (f) => {
    const key = mapOf(i)?.key;
    return key === mapKey(i, f) && (key !== "finding" || view.finding === f.name);
  };
  const choose = (f) => {
    const key = mapKey(i, f);
    view.map = isShown(f) ? DEFAULT_MAP : key;
    if (key === "finding") view.finding = f.name;
    show(i);
    $(`#answer [data-finding="${f.name}"]`)?.focus(); // the chips were drawn again
  };
  return { isShown, choose, isOpen: view.experimental, onOpen: (open) => (view.experimental = open) };
}

function chooseMap(i) {
  // the choice of the map: the maps that the result has
  const maps = mapsOf(i);
  $("#map").hidden = maps.length < 2;
  for (const input of document.querySelectorAll("#map input")) {
    const map = maps.find((m) => m.key === input.value);
    input.parentElement.hidden = !map;
    input.checked = mapOf(i)?.key === input.value;
    if (map?.label) input.nextElementSibling.textContent = map.label;
  }
}

function layers(i, heat) {
  // the image and the map over it
  const over = heat && mapOf(i),
    box = make("div", { className: "layers" }),
    img = make("img", {
      className: "xray",
      src: i.url,
      alt: `${word(over ? over.viewer : "image")}: ${i.name}`,
      draggable: false,
    });
  box.append(img);
  if (over) {
    const map = make("img", { className: "heat", src: over.picture, alt: "", draggable: false });
    map.style.opacity = $("#opacity").value / 100;
    box.append(map);
  }
  return box;
}

function show(i) {
  current = i;
  $("#case").hidden = !i;
  if (!i) return;
  $("#case-title").textContent = i.name;
  $("#answer").replaceChildren(...answer(i));
  const map = mapOf(i) ?? MAPS[1];
  const mapless = Boolean(i.result) && !mapOf(i); // no map, or no class
  for (const e of [$("#opacity").parentElement, $("#side"), $("#about-map")]) e.hidden = mapless;
  chooseMap(i);
  if (!mapless)
    for (const [selector, key] of [
      ["#opacity-name", map.name],
      ["#about-map", map.about],
    ]) {
      $(selector).dataset.t = key; // for a change of the language
      $(selector).textContent = word(key);
    }
  $("#stages").setAttribute("aria-label", word(mapless ? "image" : map.viewer));
  const stages = (view.side && !mapless ? [false, true] : [true]).map((heat) => {
    const stage = make("div", { className: "stage" });
    if (!i.url)
      return (
        stage.append(
          make("p", {
            className: "wait",
            textContent: i.state === "failed" ? wrong(i.error) : word("no_picture"),
          }),
        ),
        stage
      );
    const box = layers(i, heat);
    box.firstChild.onload = place;
    stage.append(box);
    return stage;
  });
  $("#stages").replaceChildren(...stages);
  for (const row of document.querySelectorAll("#all tbody tr")) mark(row, i);
  place();
}

function place() {
  // fit, zoom and move
  $("#stages").classList.toggle("zoomed", view.zoom > 1);
  for (const stage of document.querySelectorAll("#stages .stage")) {
    const box = stage.querySelector(".layers"),
      img = box?.querySelector(".xray");
    if (!img?.naturalWidth) continue;
    const fit =
      Math.min(stage.clientWidth / img.naturalWidth, stage.clientHeight / img.naturalHeight) * view.zoom;
    const [w, h] = [img.naturalWidth * fit, img.naturalHeight * fit];
    Object.assign(box.style, {
      width: `${w}px`,
      height: `${h}px`,
      transform: `translate(${-w / 2 + view.x}px, ${-h / 2 + view.y}px)`,
    });
  }
}

function zoom(by, x = 0, y = 0) {
  // around a point, relative to the centre
  const to = Math.min(12, Math.max(1, view.zoom * by)),
    k = to / view.zoom;
  Object.assign(view, {
    zoom: to,
    x: to === 1 ? 0 : x - (x - view.x) * k,
    y: to === 1 ? 0 : y - (y - view.y) * k,
  });
  place();
}

function move(x, y) {
  if (view.zoom > 1) {
    view.x += x;
    view.y += y;
    place();
  }
}

function grays() {
  // window and level, as a linear curve
  const slope = 100 / $("#window").value,
    intercept = 0.5 - (slope * $("#level").value) / 100;
  for (const f of document.querySelectorAll("#wl feFuncR, #wl feFuncG, #wl feFuncB")) {
    f.setAttribute("slope", slope);
    f.setAttribute("intercept", intercept);
  }
}

// ---------------------------------------------------------------- the table

const sorters = {
  name: (i) => i.name.toLowerCase(),
  verdict: (i) => (i.result ? (i.result.class ?? "") : "zz" + i.state), // without a class first
  p: (i) => (assessed(i) ? i.result.probabilities.PNEUMONIA : isDone(i) ? -1 : -2),
  finding: (i) => findingOf(i, $("#finding").value)?.probability ?? (isDone(i) ? -1 : -2),
  quality: (i) => (i.result ? i.result.quality.reasons.length : -1),
};

function findingCell(i) {
  // the column of the finding that is chosen above the table; none without a choice
  const name = $("#finding").value;
  if (!name) return [];
  const f = findingOf(i, name);
  if (!f) return [[]];
  const label = make("span", { className: "small narrow", textContent: `${labelOf(f)} ` });
  const state = make("span", { className: `small state ${stateOf(f)}`, textContent: stateText(f) });
  return [[label, prob(f.probability), bar(f), " ", state]];
}

function listFindings() {
  // the choices above the table, in the language of the page
  const found = choices();
  const chosen = $("#finding").value;
  const option = (f) => make("option", { value: f.name, textContent: f.label });
  const group = make("optgroup", { label: word("experimental") });
  group.append(...found.filter((f) => f.experimental).map(option));
  $("#finding").replaceChildren(
    make("option", { value: "", textContent: word("any_finding") }),
    ...found.filter((f) => !f.experimental).map(option),
    ...(group.childElementCount ? [group] : []),
  );
  $("#finding").value = chosen;
  $("#finding").parentElement.hidden = !found.length;
}

function chooseFinding() {
  // the column and the filter follow the chosen finding
  const chosen = $("#finding").value;
  const column = $("th[data-sort=finding]");
  column.hidden = !chosen;
  column.firstElementChild.textContent = $("#finding").selectedOptions[0]?.textContent ?? "";
  $("#state").parentElement.hidden = !chosen;
  if (!chosen) $("#state").value = "";
  if (!chosen && order.by === "finding") order = { by: null, down: false };
}

function hasState(i) {
  // whether the chosen finding of a file has the chosen state
  const wanted = $("#state").value;
  if (!wanted) return true;
  const f = findingOf(i, $("#finding").value);
  return !!f && wanted.split(" ").includes(stateOf(f));
}

function cells(i) {
  const thumb = i.url
    ? make("img", { className: "thumb", src: i.url, alt: "", loading: "lazy", decoding: "async" })
    : make("span", { className: "thumb", textContent: i.name.split(".").pop().slice(0, 5).toUpperCase() });
  const row = make(
    "button",
    {
      className: "row",
      onclick: () => {
        show(i);
        $("#case").scrollIntoView({ block: "nearest" });
      },
    },
    thumb,
    make("span", { textContent: i.name }),
  );
  if (isDone(i)) {
    const r = i.result,
      verdict = [
        make("strong", {
          className: r.class ?? "unassessed",
          textContent: word(r.class ?? "not_assessed"),
        }),
      ];
    if (refers(i))
      verdict.push(make("br"), make("span", { className: "refer small", textContent: word("refer") }));
    if (summary(i)) verdict.push(make("br"), make("span", { className: "small", textContent: summary(i) }));
    return [
      [row],
      verdict,
      assessed(i) ? [prob(r.probabilities.PNEUMONIA), meter(r)] : [],
      ...findingCell(i),
      [r.quality.ok ? word("good") : findings(r).join(language() === "zh" ? "；" : "; ")],
    ];
  }
  if (i.state === "failed")
    return [[row], [make("span", { className: "failed", textContent: wrong(i.error) })], [], ...findingCell(i), []];
  return [
    [row],
    [word(i.state)],
    [
      make("progress", {
        max: 1,
        value: i.state === "waiting" ? 0 : i.part * 0.9,
        ariaLabel: `${i.name}: ${word(i.state)}`,
      }),
    ],
    ...findingCell(i),
    [],
  ];
}

const tr = (i) => {
  const onclick = (e) => {
    // a click anywhere in the row; selected text isn't a click
    if (!e.target.closest("button") && !getSelection().toString()) row.querySelector("button").click();
  };
  const row = make("tr", { onclick }, ...cells(i).map((c) => make("td", {}, ...c)));
  row.dataset.id = i.id;
  mark(row, current);
  return row;
};
const mark = (row, i) =>
  i && +row.dataset.id === i.id
    ? row.setAttribute("aria-current", "true")
    : row.removeAttribute("aria-current");
const draw = (i) => {
  const row = document.querySelector(`tbody tr[data-id="${i.id}"]`);
  if (row) {
    const focused = row.contains(document.activeElement),
      next = tr(i);
    row.replaceWith(next);
    if (focused) next.querySelector("button").focus();
  }
  if (i === current && !isDone(i)) $("#answer").replaceChildren(...answer(i));
};

function chosen() {
  const text = $("#search").value.toLowerCase(),
    what = $("#show").value;
  const rows = items.filter(
    (i) =>
      i.name.toLowerCase().includes(text) &&
      hasState(i) &&
      (!what ||
        (what === "refer"
          ? refers(i)
          : what === "quality"
            ? flagged(i)
            : what === "not_assessed"
              ? unassessed(i)
              : what === "failed"
                ? i.state === "failed"
                : i.result?.class === what)),
  );
  if (!order.by) return rows;
  const by = sorters[order.by];
  return rows
    .sort((a, b) => (by(a) > by(b)) - (by(a) < by(b)))
    .map((_, k, all) => all[order.down ? all.length - 1 - k : k]);
}

function table() {
  $("#all").hidden = !items.length;
  const focused = document.activeElement?.closest?.("tbody tr")?.dataset.id;
  $("tbody").replaceChildren(...chosen().map(tr));
  if (focused) document.querySelector(`tbody tr[data-id="${focused}"] button`)?.focus();
  for (const th of document.querySelectorAll("#all th"))
    th.dataset.sort === order.by
      ? th.setAttribute("aria-sort", order.down ? "descending" : "ascending")
      : th.removeAttribute("aria-sort");
}

const numbers = () => ({
  all: items.length,
  done: items.filter((i) => ["done", "failed"].includes(i.state)).length,
  pneumonia: items.filter((i) => i.result?.class === "PNEUMONIA").length,
  normal: items.filter((i) => i.result?.class === "NORMAL").length,
  unassessed: items.filter(unassessed).length,
  refer: items.filter(refers).length,
  failed: items.filter((i) => i.state === "failed").length,
});

function progress() {
  const n = numbers(),
    busy = n.done < n.all;
  $("#progress").hidden = !busy;
  $("#bar").max = n.all || 1;
  $("#bar").value = n.done;
  $("#progress-text").textContent = word("progress", n);
  $("#counts").textContent = word("counts", n);
}

function finished() {
  const n = numbers();
  if (n.all && n.done === n.all) {
    $("#live").textContent = word("finished", n);
    table();
  }
}

// ---------------------------------------------------------------- CSV and report

// A cell that a spreadsheet shows as text, never as a formula: `spreadsheet_cell` of the package, with the same patterns.
const FORMULA_START =
  /^(?:[\t\r\n\x00-\x08\x0b\x0c\x0e-\x20\x7f-\xa0'\"\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2018-\u201f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]*[=+\-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b]|['\" ]*[\t\r\n])/;
const FORMULA_PART =
  /([;\t\r\n])(?=[\x00-\x08\x0b\x0c\x0e-\x20\x7f-\xa0'\"\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2018-\u201f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]*[=+\-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b])/g;
function spreadsheetCell(value) {
  const text = String(value);
  if (/^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(text)) return text;
  const parts = text.replace(FORMULA_PART, "$1'");
  return FORMULA_START.test(parts) ? `'${parts}` : parts;
}

function csv() {
  const safe = (value) => {
    const s = spreadsheetCell(value);
    return /[",\n\r]/.test(s) ? `"${s.replaceAll('"', '""')}"` : s;
  };
  const found = columns(items);
  const rows = items
    .filter((i) => ["done", "failed"].includes(i.state))
    .map((i) => [
      ...(i.result
        ? [
            i.name,
            i.result.class ?? "",
            word(i.result.class ?? "only_not_assessed"),
            assessed(i) ? i.result.probabilities.PNEUMONIA.toFixed(4) : "",
            assessed(i) ? i.result.threshold.toFixed(4) : "",
            refers(i) ? "refer" : "",
            i.result.quality.reasons.join(" "),
            "",
            i.result.model.id,
            i.result.reason ?? "",
          ]
        : [i.name, "", "", "", "", "", "", i.error.code, "", ""]),
      ...csvCells(i, found),
    ]);
  const head = "file class label probability threshold refer quality error model reason".split(" ");
  head.push(...found.flatMap((name) => [name, `${name}_present`]));
  const text = "\ufeff" + [head, ...rows].map((r) => r.map(safe).join(",")).join("\n") + "\n";
  const a = make("a", {
    href: URL.createObjectURL(new Blob([text], { type: "text/csv" })),
    download: "pneumonia-results.csv",
  });
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 1000);
}

function aboutMap(map) {
  // the sentence about a map, with the name of the finding whose map it is
  const sentence = map && word(map.about);
  return map?.label ? word("named_map", { f: map.label, about: sentence }) : sentence;
}

function report() {
  // shown by `@media print`
  const finishedItems = items.filter((i) => i.result || i.error);
  const ofGroup = (group) =>
    finishedItems.filter((i) => groupOf(i) === group).sort((a, b) => sorters.p(b) - sorters.p(a));
  const groups = GROUPS.map((group) => [group, ofGroup(group)]).filter(([, found]) => found.length);
  const title = (group, n) => make("h2", { className: "group", textContent: `${word(group)} (${n})` });
  const articles = groups.flatMap(([group, found]) => [
    ...(groups.length > 1 ? [title(group, found.length)] : []),
    ...found.map((i) => {
      const a = make("article", {}, make("h2", { textContent: i.name }));
      if (i.url)
        a.append(
          make(
            "div",
            { className: "pair" },
            ...(mapOf(i) ? [false, true] : [false]).map((heat) =>
              make("div", { className: "stage" }, layers(i, heat)),
            ),
          ),
        );
      a.append(...answer(i, true).filter((e) => !["BUTTON", "PROGRESS", "FIELDSET"].includes(e.tagName)));
      return a;
    }),
  ]);
  const head = make(
    "div",
    { className: "head" },
    make("h2", { textContent: word("report") }),
    make("p", { textContent: `${new Date().toLocaleString(language())} · ${word("counts", numbers())}` }),
    ...[...new Set(items.map((i) => aboutMap(mapOf(i))))]
      .filter(Boolean)
      .map((textContent) => make("p", { textContent })),
  );
  $("#report").replaceChildren(head, ...articles);
  return Promise.all(
    [...document.querySelectorAll("#report img")].map((img) => img.decode().catch(() => {})),
  );
}

// ---------------------------------------------------------------- start

function known() {
  // model and metrics, in the language of the page
  const f = card?.metrics?.test,
    number = (k) =>
      `${word(k)} ${f[k].value.toFixed(3)} (${f[k].low.toFixed(3)}–${f[k].high.toFixed(3)}, n = ${f[k].n})`;
  if (f)
    $("#model").textContent = `${word("model")} ${card.name} ${card.id}. ${word("tested")}${[
      "auroc",
      "sensitivity",
      "specificity",
      "accuracy",
    ]
      .filter((k) => f[k])
      .map(number)
      .join("; ")}.`;
  const missing = Object.entries(card?.not_measured ?? {}).map(([name, reason]) => `${name} (${reason})`);
  if (missing.length) $("#model").textContent += ` ${word("not_measured")}: ${missing.join("; ")}.`;
}

function translate(to) {
  store("lang", to);
  setLanguage(to);
  $("#lang").value = language();
  translateWorklist();
  listFindings();
  chooseFinding();
  known();
  for (const b of document.querySelectorAll("#samples button"))
    b.setAttribute("aria-label", `${word("sample")}: ${b.dataset.name}`);
  if (items.length) {
    table();
    progress();
    show(current);
  }
}

function theme(to) {
  store("theme", to);
  $("#theme").value = to;
  to === "auto"
    ? delete document.documentElement.dataset.theme
    : (document.documentElement.dataset.theme = to);
}

function listen() {
  $("#choose").onclick = () => $("#files").click();
  $("#files").onchange = (e) => {
    add([...e.target.files]);
    e.target.value = "";
  };
  const drop = $("#drop"),
    over = (on) => drop.classList.toggle("over", on);
  addEventListener("dragover", (e) => {
    e.preventDefault();
    over(true);
  });
  addEventListener("dragleave", (e) => e.relatedTarget || over(false));
  addEventListener("drop", (e) => {
    e.preventDefault();
    over(false);
    add([...e.dataTransfer.files]);
  });
  $("#stop").onclick = () => {
    stopped = true;
    run++;
    items.filter((i) => i.state === "waiting").forEach((i) => fail(i, "stopped"));
    requests.forEach((r) => r.abort());
  };
  $("#lang").onchange = (e) => translate(e.target.value);
  $("#theme").onchange = (e) => theme(e.target.value);
  $("#opacity").oninput = (e) =>
    document.querySelectorAll("#stages .heat").forEach((m) => (m.style.opacity = e.target.value / 100));
  for (const choice of document.querySelectorAll("#map input"))
    choice.onchange = () => {
      view.map = choice.value;
      show(current);
    };
  $("#window").oninput = $("#level").oninput = grays;
  $("#in").onclick = () => zoom(1.4);
  $("#out").onclick = () => zoom(1 / 1.4);
  $("#reset").onclick = () => {
    Object.assign(view, { zoom: 1, x: 0, y: 0 });
    $("#opacity").value = 60;
    $("#window").value = 100;
    $("#level").value = 50;
    grays();
    show(current);
  };
  $("#side").onclick = () => {
    view.side = !view.side;
    $("#side").setAttribute("aria-pressed", view.side);
    show(current);
  };
  $("#search").oninput = $("#show").onchange = $("#state").onchange = table;
  $("#finding").onchange = () => {
    chooseFinding();
    table();
  };
  for (const th of document.querySelectorAll("#all th"))
    th.firstElementChild.onclick = () => {
      order = { by: th.dataset.sort, down: order.by === th.dataset.sort && !order.down };
      table();
    };
  $("#csv").onclick = csv;
  $("#print").onclick = async () => {
    await report();
    print();
  };
  addEventListener("beforeprint", () => {
    if (!$("#report").childElementCount) report();
  });
  addEventListener("afterprint", () => $("#report").replaceChildren());
  $("#clear").onclick = () => {
    $("#stop").click();
    items.forEach((i) => i.shown && URL.revokeObjectURL(i.url));
    items.length = 0;
    show((current = null));
    table();
    progress();
    $("#report").replaceChildren();
    $("#choose").focus();
  };
  addEventListener("resize", place);
  hands($("#stages"));
}

function hands(stages) {
  // mouse, touch and keyboard on the image
  const fingers = new Map();
  const middle = (e) => {
    const r = (e.target.closest(".stage") ?? stages).getBoundingClientRect();
    return [e.clientX - r.x - r.width / 2, e.clientY - r.y - r.height / 2];
  };
  stages.addEventListener(
    "wheel",
    (e) => {
      if (e.ctrlKey || view.zoom > 1 || document.activeElement === stages) {
        e.preventDefault();
        zoom(e.deltaY < 0 ? 1.15 : 1 / 1.15, ...middle(e));
      }
    },
    { passive: false },
  );
  stages.addEventListener("pointerdown", (e) => {
    fingers.set(e.pointerId, e);
    if (view.zoom > 1) {
      stages.setPointerCapture(e.pointerId);
      e.target.closest(".stage")?.classList.add("grabbed");
    }
  });
  stages.addEventListener("pointermove", (e) => {
    const last = fingers.get(e.pointerId);
    if (!last) return;
    const other = [...fingers.values()].find((f) => f.pointerId !== e.pointerId),
      far = (f) => Math.hypot(f.clientX - other.clientX, f.clientY - other.clientY);
    if (other) zoom(far(e) / far(last));
    else move(e.clientX - last.clientX, e.clientY - last.clientY);
    fingers.set(e.pointerId, e);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"])
    stages.addEventListener(end, (e) => {
      fingers.delete(e.pointerId);
      document.querySelectorAll(".grabbed").forEach((s) => s.classList.remove("grabbed"));
    });
  stages.addEventListener("dblclick", (e) => zoom(view.zoom > 1 ? 1 / view.zoom : 2.5, ...middle(e)));
  stages.addEventListener("keydown", (e) => {
    const act = {
      "+": () => zoom(1.25),
      "=": () => zoom(1.25),
      "-": () => zoom(0.8),
      0: () => zoom(1 / view.zoom),
      ArrowLeft: () => move(30, 0),
      ArrowRight: () => move(-30, 0),
      ArrowUp: () => move(0, 30),
      ArrowDown: () => move(0, -30),
    }[e.key];
    if (act && (view.zoom > 1 || !e.key.startsWith("Arrow"))) {
      e.preventDefault();
      act();
    }
  });
}

async function start() {
  listen();
  theme(store("theme") || "auto");
  grays();
  translate(
    store("lang") ||
      (navigator.languages || []).map((l) => l.slice(0, 2)).find((l) => LANGS.includes(l)) ||
      "en",
  );
  const [models, words, samples] = await Promise.all(
    ["/models", "/codes", "/samples"].map(async (p) => (await get(p)).json()),
  );
  codes = words;
  card = models.models[0];
  setEntries(card);
  limits = models.limits;
  keeps = models.reviews;
  named = !!models.readers;
  if (keeps) $("[data-t=privacy]").dataset.t = "privacy_kept";
  if (models.worklist) startWorklist(call);
  for (const s of samples.samples) {
    const img = make("img", { alt: "", loading: "lazy" });
    const answer = await get(`/samples/${encodeURIComponent(s.name)}`);
    img.src = URL.createObjectURL(await answer.blob());
    const button = make("button", { onclick: () => tryout(s), title: s.class }, img);
    button.dataset.name = s.name;
    $("#samples ul").append(make("li", {}, button));
  }
  $("#samples").hidden = !samples.samples.length;
  translate(language());
}

start().catch(() => {
  $("#samples").hidden = true;
  $("#live").classList.remove("hidden");
  $("#live").textContent = word("network");
});
