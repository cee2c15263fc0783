// Findings of a result: chips with their probability, labels, states, and columns of the CSV file.
import { language, word } from "./words.js";

const MAIN = "pneumonia"; // is the result itself, so it has no chip
const OWN_MAPS = { opacity_map: "opacity_map", probability: "heatmap" }; // output of the network -> map of the result
const SIGNS = { present: "●", absent: "○", unsure: "?" };
let entries = []; // of the model card

const make = (tag, props = {}, ...children) => {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
};

export function setEntries(card) {
  // the findings of the model in use
  entries = card?.findings ?? [];
}

const entryOf = (name) => entries.find((e) => e.name === name);
const givenOf = (i) => i?.result?.findings ?? [];
export const findingOf = (i, name) => givenOf(i).find((f) => f.name === name);
export const othersOf = (i) => givenOf(i).filter((f) => f.name !== MAIN);
export const stateOf = (f) => (f.present === "unsure" ? "unsure" : f.present ? "present" : "absent");
export const labelOf = (f) => entryOf(f.name)?.label[language()] ?? f.label;

export function choices() {
  // the findings to select from in the table
  return entries
    .filter((e) => e.name !== MAIN)
    .map((e) => ({ name: e.name, label: e.label[language()], experimental: !!e.experimental }));
}

export function mapKey(i, f) {
  // the map of a finding: that of the result, or its own; null without a map
  const own = OWN_MAPS[entryOf(f.name)?.output];
  const field = { opacity_map: "opacity_png", heatmap: "heatmap_png" }[own];
  if (own && i.result[field]) return own;
  return f.heatmap_png ? "finding" : null;
}

export function summary(i) {
  // names of the findings that are present or unsure, without the experimental ones
  return othersOf(i)
    .filter((f) => !f.experimental && f.present)
    .map((f) => (f.present === "unsure" ? word("name_unsure", { f: labelOf(f) }) : labelOf(f)))
    .join(language() === "zh" ? "，" : ", ");
}

export function bar(f) {
  // the probability with a mark at the operating point
  const fill = make("span");
  const tick = make("i");
  fill.style.width = `${100 * f.probability}%`;
  tick.style.left = `${100 * f.threshold}%`;
  const e = make("span", { className: `meter ${stateOf(f)}` }, fill, tick);
  e.setAttribute("role", "img");
  e.setAttribute("aria-label", word("point", { t: f.threshold.toFixed(3) }));
  return e;
}

export const stateText = (f) => word(`finding_${stateOf(f)}`);

function chip(i, f, prob, how) {
  const sign = make("span", { className: "sign", textContent: SIGNS[stateOf(f)] });
  sign.setAttribute("aria-hidden", "true");
  const parts = [
    make("span", { className: "name", textContent: labelOf(f) }),
    make("span", { className: "state" }, sign, stateText(f)),
    make("span", { className: "p", textContent: prob(f.probability) }),
    bar(f),
  ];
  const className = `chip ${stateOf(f)}`;
  if (how.printed || !mapKey(i, f)) return make("li", {}, make("div", { className }, ...parts));
  const button = make("button", { type: "button", className, onclick: () => how.choose(f) }, ...parts);
  button.dataset.finding = f.name;
  button.setAttribute("aria-pressed", how.isShown(f));
  return make("li", {}, button);
}

const list = (i, found, prob, how) =>
  make("ul", { className: "chips" }, ...found.map((f) => chip(i, f, prob, how)));

export function findingsBox(i, prob, how) {
  // The findings below a result. `how` has `choose`, `isShown`, `isOpen`, `onOpen`, and `printed` for the report.
  if (!entries.length || !i.result.findings) return [];
  const certain = othersOf(i).filter((f) => !f.experimental);
  const experimental = othersOf(i).filter((f) => f.experimental);
  const box = make("div", { className: "findings" }, make("h3", { textContent: word("findings") }));
  if (certain.length) box.append(list(i, certain, prob, how));
  else box.append(make("p", { className: "small", textContent: word("no_findings") }));
  if (experimental.length) {
    const details = make(
      "details",
      { open: how.printed || how.isOpen },
      make("summary", { textContent: word("experimental_findings", { n: experimental.length }) }),
      make("p", { className: "small", textContent: word("why_experimental") }),
      list(i, experimental, prob, how),
    );
    details.ontoggle = () => how.onOpen(details.open);
    box.append(details);
  }
  if (!how.printed && othersOf(i).some((f) => mapKey(i, f)))
    box.append(make("p", { className: "small", textContent: word("about_findings") }));
  return [box];
}

export function columns(items) {
  // names of the findings that any result has, in the order of the model card
  const given = new Set(items.flatMap((i) => givenOf(i).map((f) => f.name)));
  return entries.map((e) => e.name).filter((name) => given.has(name));
}

export function csvCells(i, names) {
  // probability and state of each column; empty where a finding isn't given
  return names.flatMap((name) => {
    const f = findingOf(i, name);
    return f ? [f.probability.toFixed(4), String(f.present)] : ["", ""];
  });
}
