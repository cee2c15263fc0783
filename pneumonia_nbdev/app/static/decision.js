// Group, probability, operating point, conformal limits, findings and referral, as in `core.groups`,
// `core.finding_entries` and `core.prediction`.

const CLASSES = ["NORMAL", "PNEUMONIA"];
const GROUPS = ["child", "adult_ap", "adult_pa"];
const ADULT_YEARS = 18;
const WINDOW = 5; // positions along each side of the opacity map
const MARGIN = 1e-4; // distance of the probabilities of a map from 0 and 1

// The distance to the nearest centroid in units of the scale, divided by the threshold.
export function oodScore(embedding, ood) {
  if (!ood || !embedding) return 0;
  const d = ood.mean.length;
  const z = Float32Array.from({ length: d }, (_, i) => Math.fround(embedding[i] - ood.mean[i]) / ood.scale[i]);
  let best = Infinity;
  for (let k = 0; k < ood.centroids.length / d; k++) {
    let square = 0;
    for (let i = 0; i < d; i++) {
      const difference = z[i] - ood.centroids[k * d + i];
      square += difference * difference;
    }
    best = Math.min(best, square);
  }
  return Math.sqrt(best) / ood.threshold;
}

// The groups that age and view of the header leave possible; `age` is NaN if it isn't stated.
function statedGroups(age, view) {
  if (age < ADULT_YEARS) return ["child"];
  const adults = { AP: ["adult_ap"], PA: ["adult_pa"] }[view] ?? ["adult_ap", "adult_pa"];
  return age >= ADULT_YEARS ? adults : ["child", ...adults];
}

// The group of the patient: {name, source}; null for a model without groups.
export function patientGroup(embedding, groups, header) {
  if (!groups || !embedding) return null;
  const possible = statedGroups(header.years, (header.view ?? "").trim().toUpperCase());
  if (possible.length === 1) return { name: possible[0], source: "header" };
  const logits = GROUPS.map((_, j) => {
    let sum = groups.b[j];
    for (let i = 0; i < groups.w.length / GROUPS.length; i++) sum += embedding[i] * groups.w[i * GROUPS.length + j];
    return sum;
  });
  const name = possible.reduce((best, g) => (logits[GROUPS.indexOf(g)] > logits[GROUPS.indexOf(best)] ? g : best));
  return { name, source: "network" };
}

// The largest mean logit of neighboring positions of the opacity map.
export function opacityScore({ values, rows, columns }) {
  const logits = Float64Array.from(values, (v) => {
    const p = Math.min(1 - MARGIN, Math.max(MARGIN, v));
    return Math.log(p) - Math.log1p(-p);
  });
  const side = Math.min(WINDOW, rows, columns);
  let best = -Infinity;
  for (let y = 0; y + side <= rows; y++) {
    for (let x = 0; x + side <= columns; x++) {
      let sum = 0;
      for (let i = 0; i < side; i++) for (let j = 0; j < side; j++) sum += logits[(y + i) * columns + x + j];
      best = Math.max(best, sum / side ** 2);
    }
  }
  return best;
}

const scoreProbability = (score, opacity) => 1 / (1 + Math.exp(-score.opacity * opacity - score.intercept));

// The probability of pneumonia by the group of the patient.
export function groupProbability(card, group, outputs) {
  const score = card.groups?.[group?.name]?.score;
  return score ? scoreProbability(score, opacityScore(outputs.opacity_map)) : outputs.probability.values[0];
}

function operatingPoint(card, group) {
  const entry = card.groups?.[group?.name] ?? {};
  return {
    threshold: entry.threshold ?? card.threshold,
    limits: entry.conformal ?? card.conformal ?? null,
  };
}

// Classes that the conformal limits leave possible, and whether to refer; null without limits.
function conformalDecision(p, { threshold, limits }) {
  if (!limits) return null;
  const isPossible = { NORMAL: p <= limits.NORMAL, PNEUMONIA: p >= limits.PNEUMONIA };
  const classes = CLASSES.filter((name) => isPossible[name]);
  const predicted = CLASSES[Number(p >= threshold)];
  return { classes, refer: classes.length !== 1 || classes[0] !== predicted, coverage: limits.coverage };
}

// Whether a finding is present: true, false or "unsure".
function presence(p, threshold, limits) {
  const isAbove = p >= threshold;
  if (!limits) return isAbove;
  const mayBeAbsent = p <= limits.absent;
  const mayBePresent = p >= limits.present;
  return mayBeAbsent === mayBePresent || mayBePresent !== isAbove ? "unsure" : mayBePresent;
}

function findingProbability(entry, column, outputs, p) {
  if (entry.output === "findings") return outputs.findings.values[column];
  return entry.output === "probability" ? p : scoreProbability(entry.score, opacityScore(outputs.opacity_map));
}

// The findings that are measured for this patient, without the experimental ones.
function assessFindings(card, group, outputs, p, point) {
  const entries = card.findings ?? [];
  const columns = entries.filter((e) => e.output === "findings").map((e) => e.name);
  const predicted = CLASSES[Number(p >= point.threshold)];
  const isGiven = (e) =>
    !e.experimental && (!e.groups || (group && e.groups.includes(group.name))) && (!e.given || e.given === predicted);
  return entries.filter(isGiven).map((entry) => {
    const q = findingProbability(entry, columns.indexOf(entry.name), outputs, p);
    const isClass = entry.threshold === null;
    const threshold = isClass ? point.threshold : entry.threshold;
    const ofClass = point.limits && { absent: point.limits.NORMAL, present: point.limits.PNEUMONIA };
    const present = presence(q, threshold, isClass ? ofClass : entry.limits);
    return { name: entry.name, label: entry.label, probability: q, threshold, present };
  });
}

// The positive part of a class-activation map, scaled to 0 to 1.
function heatmap({ values, rows, columns }) {
  const top = values.reduce((a, v) => Math.max(a, v), 0);
  return { rows, columns, values: Float32Array.from(values, (v) => (v > 0 && top > 0 ? Math.min(v / top, 1) : 0)) };
}

const fractions = (map) =>
  map ? { ...map, values: Float32Array.from(map.values, (v) => Math.min(1, Math.max(0, v))) } : null;

// The result of one image. A photo of a film is always referred and gets no class: its accuracy isn't measured.
export function decide(card, rules, { outputs, reasons, group, isPhoto }) {
  const p = groupProbability(card, group, outputs);
  const point = operatingPoint(card, group);
  const conformal = conformalDecision(p, point);
  const reason = rules.no_class.find((code) => reasons.includes(code)) ?? (isPhoto ? "photo" : null);
  const base = {
    class: reason ? null : CLASSES[Number(p >= point.threshold)],
    reason,
    reasons,
    refer: reason !== null || Boolean(conformal?.refer) || reasons.includes("unusual"),
    threshold: point.threshold,
    group: group?.name ?? null,
    group_source: group?.source ?? null,
    lungs: fractions(outputs.lungs),
  };
  const withheld = { probability: null, conformal: null, heatmap: null, opacity_map: null, findings: null };
  if (reason) return { ...base, ...withheld, raw: p };
  return {
    ...base,
    raw: p,
    probability: p,
    conformal,
    heatmap: outputs.cam ? heatmap(outputs.cam) : null,
    opacity_map: fractions(outputs.opacity_map),
    findings: assessFindings(card, group, outputs, p, point),
  };
}
