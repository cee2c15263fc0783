// The result of one file as elements of the page, and as rows of a CSV file.
import { language, probabilityText, sentence, word } from "./words.js";

export const make = (tag, props = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
};

// The sentence of a reason; `photo` is a reason of the app alone.
const reasonText = (code) => (code === "photo" ? word("about_photo") : sentence("quality", code));

export const errorText = ({ code, reason }) => sentence("errors", code) + (reason ? ` (${reason})` : "");

// The result in a few words, such as "Pneumonia, refer to a reader".
export function shortText(item) {
  if (item.error) return word("failed");
  if (!item.result) return word("waiting");
  const { class: found, refer } = item.result;
  const label = word(found ?? "not_assessed");
  if (!refer) return label;
  return label + (language() === "zh" ? "，" : ", ") + word("refer").toLowerCase();
}

function meter(p, threshold) {
  const fill = make("span");
  const tick = make("i");
  fill.style.width = `${100 * p}%`;
  tick.style.left = `${100 * threshold}%`;
  const e = make("div", { className: "meter" }, fill, tick);
  e.setAttribute("role", "img");
  e.setAttribute("aria-label", `${probabilityText(p)}, ${word("point", { t: threshold.toFixed(3) })}`);
  return e;
}

function findingsList(findings) {
  const others = findings.filter((f) => f.name !== "pneumonia");
  if (!others.length) return [];
  const state = (f) => word(f.present === "unsure" ? "finding_unsure" : f.present ? "finding_present" : "finding_absent");
  const items = others.map((f) =>
    make("li", {}, make("span", { textContent: f.label[language()] }), `${probabilityText(f.probability)} · ${state(f)}`),
  );
  return [make("h3", { className: "small", textContent: word("findings") }), make("ul", { className: "findings" }, ...items)];
}

function facts(r, model) {
  const rows = {
    model: `${model.name} ${model.id}`,
    ...(r.class && r.group && { group: `${word(`for_${r.group}`)} (${word(`by_${r.group_source}`)})` }),
    time: word("seconds", { s: r.seconds.all.toFixed(2) }),
  };
  const cells = Object.entries(rows).flatMap(([key, value]) => [
    make("dt", { textContent: word(key) }),
    make("dd", { textContent: value }),
  ]);
  return make("dl", {}, ...cells);
}

// The elements of a result or of an error.
export function answer(item, model) {
  if (item.error) return [make("p", { className: "word failed", textContent: errorText(item.error) })];
  if (!item.result) return [make("p", { className: "word", textContent: word("waiting") })];
  const r = item.result;
  const out = [make("p", { className: `word ${r.class ?? ""}`, textContent: word(r.class ?? "not_assessed") })];
  const codes = r.reason === "photo" ? ["photo", ...r.reasons] : [...r.reasons].sort((a) => (a === r.reason ? -1 : 0));
  if (r.refer) {
    const why = r.conformal?.refer ? word("why_refer", { c: Math.round(100 * r.conformal.coverage) }) : "";
    out.push(make("div", { className: "box" }, make("strong", { textContent: word("refer") }), make("br"), why));
  }
  if (r.class) {
    const p = make("strong", { textContent: probabilityText(r.probability) });
    out.push(make("p", {}, `${word("probability")} `, p), meter(r.probability, r.threshold));
    out.push(make("p", { className: "small", textContent: word("point", { t: r.threshold.toFixed(3) }) }));
    out.push(...findingsList(r.findings ?? []));
  }
  if (codes.length) {
    const list = make("ul", {}, ...codes.map((code) => make("li", { textContent: reasonText(code) })));
    out.push(make("div", { className: "box" }, word("warnings"), list));
  } else out.push(make("p", { className: "small", textContent: `${word("quality")}: ${word("good")}` }));
  if (!r.class && r.reason !== "photo") out.push(make("p", { className: "small", textContent: word("why_no_class") }));
  out.push(facts(r, model));
  return out;
}

const COLUMNS = ["time", "file", "class", "probability", "threshold", "refer", "quality", "error", "model"];

// One result as cells by column.
export function cellsOf(item, model) {
  const r = item.result;
  const base = { time: item.time, file: item.name, model: model.id };
  if (!r) return { ...base, error: item.error?.code ?? "" };
  return {
    ...base,
    class: r.class ?? "",
    probability: r.class ? r.probability.toFixed(4) : "",
    threshold: r.class ? r.threshold.toFixed(4) : "",
    refer: r.refer ? "refer" : "",
    quality: (r.reason === "photo" ? ["photo", ...r.reasons] : r.reasons).join(" "),
  };
}

// A cell that no spreadsheet takes for a formula.
function safeCell(value) {
  const text = String(value ?? "");
  const harmless = /^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

// Rows of cells as a CSV file.
export function csvOf(rows) {
  const lines = [COLUMNS, ...rows.map((row) => COLUMNS.map((column) => row[column]))];
  return "\ufeff" + lines.map((cells) => cells.map(safeCell).join(",")).join("\r\n") + "\r\n";
}

// Offer a text as a download; nothing is sent.
export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
