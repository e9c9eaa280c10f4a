/** The choices at the top: microphone, language, translation, model, sound. */

import { askForNames, isAllowedHere, listInputs } from "./microphone.js";
import { canRecordOpus } from "./opus.js";
import { pick } from "./picker.js";
import { saveChoices } from "./settings.js";
import { pageLanguage, preferredLanguage, say } from "./words.js";

/** Chosen in the list of microphones: ask for permission, to learn their names. */
const ASK_NAMES = "\0names";

export class Choices {
  values;
  /** As ``/v1/models`` lists them. */
  models = [];
  /** Codes of all languages. */
  languages = [];
  #inputs = [];
  #buttons;
  #on;

  /** ``on.microphone()``: another was chosen; ``on.failed(MicrophoneError)``. */
  constructor(values, buttons, on) {
    this.values = values;
    this.#buttons = buttons;
    this.#on = on;
    buttons.microphone.onclick = () => this.#pickMicrophone();
    buttons.language.onclick = () => this.#pick("language", this.#languageOptions(), true);
    buttons.translation.onclick = () => this.#pick("translation", this.#translationOptions(), true);
    buttons.model.onclick = () => this.#pick("model", this.#modelOptions());
    buttons.quality.onclick = () => this.#pick("quality", this.#qualityOptions());
    if (!canRecordOpus()) values.quality = "s16le";
    navigator.mediaDevices?.addEventListener("devicechange", () => this.refreshInputs());
  }

  /** While listening, only the microphone may change, and only where the stream can go on. */
  set running(running) {
    for (const name of ["language", "translation", "model", "quality"]) this.#buttons[name].disabled = running;
    this.#buttons.microphone.disabled = running && this.values.quality !== "s16le";
  }

  async refreshInputs() {
    this.#inputs = await listInputs();
    this.show();
  }

  /** Write the choices on their buttons. */
  show() {
    const options = {
      microphone: this.#microphoneOptions(),
      language: this.#languageOptions(),
      translation: this.#translationOptions(),
      model: this.#modelOptions(),
      quality: this.#qualityOptions(),
    };
    for (const [name, list] of Object.entries(options)) {
      const chosen = list.find((option) => option.value === this.values[name]) ?? list[0];
      this.#buttons[name].querySelector(".choice-value").textContent = chosen.label;
    }
  }

  #pick(name, options, searchable = false, onChoose = (value) => this.#set(name, value)) {
    pick({ button: this.#buttons[name], heading: say(name), options, chosen: this.values[name], searchable, onChoose });
  }

  #set(name, value) {
    this.values[name] = value;
    saveChoices(this.values);
    this.show();
  }

  async #pickMicrophone() {
    this.#inputs = await listInputs();
    const options = this.#microphoneOptions();
    const unnamed = this.#inputs.every((input) => !input.name);
    if (unnamed && isAllowedHere()) options.push({ value: ASK_NAMES, label: say("microphone.names") });
    this.#pick("microphone", options, false, (value) => this.#setMicrophone(value));
  }

  async #setMicrophone(value) {
    if (value !== ASK_NAMES) {
      this.#set("microphone", value);
      this.#on.microphone();
      return;
    }
    try {
      await askForNames();
    } catch (error) {
      this.#on.failed(error);
      return;
    }
    await this.#pickMicrophone();
  }

  #microphoneOptions() {
    const named = this.#inputs.map(({ id, name }, index) => ({
      value: id,
      label: name || say("microphone.unnamed", { number: index + 1 }),
    }));
    return [{ value: "", label: say("microphone.default") }, ...named.filter(({ value }) => value)];
  }

  #languageOptions() {
    return [{ value: "auto", label: say("language.auto"), also: "auto" }, ...this.#allLanguages(this.values.language)];
  }

  #translationOptions() {
    return [{ value: "", label: say("translation.none") }, ...this.#allLanguages(this.values.translation)];
  }

  /** The usual ones first; ``chosen`` is among them even before the list has come. */
  #allLanguages(chosen) {
    const mine = new Intl.DisplayNames([pageLanguage()], { type: "language" });
    const english = new Intl.DisplayNames(["en"], { type: "language" });
    const options = this.languages.map((code) => {
      const label = named(mine, code);
      const own = ownName(code);
      return { value: code, label, hint: own === label ? "" : own, also: `${code} ${named(english, code)}` };
    });
    const usual = new Set([preferredLanguage(), ...navigator.languages.map((tag) => tag.split("-")[0]), "en", "ja", "ko", "zh"]);
    const rank = ({ value }) => (usual.has(value) ? [...usual].indexOf(value) : usual.size);
    options.sort((a, b) => rank(a) - rank(b) || a.label.localeCompare(b.label, pageLanguage()));
    if (chosen && chosen !== "auto" && !this.languages.includes(chosen)) {
      options.unshift({ value: chosen, label: named(mine, chosen) });
    }
    return options;
  }

  #modelOptions() {
    const options = this.models.map(({ id, engine, alias_of: alias }) => ({
      value: id,
      label: short(id),
      hint: alias ? say("model.alias", { model: short(alias) }) : engine,
    }));
    options.sort((a, b) => this.#isAlias(a.value) - this.#isAlias(b.value));
    return [{ value: "", label: say("model.default") }, ...options];
  }

  #isAlias(id) {
    return Number(Boolean(this.models.find((model) => model.id === id)?.alias_of));
  }

  #qualityOptions() {
    const possible = canRecordOpus();
    return ["s16le", "webm-opus"].map((value) => ({
      value,
      label: say(`quality.${value}`),
      hint: say(value === "s16le" || possible ? `quality.${value}.hint` : "quality.unsupported"),
      disabled: value !== "s16le" && !possible,
    }));
  }
}

function named(names, code) {
  const name = names.of(code) ?? code;
  return name.charAt(0).toLocaleUpperCase() + name.slice(1);
}

/** What a language is called by those who speak it, if the browser knows. */
function ownName(code) {
  try {
    return named(new Intl.DisplayNames([code], { type: "language", fallback: "code" }), code);
  } catch {
    return "";
  }
}

/** A model of a folder is called by the folder's last part. */
function short(id) {
  return id.startsWith("/") ? id.replace(/\/+$/, "").split("/").slice(-2).join("/") : id;
}
