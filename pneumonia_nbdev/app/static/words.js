// Texts of the page in both languages; they come from the text catalogue of the package.
let texts = { en: {}, zh: {} };
let lang = "en";

export const language = () => lang;

export function setTexts(all) {
  texts = all;
}

// Translate every element that has a text key.
export function setLanguage(to) {
  lang = to === "zh" ? "zh" : "en";
  document.documentElement.lang = lang;
  for (const e of document.querySelectorAll("[data-t]")) e.textContent = word(e.dataset.t);
  document.title = word("title");
}

export function word(key, values = {}) {
  return (texts[lang][key] ?? key).replace(/\{(\w+)\}/g, (_, k) => values[k]);
}

// The sentence of a quality check or of an error.
export const sentence = (topic, code) => texts[lang][`${topic}.${code}`] ?? word("error");

export const probabilityText = (p) => (p > 0.999 ? "> 0.999" : p < 0.001 ? "< 0.001" : p.toFixed(3));
