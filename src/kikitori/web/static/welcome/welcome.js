/** The landing page: the light, what runs here, and examples that can be copied. */

import { say, speak } from "./words.js";

const LIGHT_EVERY_MS = 10_000;
const SHOWN_MODELS = 4;
const COPIED_MS = 2_000;

const byId = (id) => document.getElementById(id);

/** A reverse proxy may show this page under an address that the server does not know. */
function useOwnAddress() {
  const told = document.body.dataset.base;
  const own = new URL("./", location.href).href;
  if (own === told) return;
  for (const code of document.querySelectorAll("code")) {
    code.textContent = code.textContent.replaceAll(told, own).replaceAll(told.replace(/^http/, "ws"), own.replace(/^http/, "ws"));
  }
}

async function showLight() {
  const [kind, text] = await readiness();
  byId("dot").className = `dot ${kind}`;
  byId("health").textContent = text;
}

async function readiness() {
  try {
    const answer = await fetch("health/ready", { cache: "no-store" });
    const { reason } = await answer.json();
    return answer.ok ? ["ready", say("ready")] : ["waiting", reason || say("waiting")];
  } catch {
    return ["away", say("away")];
  }
}

/** What runs here; a server with keys tells it to their holders only. */
async function showModels() {
  const [models, loaded] = await Promise.all([read("v1/models"), read("api/models/loaded")]);
  const names = (models?.data ?? []).filter((model) => !model.alias_of).map((model) => model.id);
  if (names.length) {
    const more = names.length - SHOWN_MODELS;
    byId("models").textContent = names.slice(0, SHOWN_MODELS).join(", ") + (more > 0 ? say("more", { count: more }) : "");
    byId("models-fact").hidden = false;
  }
  const devices = new Set((loaded?.models ?? []).flatMap((model) => model.replicas.map(deviceName)));
  if (devices.size) {
    byId("device").textContent = [...devices].join(", ");
    byId("device-fact").hidden = false;
  }
}

function deviceName({ device, device_index: index }) {
  return device === "cpu" ? say("cpu") : `${say("gpu")} ${index}`;
}

async function read(path) {
  try {
    const answer = await fetch(path);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

async function copy(button) {
  const code = byId(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // Without HTTPS, or when it is not allowed: the reader copies what is chosen.
    getSelection().selectAllChildren(code);
    byId("said").textContent = say("chosen");
    return;
  }
  byId("said").textContent = button.textContent = say("copied");
  setTimeout(() => (button.textContent = say("copy")), COPIED_MS);
}

speak();
useOwnAddress();
byId("access").textContent = say(document.body.dataset.access);
for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", () => copy(button));
showLight();
setInterval(() => document.hidden || showLight(), LIGHT_EVERY_MS);
if (document.body.dataset.access === "open") await showModels();
document.body.dataset.ready = "";
