/** What our components share; it stands before each of them. */

/** A component with one view for each place of the page: ``make`` gets the place and its first data. */
function viewed(make) {
  const views = new WeakMap();
  return ({ parentElement, data, setTriggerValue }) => {
    let view = views.get(parentElement);
    if (!view) views.set(parentElement, (view = make(parentElement, data)));
    view.show(data, setTriggerValue);
    return () => {
      view.leave();
      views.delete(parentElement);
    };
  };
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  if (name === "button") made.type = "button"; // in a form it would send it otherwise
  return made;
}

/** A button that copies what ``text`` returns, and says so for a while. ``words``: copy, copied. */
function copier(className, text) {
  const button = element("button", className);
  let words = { copy: "", copied: "" };
  let timer = 0;
  button.onclick = async () => {
    await copy(text());
    clearTimeout(timer);
    button.textContent = words.copied;
    timer = setTimeout(() => {
      timer = 0;
      button.textContent = words.copy;
    }, COPIED_MS);
  };
  button.say = (wanted) => {
    words = wanted;
    if (!timer) button.textContent = words.copy;
  };
  return button;
}

const COPIED_MS = 2000;

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyOldWay(text); // pages over plain HTTP have no clipboard
  }
}

function copyOldWay(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.style.position = "fixed";
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

/** ``0:04``, ``1:02:03``. */
function clock(seconds) {
  const whole = Math.floor(seconds);
  const [minutes, rest] = [Math.floor(whole / 60) % 60, whole % 60];
  const hours = Math.floor(whole / 3600);
  const tail = String(rest).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** The player in the container of the class ``className``; it may come later than who asks, and be another one then. */
class Player {
  constructor(tick) {
    this.ticking = (event) => tick(event.target.currentTime);
    this.timer = setInterval(() => this.find(), 1000);
    this.className = "";
  }

  find() {
    const { className, heard } = this;
    const found = className ? document.querySelector(`.${CSS.escape(className)} :is(audio, video)`) : null;
    if (!found || found === heard) return found;
    heard?.removeEventListener("timeupdate", this.ticking);
    this.heard = found;
    found.addEventListener("timeupdate", this.ticking);
    return found;
  }

  hear(seconds) {
    const player = this.find();
    if (!player) return;
    player.currentTime = seconds;
    player.play().catch(() => {}); // a browser that wants a touch of the player first
  }

  leave() {
    clearInterval(this.timer);
    this.heard?.removeEventListener("timeupdate", this.ticking);
  }
}
