/** One round of live speech on the server, over as many sockets as it takes. */

import { KeptAudio, RATE } from "./audio.js";

/** Waiting before each new try, in milliseconds; the last one again and again. */
const BACK_OFF_MS = [200, 500, 1000, 2000, 4000, 8000];
/** After this long without the server the round is given up. */
const GIVE_UP_MS = 5 * 60_000;
/** A socket that does not open in time is lost. */
const OPEN_MS = 10_000;
/** How often a quiet server is asked whether it is there, and after how much silence it is lost. */
const PING_MS = 5000;
const SILENCE_MS = 20_000;
/** Audio without a final that a new session hears again when the old one is gone, at most: 30 s. */
const HEARD_AGAIN_SAMPLES = 30 * RATE;
const FULL_CLOSE = 1013;
const BUSY_CODE = "rate_limit_exceeded";

/**
 * Tells through ``on``:
 * ``state(name)``: connecting, live, reconnecting, finishing;
 * ``round(seconds)``: a round of the server begins, so long after the first audio;
 * ``resumed()``; ``interim(message)``, ``final(message)``, ``translation(message)``, ``notice(message)``, ``failed(message)`` (an utterance), ``lag(seconds)``, ``problem(message)``;
 * ``over(reason, message)``, once: ended, abandoned, lost, full, key, refused.
 */
export class Connection {
  #url;
  #apiKey;
  #start;
  #on;
  #kept;
  #queue = [];
  #socket = null;
  #token = "";
  // Positions in all audio: where the server's round begins, up to where it has it, up to where its text is final.
  #origin = 0;
  #confirmed = 0;
  #decided = 0;
  #known = false; // the server has had a session for us
  #live = false;
  #finishing = false;
  #over = false;
  #lagging = false;
  #attempt = 0;
  #lostAt = 0;
  #heardAt = 0;
  #lastError = null;
  #timer = 0;
  #openTimer = 0;
  #pinger;

