/** From the microphone to the server: one press of Start to its Stop. */

import { Framer, RATE, loudness } from "./audio.js";
import { Connection } from "./connection.js";
import { Microphone } from "./microphone.js";
import { OpusRecorder } from "./opus.js";
import { Resampler } from "./resample.js";

/** So much quieter than a whisper that the microphone is probably off. */
const SILENT_LEVEL = 0.04;
const SILENT_SECONDS = 6;

/**
 * ``on`` has what a Connection tells, and ``level(0–1)``, ``silent(bool)``, ``unplugged()``.
 * Audio is kept from the first moment on, also while the server is still being reached.
 */
export class Listening {
  #microphone;
  #connection;
  #opus = null;
  #framer = new Framer();
  #resampler;
  #on;
  #samples = 0;
  #quietSince = 0;
  #silent = false;
  #closing = null;

  /** ``options``: url, apiKey, lang, translateTo, model, encoding, record. Throws MicrophoneError. */
  static async start(deviceId, options, on, signal) {
    const listening = new Listening(on);
    const ears = {
      block: (block) => listening.#heard(block),
      unplugged: () => on.unplugged(),
      muted: (muted) => listening.#setSilent(muted),
    };
    listening.#microphone = await Microphone.open(deviceId, ears, signal);
    try {
      listening.#connect(options);
    } catch (error) {
      await listening.#microphone.close();
      throw error;
    }
    return listening;
  }

  constructor(on) {
    this.#on = on;
  }

  /** How much was heard. */
  get seconds() {
    return this.#samples / RATE;
  }

  /** Send the last samples, then wait for the last words. */
  async stop() {
    await this.#close();
    this.#connection.finish();
  }

  /** Do not wait for the last words. */
  abandon() {
    this.#connection.abandon();
  }

  /** The connection is over: give the microphone back. */
  async release() {
    await this.#close();
  }

  async useMicrophone(deviceId) {
    await this.#microphone.change(deviceId);
  }

  async wake() {
    await this.#microphone.wake();
  }

  #connect({ url, apiKey, lang, translateTo, model, encoding, record }) {
    const resumable = encoding === "s16le";
    const format = resumable ? { encoding, sample_rate: RATE } : { encoding };
    const start = { lang, model, interim: true, resumable, ...(record && { record }), ...(translateTo && { translate_to: translateTo }), ...format };
    this.#connection = new Connection({ url, apiKey, start, on: this.#on });
    if (!resumable) {
      this.#opus = new OpusRecorder(this.#microphone.stream, (portion) => this.#connection.push(portion));
    }
  }

  #heard(block) {
    this.#resampler ??= new Resampler(this.#microphone.rate, RATE);
    this.#measure(block);
    this.#send(this.#framer.push(this.#count(this.#resampler.push(block))));
  }

  #count(samples) {
    this.#samples += samples.length;
    return samples;
  }

  #send(frames) {
    if (!this.#opus) for (const frame of frames) this.#connection?.push(frame);
  }

  #measure(block) {
    const level = loudness(block);
    this.#on.level(level);
    if (level > SILENT_LEVEL) this.#quietSince = this.seconds;
    this.#setSilent(this.seconds - this.#quietSince > SILENT_SECONDS);
  }

  #setSilent(silent) {
    if (silent !== this.#silent) this.#on.silent((this.#silent = silent));
  }

  #close() {
    return (this.#closing ??= this.#flush());
  }

  async #flush() {
    await this.#opus?.close();
    await this.#microphone.close();
    if (this.#resampler) this.#send(this.#framer.push(this.#resampler.flush()));
    this.#send(this.#framer.flush());
  }
}
