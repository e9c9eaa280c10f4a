/** A list to choose from, with the keyboard, a pointer or a search: beside its button, on phones from below. */

import { say } from "./words.js";

const dialog = document.getElementById("picker");
const title = document.getElementById("picker-title");
const search = document.getElementById("picker-search");
const list = document.getElementById("picker-list");
const none = document.getElementById("picker-none");

/** Space between the button and the list, and between the list and the edge, in pixels. */
const GAP = 8;

let shown = [];
let active = -1;
let choose = () => {};

/**
 * ``options``: ``{value, label, hint, also, disabled}``; ``also`` is found by the search too.
 * ``chosen``: a value, or undefined when choosing is an action. Calls ``onChoose(value)`` after closing.
 */
export function pick({ button, heading, options, chosen, searchable = false, onChoose }) {
  title.textContent = heading;
  search.hidden = !searchable;
  search.value = "";
  search.placeholder = say("language.search");
  search.setAttribute("aria-label", say("language.search"));
  list.setAttribute("aria-label", heading);
  const focused = searchable ? search : list;
  choose = (option) => {
    if (option.disabled) return;
    dialog.close();
    onChoose(option.value);
  };
  search.oninput = () => show(options.filter((option) => matches(option, search.value)), chosen, focused);
  button.setAttribute("aria-expanded", "true");
  dialog.onclose = () => {
    button.setAttribute("aria-expanded", "false");
    button.focus();
  };
  show(options, chosen, focused);
  dialog.showModal();
  place(button);
  focused.focus();
  list.children[active]?.scrollIntoView({ block: "center" });
}

function show(options, chosen, focused) {
  shown = options;
  list.replaceChildren(...options.map((option, index) => row(option, index, chosen)));
  none.hidden = options.length > 0;
  none.textContent = say("language.none");
  activate(Math.max(0, options.findIndex((option) => option.value === chosen)), focused);
}

function row(option, index, chosen) {
  const item = document.createElement("li");
  item.id = `option-${index}`;
  item.role = "option";
  item.ariaSelected = String(option.value === chosen);
  item.ariaDisabled = String(Boolean(option.disabled));
  const label = document.createElement("span");
  label.textContent = option.label;
  item.append(label);
  if (option.hint) {
    const hint = document.createElement("small");
    hint.textContent = option.hint;
    item.append(hint);
  }
  item.onclick = () => choose(option);
  return item;
}

function activate(index, focused = search.hidden ? list : search) {
  list.children[active]?.classList.remove("active");
  active = shown.length ? Math.min(Math.max(index, 0), shown.length - 1) : -1;
  const item = list.children[active];
  item?.classList.add("active");
  item?.scrollIntoView({ block: "nearest" });
  if (item) focused.setAttribute("aria-activedescendant", item.id);
  else focused.removeAttribute("aria-activedescendant");
}

function matches({ label, hint = "", also = "" }, wanted) {
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return plain(`${label} ${hint} ${also}`).includes(plain(wanted.trim()));
}

/** Below the button if there is room, else above; the stylesheet overrules it on phones. */
function place(button) {
  const box = button.getBoundingClientRect();
  const { width, height } = dialog.getBoundingClientRect();
  const left = Math.min(Math.max(GAP, box.left), window.innerWidth - width - GAP);
  const below = box.bottom + GAP;
  const top = below + height > window.innerHeight - GAP ? Math.max(GAP, box.top - height - GAP) : below;
  dialog.style.setProperty("--left", `${left}px`);
  dialog.style.setProperty("--top", `${top}px`);
}

const KEYS = {
  ArrowDown: () => activate(active + 1),
  ArrowUp: () => activate(active - 1),
  PageDown: () => activate(active + 8),
  PageUp: () => activate(active - 8),
  Enter: () => active >= 0 && choose(shown[active]),
};
const LIST_KEYS = { ...KEYS, Home: () => activate(0), End: () => activate(shown.length), " ": KEYS.Enter };

dialog.addEventListener("keydown", (event) => {
  if (event.isComposing || (event.target !== search && event.target !== list)) return;
  const act = (event.target === search ? KEYS : LIST_KEYS)[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop; everything else lies on the panel
});
document.getElementById("picker-close").onclick = () => dialog.close();
