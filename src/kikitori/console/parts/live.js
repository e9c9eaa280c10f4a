/** The server's live page in a frame, and the sessions of this browser below it. */

const READY = "kikitori.ready";
const SETUP = "kikitori.setup";
const SESSION = "kikitori.session";
const HISTORY = "kikitori.console.sessions";
/** Sessions that are remembered. */
const MOST = 50;

export default viewed((root, data) => new View(root, data));

class View {
  constructor(root, data) {
    this.origin = new URL(data.url).origin;
    this.frame = element("iframe", "page");
    this.frame.allow = `microphone ${this.origin}; screen-wake-lock ${this.origin}; clipboard-write ${this.origin}`;
    this.frame.title = data.words.title;
    this.frame.src = data.url;
    this.heading = element("h2", "heading");
    this.list = element("div", "view");
    root.append(this.frame, this.heading, this.list);
    this.root = root;
    this.hear = (event) => this.heard(event);
    window.addEventListener("message", this.hear);
  }

  show(data) {
    this.data = data;
    this.setUp();
    this.draw();
  }

  /** A key that was typed here is for the page of the server alone: whoever else stands in the frame does not get it. */
  setUp() {
    const { apiKey, language, record } = this.data;
    if (!this.ready) return;
    this.frame.contentWindow?.postMessage({ type: SETUP, apiKey, language, record }, this.origin);
    this.frame.dataset.record = record;
  }

  heard(event) {
    if (event.source !== this.frame.contentWindow || event.origin !== this.origin) return;
    if (event.data?.type === READY) {
      this.ready = true;
      this.setUp();
    } else if (event.data?.type === SESSION) {
      this.save([event.data.session, ...this.sessions()].slice(0, MOST));
      this.draw();
    }
  }

  /** With a key the sessions are those of its holder, and go with the tab. */
  get storage() {
    return this.data.apiKey ? window.sessionStorage : window.localStorage;
  }

  get name() {
    return `${HISTORY}${this.data.holder}`;
  }

  sessions() {
    try {
      return JSON.parse(this.storage.getItem(this.name)) ?? [];
    } catch {
      return [];
    }
  }

  save(sessions) {
    try {
      this.storage.setItem(this.name, JSON.stringify(sessions));
    } catch {
      // full or forbidden: then there is no history
    }
  }

  draw() {
    const { words, apiKey } = this.data;
    const sessions = this.sessions();
    this.heading.textContent = apiKey ? words.history_tab : words.history;
    const rows = sessions.map((session, number) => this.row(session, number));
    this.list.replaceChildren(...(rows.length ? rows : [element("p", "none", words.none)]));
  }

  row(session, number) {
    const { words, language } = this.data;
    const text = session.entries.map((entry) => entry.text).join("\n");
    const row = element("details", "session box");
    row.open = number === 0;
    const head = element("summary", "head");
    const when = new Date(session.at).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
    head.append(element("span", "when", when), element("span", "length", clock(Math.round(session.seconds))));
    if (session.recorded) head.append(element("span", "recorded", words.recorded));
    head.append(element("span", "first", text));
    const tools = element("div", "tools");
    const copy = copier("tool", () => text);
    copy.say(words);
    const save = element("button", "tool", words.save);
    save.onclick = () => download(text, session.at);
    const remove = element("button", "tool", words.remove);
    remove.onclick = () => {
      this.save(this.sessions().filter((other) => other.at !== session.at));
      this.draw();
    };
    tools.append(copy, save, remove);
    row.append(head, element("p", "text", text), tools);
    return row;
  }

  leave() {
    window.removeEventListener("message", this.hear);
    this.root.replaceChildren();
  }
}

function download(text, at) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/plain;charset=utf-8" }));
  link.download = `kikitori-${new Date(at).toISOString().slice(0, 16).replace(":", "")}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers read it later
}