  /** ``start``: the fields of the message. With ``resumable``, audio is Int16Array; otherwise buffers of a stream. */
  constructor({ url, apiKey, start, on }) {
    this.#url = url;
    this.#apiKey = apiKey;
    this.#start = { type: "start", ...start };
    this.#on = on;
    this.#kept = start.resumable ? new KeptAudio() : null;
    this.#pinger = setInterval(() => this.#watch(), PING_MS);
    window.addEventListener("online", this.#back);
    on.state("connecting");
    this.#connect();
  }

  push(audio) {
    if (this.#over) return;
    if (this.#kept) this.#kept.push(audio);
    else if (!this.#live) this.#queue.push(audio);
    if (this.#live) this.#write(audio);
  }

  /** No more audio: the last words, then ``over("ended")``. */
  finish() {
    if (this.#over || this.#finishing) return;
    this.#finishing = true;
    if (this.#live) this.#send({ type: "end" });
    this.#on.state("finishing");
  }

  /** Do not wait for anything. */
  abandon() {
    this.#finish("abandoned");
  }

  // Sockets

  #connect() {
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#lastError = null;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#received(JSON.parse(data));
    socket.onclose = ({ code }) => this.#closed(code);
    this.#openTimer = setTimeout(() => this.#lost(), OPEN_MS);
  }

  #opened() {
    clearTimeout(this.#openTimer);
    this.#heardAt = Date.now();
    if (this.#apiKey) this.#send({ type: "auth", api_key: this.#apiKey });
    if (this.#token) this.#send({ type: "resume", token: this.#token });
    else this.#begin();
  }

  #begin() {
    this.#send(this.#start);
    if (this.#kept) this.#origin = this.#confirmed = this.#decided = this.#kept.start;
    this.#on.round(this.#origin / RATE);
    if (!this.#kept) this.#flow();
  }

  /** The server takes audio from here on. */
  #flow(position = 0) {
    for (const audio of this.#kept ? this.#kept.from(this.#origin + position) : this.#queue) this.#write(audio);
    this.#queue = [];
    this.#live = true;
    if (this.#finishing) this.#send({ type: "end" });
    this.#on.state(this.#finishing ? "finishing" : "live");
  }

  #closed(code) {
    if (this.#over) return;
    if (code === FULL_CLOSE && !this.#known) this.#finish("full", this.#lastError?.message);
    else this.#lost();
  }

  #lost() {
    this.#drop();
    if (!this.#kept && (this.#live || this.#attempt > 1)) return this.#finish("lost");
    this.#live = false;
    this.#lagging = false;
    this.#on.lag(0);
    if (!this.#attempt) this.#lostAt = Date.now();
    else if (Date.now() - this.#lostAt > GIVE_UP_MS) return this.#finish("lost");
    if (this.#token || this.#attempt) this.#on.state("reconnecting");
    const wait = BACK_OFF_MS[Math.min(this.#attempt++, BACK_OFF_MS.length - 1)];
    this.#timer = setTimeout(() => this.#connect(), wait * (0.75 + Math.random() / 2));
  }

  /** The network is back: do not wait any longer. */
  #back = () => {
    if (this.#over || this.#socket) return;
    clearTimeout(this.#timer);
    this.#connect();
  };

  #watch() {
    if (!this.#live || this.#lagging) return;
    const quiet = Date.now() - this.#heardAt;
    if (quiet > SILENCE_MS) this.#lost();
    else if (quiet > PING_MS) this.#send({ type: "ping" });
  }

  #drop() {
    clearTimeout(this.#openTimer);
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #send(message) {
    this.#write(JSON.stringify(message));
  }

  /** What a closing socket does not take is sent again on the next one. */
  #write(data) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(data);
  }

  #finish(reason, message = "") {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    clearInterval(this.#pinger);
    window.removeEventListener("online", this.#back);
    this.#drop();
    this.#on.over(reason, message);
  }

  // Messages

  #received(message) {
    this.#heardAt = Date.now();
    const receive = {
      session: () => this.#onSession(message),
      resumed: () => this.#onResumed(message),
      ack: () => this.#onAck(message),
      interim: () => this.#on.interim(message),
      final: () => this.#onFinal(message),
      translation: () => this.#on.translation(message),
      notice: () => this.#on.notice(message),
      lag: () => this.#onLag(message.seconds),
      error: () => this.#onError(message),
      ended: () => this.#onEnded(),
    }[message.type];
    receive?.();
  }

  #onSession({ token, samples }) {
    this.#token = token;
    this.#known = true;
    this.#flow(samples);
  }

  /** Only now it is sure that the server works: one that fails at once is not asked again without waiting. */
  #onAck({ samples }) {
    this.#attempt = 0;
    this.#confirm(samples);
  }

  #onResumed({ samples }) {
    this.#confirm(samples);
    this.#flow(samples);
    this.#on.resumed();
  }

  #confirm(samples) {
    this.#confirmed = this.#origin + samples;
    this.#forget();
  }

  #onFinal(message) {
    this.#decideTo(message.end);
    this.#on.final(message);
  }

  #decideTo(seconds) {
    this.#decided = this.#origin + Math.round(seconds * RATE);
    this.#forget();
  }

  /** Audio is needed until the server has it; and until its text is final, for the case that the server goes down. */
  #forget() {
    const decided = Math.max(this.#decided, this.#confirmed - HEARD_AGAIN_SAMPLES);
    this.#kept?.confirm(Math.min(this.#confirmed, decided));
  }

  #onLag(seconds) {
    this.#lagging = seconds > 0;
    this.#on.lag(seconds);
  }

  #onEnded() {
    if (this.#live && this.#finishing) this.#finish("ended");
    else if (this.#live && this.#kept) this.#renew(); // the server had its reasons; somebody is still speaking
    else if (this.#live) this.#finish("lost");
  }

  #onError(message) {
    this.#lastError = message;
    if (message.code === "invalid_api_key") this.#finish("key");
    else if (message.utterance !== undefined) this.#onFailed(message);
    else if (this.#live && this.#kept) this.#on.problem(message.message);
    else if (this.#known && message.code === BUSY_CODE) this.#lost();
    else if (this.#token) this.#renew();
    else this.#finish(message.code === BUSY_CODE ? "full" : "refused", message.message);
  }

  #onFailed(message) {
    this.#decideTo(message.end);
    this.#on.failed(message);
  }

  /** The server does not know the session any more: what has no final yet goes into a new one. */
  #renew() {
    this.#token = "";
    if (this.#finishing && this.#kept.start === this.#kept.end) this.#finish("ended");
    else this.#lost();
  }
}
