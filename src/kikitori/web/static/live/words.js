/** The page in the language of its reader. */

import en from "./words/en.js";
import ja from "./words/ja.js";
import ko from "./words/ko.js";
import zh from "./words/zh.js";

const WORDS = { en, ja, ko, zh };
export const PAGE_LANGUAGES = { en: "English", ja: "日本語", ko: "한국어", zh: "简体中文" };
let current = "en";

/** The first language of the browser that the page has. */
export function preferredLanguage() {
  const wished = navigator.languages.map((tag) => tag.split("-")[0]);
  return wished.find((code) => code in WORDS) ?? "en";
}

export function pageLanguage() {
  return current;
}

/** Write everything that carries ``data-text`` or ``data-label`` (a name that is not to be seen). */
export function setPageLanguage(code) {
  current = code in WORDS ? code : "en";
  document.documentElement.lang = current === "zh" ? "zh-Hans" : current;
  document.title = say("page.title");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", say(element.dataset.label));
    if (element.localName === "button") element.title = say(element.dataset.label); // it may show an icon alone
  }
}

/** The text called ``name``, with ``{facts}`` filled in. */
export function say(name, facts = {}) {
  return WORDS[current][name].replace(/\{(\w+)\}/g, (_, fact) => facts[fact]);
}
