/** Lines of a transcript: read, searched, heard, copied, edited. Drawn anew with each change of its data. */

export default viewed((root) => new View(root));

/** So near to the end, in pixels, somebody reads along. */
const NEAR_END = 60;

class View {
  constructor(root) {
    this.root = element("div", "view");
    this.search = element("input", "search");
    this.search.type = "search";
    this.search.oninput = () => this.draw();
    this.count = element("span", "count");
    this.copy = copier("tool copy", () => this.data.lines.map((line) => line.text).join("").trim());
    const bar = element("div", "bar");
    bar.append(this.search, this.count, this.copy);
    this.list = element("ol", "lines box");
    this.list.setAttribute("role", "log");
    this.root.append(bar, this.list);
    root.append(this.root);
    this.drawn = [];
    this.editing = null;
    this.player = new Player((now) => this.mark(now));
  }

  show(data, tell) {
    this.data = data;
    this.tell = tell;
    this.search.placeholder = data.words.search;
    this.search.ariaLabel = data.words.search;
    this.copy.say(data.words);
    this.copy.disabled = data.lines.length === 0;
    this.player.className = data.player;
    this.player.find();
    this.draw();
  }

  draw() {
    const { lines, growing, words } = this.data;
    const follows = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR_END;
    const wanted = this.search.value.trim().toLowerCase();
    const shown = wanted ? lines.filter((line) => line.text.toLowerCase().includes(wanted)) : lines;
    this.count.textContent = wanted ? words.found.replace("{count}", shown.length) : "";
    this.rows(shown, wanted);
    this.list.classList.toggle("growing", growing);
    this.list.dataset.waiting = growing && lines.length === 0 ? words.waiting : "";
    if ((growing || this.grew) && follows && !wanted) this.list.scrollTop = this.list.scrollHeight;
    this.grew = growing;
  }

  /** Rows that are the same stay, so that what is selected or edited is not lost. */
  rows(shown, wanted) {
    const kept = Math.min(this.drawn.length, shown.length);
    let same = 0;
    while (same < kept && this.drawn[same] === this.fingerprint(shown[same], wanted)) same += 1;
    if (this.editing !== null && same < this.drawn.length) {
      const row = this.list.children[same];
      if (row && row.contains(this.editing)) return; // not while somebody writes here
    }
    while (this.list.children.length > same) this.list.lastChild.remove();
    this.drawn.length = same;
    for (const line of shown.slice(same)) {
      this.list.append(this.row(line, wanted));
      this.drawn.push(this.fingerprint(line, wanted));
    }
  }

  fingerprint(line, wanted) {
    return JSON.stringify([line, wanted, this.data.editable, this.data.player, this.data.words.edit]);
  }

  row(line, wanted) {
    const row = element("li", "line");
    row.dataset.start = line.start;
    row.dataset.end = line.end;
    const time = element(this.data.player ? "button" : "span", "time", line.label);
    const text = element("p", "text");
    if (line.speaker) text.append(element("span", "speaker", line.speaker));
    text.append(...highlighted(line.text.trim(), wanted));
    row.append(time, text);
    if (this.data.player) {
      time.title = this.data.words.hear;
      time.onclick = () => this.player.hear(line.start);
      text.onclick = () => getSelection().isCollapsed && this.player.hear(line.start);
      text.classList.add("audible");
    }
    if (line.edited) text.append(element("span", "edited", this.data.words.edited));
    if (this.data.editable) row.append(this.pencil(row, line));
    return row;
  }

  pencil(row, line) {
    const pencil = element("button", "edit");
    pencil.title = pencil.ariaLabel = this.data.words.edit;
    pencil.innerHTML = PENCIL;
    pencil.onclick = () => this.edit(row, line);
    return pencil;
  }

  edit(row, line) {
    const text = row.querySelector(".text");
    const form = element("form", "form");
    const field = element("textarea", "field");
    field.rows = 1;
    field.value = line.text.trim();
    field.ariaLabel = this.data.words.edit;
    const save = element("button", "tool save", this.data.words.save);
    save.type = "submit";
    const cancel = element("button", "tool cancel", this.data.words.cancel);
    form.append(field, save, cancel);
    const close = () => {
      this.editing = null;
      form.replaceWith(text);
      this.draw();
    };
    form.onsubmit = (event) => {
      event.preventDefault();
      const written = field.value.trim();
      if (written && written !== line.text.trim()) this.tell("edited", { id: line.id, text: written });
      close();
    };
    cancel.onclick = close;
    field.onkeydown = (event) => {
      if (event.isComposing) return; // Enter chooses a word of an input method
      if (event.key === "Escape") close();
      if (event.key === "Enter" && !event.shiftKey) form.requestSubmit();
    };
    text.replaceWith(form);
    this.editing = form;
    field.style.height = `${field.scrollHeight + 4}px`;
    field.focus();
  }

  mark(now) {
    for (const row of this.list.children) {
      row.classList.toggle("now", now >= Number(row.dataset.start) && now < Number(row.dataset.end));
    }
  }

  leave() {
    this.player.leave();
    this.root.remove();
  }
}

const PENCIL =
  '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4.5 19.500l.9-4L15.900 5a2 2 0 0 1 2.800 0l.3.300a2 2 0 0 1 0 2.800L8.500 18.600z"/></svg>';

/** ``text`` with marks around what was searched for. */
function highlighted(text, wanted) {
  if (!wanted) return [text];
  const parts = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    parts.push(text.slice(from, at), element("mark", "", text.slice(at, at + wanted.length)));
    from = at + wanted.length;
  }
  return [...parts, text.slice(from)];
}
