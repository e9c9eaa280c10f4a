/** The page: what is pressed, heard and said, brought together. */

import { Choices } from "./choices.js";
import { awaitSetup, isEmbedded, tellSession } from "./embedded.js";
import { askKey } from "./key.js";
import { Listening } from "./listening.js";
import { isAllowedHere } from "./microphone.js";
import { dismiss, dismissAll, notice } from "./notices.js";
import { pick } from "./picker.js";
import { askLanguages, askModels, socketUrl } from "./server.js";
import { loadChoices, loadKey, loadTranscript, saveChoices, saveKey, saveTranscript } from "./settings.js";
import { FORMATS, clock, writeText } from "./subtitles.js";
import { TranscriptView } from "./transcript-view.js";
import { Transcript } from "./transcript.js";
import { stayAwake } from "./wake.js";
import { Wave } from "./wave.js";
import { PAGE_LANGUAGES, pageLanguage, preferredLanguage, say, setPageLanguage } from "./words.js";

/** Less than this behind is not worth a word. */
const LAG_SECONDS = 3;
const BUTTON_TEXTS = { idle: "start", finishing: "finish" };
const MICROPHONE_PROBLEMS = ["denied", "missing", "busy", "stalled"];

const at = (id) => document.getElementById(id);
const saved = loadTranscript();
const transcript = saved ? Transcript.restored(saved) : new Transcript();
let listened = saved?.listened ?? 0; // seconds, before the round that runs
let listening = null;
let starting = null; // an AbortController, from the press of Start until the microphone is there
let state = "idle";
let rounds = 0;
let apiKey = loadKey();
let keyNeeded = false;
let record = false;
let session = null; // when it began, and whether it is recorded
let unlocking = null; // the dialog for the key, or the check of what was typed

const wave = new Wave(at("wave"));
const view = new TranscriptView({ finals: at("finals"), pending: at("pending"), latest: at("latest") });
const choices = new Choices(
  loadChoices(),
  { microphone: at("choose-microphone"), language: at("choose-language"), translation: at("choose-translation"), model: at("choose-model"), quality: at("choose-quality") },
  { microphone: changeMicrophone, failed: showMicrophoneProblem },
);

// Listening

function press() {
  if (state === "idle") start();
  else if (state === "finishing") listening.abandon();
  else if (listening) listening.stop();
  else {
    starting.abort();
    setState("idle");
  }
}

async function start() {
  if (!isAllowedHere()) return;
  dismissAll();
  if (keyNeeded && !(await unlock(false))) return;
  if (state !== "idle") return; // pressed twice while a key was being checked
  setState("connecting");
  const { signal } = (starting = new AbortController());
  rounds = 0;
  view.language = choices.values.language === "auto" ? "" : choices.values.language;
  view.follow();
  const { language: lang, translation: translateTo, model, quality: encoding, microphone } = choices.values;
  try {
    const options = { url: socketUrl(), apiKey, lang, translateTo, model, encoding, record };
    listening = await Listening.start(microphone, options, heard, signal);
  } catch (error) {
    if (signal.aborted) return;
    setState("idle");
    return showMicrophoneProblem(error);
  }
  session = { at: Date.now(), recorded: record };
  choices.refreshInputs();
  stayAwake(true);
}

/** What a Listening tells. */
const heard = {
  state(name) {
    if (name === "reconnecting") notice("connection", say("reconnecting"), { tone: "warn" });
    if (name === "live" && rounds > 1) notice("connection", say("restarted"), { tone: "good", passing: true });
    setState(name);
  },
  round(seconds) {
    rounds += 1;
    transcript.beginRound(listened + seconds);
    show();
  },
  resumed() {
    rounds = 1;
    notice("connection", say("resumed"), { tone: "good", passing: true });
  },
  interim(message) {
    transcript.interim(message);
    show();
  },
  final(message) {
    if (transcript.final(message)) save();
    show();
  },
  translation(message) {
    const entry = transcript.translation(message);
    if (entry) view.translate(transcript, entry);
    if (message.done) save();
  },
  notice({ message }) {
    notice("translation", say("translation.failed", { message }), { tone: "warn", passing: true });
  },
  failed(message) {
    transcript.failed(message);
    notice("problem", say("failed", message), { tone: "warn", passing: true });
    show();
  },
  lag(seconds) {
    if (seconds < LAG_SECONDS) dismiss("lag");
    else notice("lag", say("lag", { seconds: Math.round(seconds) }), { tone: "warn" });
  },
  problem(message) {
    notice("problem", say("problem", { message }), { tone: "warn" });
  },
  level(level) {
    wave.push(level);
    showTime();
  },
  silent(silent) {
    if (silent) notice("silent", say("silent"), { tone: "warn" });
    else dismiss("silent");
  },
  unplugged() {
    notice("microphone", say("unplugged"), { tone: "error" });
    listening.stop();
  },
  async over(reason, message) {
    const ended = listening;
    transcript.settle();
    dismiss("lag");
    dismiss("silent");
    if (reason !== "ended") dismiss("connection");
    await ended.release();
    tellAbout(ended);
    listened += ended.seconds;
    listening = null;
    setState("idle");
    show();
    save();
    stayAwake(false);
    showEnd(reason, message);
  },
};

function tellAbout(ended) {
  const entries = transcript.entries.filter(({ start }) => start >= listened);
  const times = entries.map(({ start, end, text }) => ({ start: start - listened, end: end - listened, text }));
  if (times.length) tellSession({ ...session, seconds: ended.seconds, entries: times });
}

