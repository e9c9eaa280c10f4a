/** The transcript on the page: finals are appended once, what may change is written anew. */

import { clock } from "./subtitles.js";
import { say } from "./words.js";

/** So near to the end of the page, in pixels, somebody reads along. */
const NEAR_END = 120;

export class TranscriptView {
  #finals;
  #pending;
  #latest;
  #shown = 0;
  #following = true;
  /** The language that is spoken, if it is known: letters that Chinese and Japanese share look different. */
  language = "";

  constructor({ finals, pending, latest }) {
    this.#finals = finals;
    this.#pending = pending;
    this.#latest = latest;
    latest.onclick = () => this.follow();
    window.addEventListener("scroll", () => this.#look(), { passive: true });
    new ResizeObserver(() => this.#following && this.follow()).observe(document.body);
  }

  show(transcript) {
    if (transcript.entries.length < this.#shown) this.redraw();
    for (const entry of transcript.entries.slice(this.#shown)) this.#finals.append(this.#entry(entry));
    this.#shown = transcript.entries.length;
    this.#pending.replaceChildren(...transcript.pending.map((text) => this.#open(text)));
    if (this.#following) this.follow();
    else this.#latest.hidden = false;
  }

  /** Forget what is on the page; ``show`` writes it again. */
  redraw() {
    this.#finals.replaceChildren();
    this.#shown = 0;
  }

  /** Keep the newest text in sight. */
  follow() {
    this.#following = true;
    this.#latest.hidden = true;
    window.scrollTo({ top: document.documentElement.scrollHeight });
  }

  #look() {
    const { scrollHeight } = document.documentElement;
    this.#following = window.scrollY + window.innerHeight > scrollHeight - NEAR_END;
    if (this.#following) this.#latest.hidden = true;
  }

  /** Write the translation of ``entry`` below it. */
  translate(transcript, entry) {
    const at = transcript.entries.indexOf(entry);
    if (at >= this.#shown) return; // it is written with its entry
    writeTranslation(this.#finals.children[at], entry.translation);
    if (this.#following) this.follow();
  }

  #entry({ start, text, language, unfinished, translation }) {
    const element = this.#row(start, language);
    element.lastChild.textContent = text;
    if (translation) writeTranslation(element, translation);
    if (unfinished) {
      element.classList.add("unfinished");
      element.title = say("unfinished");
    }
    return element;
  }

  #open({ start, stable, tail }) {
    const element = this.#row(start, "");
    element.lastChild.append(part("stable", stable), part("tail", tail));
    return element;
  }

  #row(start, language) {
    const element = document.createElement("div");
    element.className = "entry";
    const time = document.createElement("time");
    time.textContent = clock(start);
    const words = document.createElement("p");
    words.dir = "auto";
    if (language || this.language) words.lang = language || this.language;
    element.append(time, words);
    return element;
  }
}

/** The log is read out as it grows; a line that is written anew again and again would be read each time. */
function writeTranslation(element, { text, lang }) {
  let line = element.querySelector(".translation");
  if (!line) {
    line = document.createElement("p");
    line.className = "translation";
    line.dir = "auto";
    line.setAttribute("aria-live", "off");
    element.append(line);
  }
  line.lang = lang;
  line.textContent = text;
}

function part(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}
