// Texts of the page in the language of the client. `/web/texts.js` is made from the text catalogue of the package.
// Sentences about files and errors come from `/codes`.
import { TEXTS } from "./texts.js";

export const LANGS = Object.keys(TEXTS);
let lang = "en";
export const language = () => lang;

export function setLanguage(to) {
  // translates every element that has a text key
  lang = LANGS.includes(to) ? to : "en";
  document.documentElement.lang = lang;
  document.title = word("title");
  for (const e of document.querySelectorAll("[data-t]")) e.textContent = word(e.dataset.t);
  for (const e of document.querySelectorAll("[data-t-label]"))
    e.setAttribute("aria-label", word(e.dataset.tLabel));
  for (const e of document.querySelectorAll("[data-t-placeholder]"))
    e.placeholder = word(e.dataset.tPlaceholder);
}

export function word(key, values = {}) {
  return TEXTS[lang][key].replace(/\{(\w+)\}/g, (_, k) => values[k]);
}
