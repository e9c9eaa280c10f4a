/** Small messages above the dock: said by screen readers, gone when they no longer matter. */

import { say } from "./words.js";

const polite = document.getElementById("notices");
const urgent = document.getElementById("alerts");
const shown = new Map();

/** How long a passing message stays, in milliseconds. */
export const PASSING_MS = 6000;

/**
 * Show ``text`` under ``name``, in place of what was shown under it. ``tone``: info, good, warn, error (said at once).
 * ``action``: ``{label, run}``. ``passing``: it goes by itself.
 */
export function notice(name, text, { tone = "info", action, passing = false } = {}) {
  if (shown.get(name)?.text === text) return;
  dismiss(name);
  const element = document.createElement("div");
  element.className = "notice";
  element.dataset.tone = tone;
  element.dataset.name = name;
  const words = document.createElement("p");
  words.textContent = text;
  element.append(words);
  if (action) element.append(button(action.label, "notice-action", () => (dismiss(name), action.run())));
  const close = button("", "notice-close", () => dismiss(name));
  close.setAttribute("aria-label", say("dismiss"));
  element.append(close);
  (tone === "error" ? urgent : polite).append(element);
  const timer = passing ? setTimeout(() => dismiss(name), PASSING_MS) : 0;
  shown.set(name, { element, text, timer });
}

export function dismiss(name) {
  const entry = shown.get(name);
  if (!entry) return;
  clearTimeout(entry.timer);
  entry.element.remove();
  shown.delete(name);
}

export function dismissAll() {
  for (const name of [...shown.keys()]) dismiss(name);
}

function button(label, className, run) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = className;
  element.textContent = label;
  element.onclick = run;
  return element;
}
