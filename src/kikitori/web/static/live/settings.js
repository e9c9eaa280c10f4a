/** What the page remembers: choices for this browser, text and key for this tab. Browsers may forbid it: then nothing. */

const CHOICES = "kikitori.live.choices";
const TRANSCRIPT = "kikitori.live.transcript";
const KEY = "kikitori.key";

const FIRST_CHOICES = { microphone: "", language: "auto", translation: "", model: "", quality: "s16le", page: "" };

export function loadChoices() {
  return { ...FIRST_CHOICES, ...read("localStorage", CHOICES) };
}

export function saveChoices(choices) {
  write("localStorage", CHOICES, choices);
}

/** Null: there is none. */
export function loadTranscript() {
  return read("sessionStorage", TRANSCRIPT);
}

export function saveTranscript(saved) {
  write("sessionStorage", TRANSCRIPT, saved);
}

export function loadKey() {
  return read("sessionStorage", KEY) ?? "";
}

export function saveKey(key) {
  write("sessionStorage", KEY, key);
}

function read(storage, name) {
  try {
    return JSON.parse(window[storage].getItem(name));
  } catch {
    return null;
  }
}

function write(storage, name, value) {
  try {
    window[storage].setItem(name, JSON.stringify(value));
  } catch {
    // full or forbidden: the page works without it
  }
}