function showEnd(reason, message) {
  if (reason === "key") {
    keyNeeded = true;
    unlock(Boolean(apiKey));
  } else if (reason === "refused") {
    notice("end", say("problem", { message }), { tone: "error" });
  } else if (reason === "full" || reason === "lost") {
    notice("end", say(reason), { tone: "error" });
  }
}

async function changeMicrophone() {
  try {
    await listening?.useMicrophone(choices.values.microphone);
  } catch (error) {
    showMicrophoneProblem(error);
  }
}

function showMicrophoneProblem(error) {
  const reason = MICROPHONE_PROBLEMS.includes(error.reason) ? error.reason : "busy";
  if (reason !== error.reason) console.error(error); // nobody foresaw it
  notice("microphone", say(reason), { tone: "error" });
}

// The server

/** Ask for a key until one is accepted; false: nobody typed one. Who comes while one is being checked waits for it. */
function unlock(refused) {
  return (unlocking ??= askForKeys(refused).finally(() => (unlocking = null)));
}

async function askForKeys(refused) {
  for (let wrong = refused; ; wrong = true) {
    const key = await askKey(wrong);
    if (!key) return false;
    apiKey = key;
    await meetServer();
    if (!keyNeeded) return true;
  }
}

async function nameLanguages() {
  choices.languages = await askLanguages();
  choices.show();
}

async function meetServer() {
  const { status, models, message } = await askModels(apiKey);
  keyNeeded = status === "key";
  if (keyNeeded) saveKey((apiKey = ""));
  choices.models = models;
  choices.show();
  if (status === "unreachable") notice("server", say("unreachable"), { tone: "error" });
  else if (status === "refused") notice("server", say("problem", { message }), { tone: "error" });
  else dismiss("server");
}

// What is seen

function setState(name) {
  state = name;
  document.body.dataset.state = name;
  at("state").textContent = say(`state.${name}`);
  at("listen-text").textContent = say(BUTTON_TEXTS[name] ?? "stop");
  choices.running = name !== "idle";
  if (name === "idle") wave.rest();
  showTime();
}

function show() {
  view.show(transcript);
  const empty = transcript.isEmpty;
  document.body.classList.toggle("empty", empty);
  for (const id of ["copy", "download", "clear"]) at(id).disabled = empty;
}

function showTime() {
  at("timer").textContent = clock(listened + (listening?.seconds ?? 0));
}

function save() {
  saveTranscript({ ...transcript.saved(), listened: listened + (listening?.seconds ?? 0) });
}

function setPage(code) {
  choices.values.page = code;
  saveChoices(choices.values);
  writePage(code);
}

function writePage(code) {
  setPageLanguage(code);
  at("page-language-text").textContent = PAGE_LANGUAGES[pageLanguage()];
  at("page-language").ariaLabel = `${say("page.language")}: ${PAGE_LANGUAGES[pageLanguage()]}`;
  at("insecure-text").textContent = say("insecure.text", { local: localUrl() });
  choices.show();
  setState(state);
  view.redraw();
  show();
}

/** This page, as the machine of the server itself may open it. */
function localUrl() {
  const url = new URL(location.href);
  url.hostname = "localhost";
  return url.origin + url.pathname;
}

// What is done with the text

function readable() {
  return transcript.saved().entries;
}

async function copy() {
  try {
    await navigator.clipboard.writeText(writeText(readable()));
    notice("text", say("copied"), { tone: "good", passing: true });
  } catch {
    notice("text", say("copy.failed"), { tone: "warn" });
  }
}

function download(format) {
  const { type, write } = FORMATS[format];
  const url = URL.createObjectURL(new Blob([write(readable())], { type: `${type};charset=utf-8` }));
  const link = document.createElement("a");
  const now = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000).toISOString();
  link.href = url;
  link.download = `kikitori-${now.slice(0, 16).replace("T", "-").replace(":", "")}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // some browsers read it later
}

function clear() {
  const [entries, time, during] = [transcript.clear(), listened, listening];
  if (!listening) listened = 0;
  rewrite();
  const undo = () => {
    transcript.bringBack(entries);
    if (!during && !listening) listened = time;
    rewrite();
  };
  notice("text", say("cleared"), { action: { label: say("undo"), run: undo } });
}

function rewrite() {
  view.redraw();
  show();
  showTime();
  save();
}

at("listen").onclick = press;
at("copy").onclick = copy;
at("clear").onclick = clear;
at("download").onclick = () =>
  pick({
    button: at("download"),
    heading: say("download"),
    options: Object.keys(FORMATS).map((format) => ({ value: format, label: say(`download.${format}`), hint: `.${format}` })),
    onChoose: download,
  });
at("page-language").onclick = () =>
  pick({
    button: at("page-language"),
    heading: say("page.language"),
    options: Object.entries(PAGE_LANGUAGES).map(([value, label]) => ({ value, label })),
    chosen: pageLanguage(),
    onChoose: setPage,
  });
window.addEventListener("pagehide", save);
window.addEventListener("beforeunload", (event) => {
  if (state !== "idle") event.preventDefault(); // asks whether to leave
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") listening?.wake();
  else save();
});

/** As the console around this page wishes. */
function adopt(setup) {
  record = setup.record;
  apiKey = setup.apiKey || apiKey;
  writePage(setup.language);
}

async function begin() {
  writePage(choices.values.page || preferredLanguage());
  if (isEmbedded) {
    document.body.dataset.embedded = "";
    const setup = await awaitSetup(adopt);
    if (setup) adopt(setup);
  }
  at("insecure").hidden = isAllowedHere();
  at("listen").disabled = !isAllowedHere();
  choices.refreshInputs();
  await Promise.all([nameLanguages(), meetServer()]);
  document.body.dataset.ready = "";
  if (keyNeeded) await unlock(Boolean(loadKey()));
}

begin();
