/** Asks for the API key, which stays in this tab. */

import { saveKey } from "./settings.js";
import { say } from "./words.js";

const dialog = document.getElementById("key");
const form = document.getElementById("key-form");
const field = document.getElementById("key-field");
const wrong = document.getElementById("key-wrong");

/** The key that was typed; empty if nobody did. ``refused``: the last one was wrong. */
export function askKey(refused) {
  wrong.textContent = refused ? say("key.wrong") : "";
  field.value = "";
  field.setAttribute("aria-invalid", String(refused));
  if (!dialog.open) dialog.showModal();
  field.focus();
  return new Promise((done) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      const key = field.value.trim();
      if (!key) return;
      saveKey(key);
      dialog.onclose = null;
      dialog.close();
      done(key);
    };
    dialog.onclose = () => done("");
  });
}

document.getElementById("key-cancel").onclick = () => dialog.close();
