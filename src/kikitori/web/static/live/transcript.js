/** What was said: final entries, and texts that may still change. Times are seconds of listening. */

export class Transcript {
  /** ``{key, start, end, text, words, language, unfinished, translation}``, in order. */
  entries = [];
  #pending = new Map();
  /** Keys that have their text: a server that sends it once more is not heard. */
  #decided = new Set();
  #round = 0;
  #offset = 0;

  /** Whether there is anything to read. */
  get isEmpty() {
    return !this.entries.length && !this.pending.length;
  }

  /** Texts that may change, in order: ``{key, start, stable, tail}``. */
  get pending() {
    return [...this.#pending.values()].filter((text) => text.stable || text.tail);
  }

  /** When the last entry ends. */
  get end() {
    return this.entries.reduce((latest, entry) => Math.max(latest, entry.end), 0);
  }

  /** What comes now belongs to a session that begins ``offset`` seconds into the listening: later texts come again. */
  beginRound(offset) {
    for (const [key, text] of this.#pending) if (text.start >= offset) this.#pending.delete(key);
    this.settle();
    this.#round += 1;
    this.#offset = offset;
  }

  interim({ utterance, text, stable = "", start, end }) {
    const key = this.#key(utterance);
    if (this.#decided.has(key)) return;
    const fixed = text.startsWith(stable.trimStart()) ? stable.trimStart() : "";
    this.#pending.set(key, { key, ...this.#times(start, end), stable: fixed, tail: text.slice(fixed.length) });
  }

  /** Returns the entry; undefined if there is nothing to read, or it was there already. */
  final({ utterance, text, start, end, words = [], language = "" }) {
    const key = this.#key(utterance);
    this.#pending.delete(key);
    if (!text || this.#decided.has(key)) return undefined;
    this.#decided.add(key);
    const timed = words.map((word) => ({ word: word.word, ...this.#times(word.start, word.end) }));
    const entry = { key, ...this.#times(start, end), text, words: timed, language };
    this.entries.push(entry);
    return entry;
  }

  /** All of a translation so far. Returns the entry it belongs to; undefined if that is gone. */
  translation({ utterance, text, lang, failed }) {
    const key = this.#key(utterance);
    const entry = this.entries.findLast((each) => each.key === key);
    if (!entry || (failed && !text)) return undefined;
    entry.translation = { text, lang };
    return entry;
  }

  /** No final will come for the utterance: keep what was read so far. */
  failed({ utterance }) {
    this.#settle(this.#key(utterance));
  }

  /** No more finals will come. */
  settle() {
    for (const key of [...this.#pending.keys()]) this.#settle(key);
  }

  /** Take away all entries; they are returned, for ``bringBack``. What is pending stays. */
  clear() {
    return this.entries.splice(0);
  }

  bringBack(entries) {
    this.entries.unshift(...entries);
  }

  /** For ``restored``; what is pending counts as unfinished. */
  saved() {
    const open = this.pending.map(unfinished);
    return { round: this.#round, entries: [...this.entries, ...open] };
  }

  static restored(saved) {
    const transcript = new Transcript();
    transcript.#round = saved.round;
    transcript.entries = saved.entries;
    return transcript;
  }

  #settle(key) {
    const text = this.#pending.get(key);
    this.#pending.delete(key);
    if (!text?.stable && !text?.tail) return;
    this.#decided.add(key);
    this.entries.push(unfinished(text));
  }

  #key(utterance) {
    return `${this.#round}.${utterance}`;
  }

  #times(start, end) {
    return { start: this.#offset + start, end: this.#offset + end };
  }
}

function unfinished({ key, start, end, stable, tail }) {
  return { key, start, end, text: (stable + tail).trim(), words: [], language: "", unfinished: true };
}
