// The worklist: results of a listener as they arrive, those that are referred first, then by probability.
import { word } from "./words.js";

const $ = (s) => document.querySelector(s);
const rows = new Map(); // id -> row
const POLL_AFTER = 3000; // milliseconds until the next connection
let open = null; // AbortController of the connection
let connected = false;
let request = null; // function that sends a request with the key
let first = true;

function age(finished) {
  const seconds = Math.max(0, Math.round(Date.now() / 1000 - finished));
  if (seconds < 60) return word("seconds_ago", { n: seconds });
  if (seconds < 3600) return word("minutes_ago", { n: Math.floor(seconds / 60) });
  return word("hours_ago", { n: Math.floor(seconds / 3600) });
}

function shown() {
  const text = $("#worklist-search").value.trim().toLowerCase();
  const kind = $("#worklist-show").value;
  const fits = (r) =>
    (!text || `${r.accession} ${r.patient}`.toLowerCase().includes(text)) &&
    (!kind || (kind === "refer" ? r.refer : kind === "none" ? !r.class : r.class === kind));
  const order = (a, b) => b.refer - a.refer || (b.probability ?? -1) - (a.probability ?? -1) || b.finished - a.finished;
  return [...rows.values()].filter(fits).sort(order);
}

function draw() {
  const body = $("#worklist-rows");
  body.replaceChildren(
    ...shown().map((r) => {
      const tr = document.createElement("tr");
      tr.dataset.id = r.id;
      if (Date.now() / 1000 - r.finished < 10) tr.className = "new";
      const result = r.label + (r.refer ? `, ${word("refer")}` : "") + (r.reason_text ? `: ${r.reason_text}` : "");
      const p = r.probability === null ? "" : r.probability.toFixed(3);
      for (const text of [r.accession, r.patient, result, p, age(r.finished)]) {
        const td = document.createElement("td");
        td.textContent = text ?? "";
        tr.append(td);
      }
      return tr;
    }),
  );
  $("#worklist-state").textContent = `${word("worklist_count", { n: rows.size })} ${word(connected ? "worklist_live" : "worklist_waiting")}`;
}

function sound() {
  if (!$("#worklist-sound").checked) return;
  const context = new AudioContext();
  const tone = context.createOscillator();
  const volume = context.createGain();
  volume.gain.value = 0.1;
  tone.connect(volume).connect(context.destination);
  tone.start();
  tone.stop(context.currentTime + 0.15);
  tone.onended = () => context.close();
}

function take(event) {
  const data = /^data: (.*)$/m.exec(event);
  if (!data) return;
  const arrived = JSON.parse(data[1]);
  for (const r of arrived) rows.set(r.id, r);
  if (!first && arrived.some((r) => r.refer || r.class === "PNEUMONIA")) sound();
  first = false;
}

async function follow() {
  const control = new AbortController();
  open = control;
  try {
    const answer = await request("/events", { signal: control.signal });
    if (!answer.ok) throw new Error(answer.status);
    connected = true;
    draw();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      events.forEach(take);
      if (events.length) draw();
    }
  } catch {
    /* the next connection follows */
  }
  if (open !== control) return; // another connection has replaced this one
  connected = false;
  draw();
  setTimeout(() => open === control && follow(), POLL_AFTER);
}

export function translateWorklist() {
  // labels are in the language of the connection
  if (!request) return;
  open?.abort();
  first = true;
  follow();
}

export function startWorklist(send) {
  request = send;
  $("#worklist").hidden = false;
  $("#worklist-search").oninput = draw;
  $("#worklist-show").onchange = draw;
  setInterval(draw, 5000);
  follow();
}
