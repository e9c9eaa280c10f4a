/** Samples on their way to the server: 16 kHz, one channel, 16 bit. */

export const RATE = 16_000;
/** Samples of a frame on the wire: 100 ms. */
const FRAME_SAMPLES = RATE / 10;
/** How much audio that the server has not confirmed is kept: 60 s. */
const KEPT_SAMPLES = 60 * RATE;

/** Float samples in any portions → whole frames of 16 bit. */
export class Framer {
  #waiting = new Int16Array(0);

  push(samples) {
    const all = new Int16Array(this.#waiting.length + samples.length);
    all.set(this.#waiting);
    for (let index = 0; index < samples.length; index++) all[this.#waiting.length + index] = toInt16(samples[index]);
    const frames = [];
    let start = 0;
    for (; start + FRAME_SAMPLES <= all.length; start += FRAME_SAMPLES) {
      frames.push(all.slice(start, start + FRAME_SAMPLES));
    }
    this.#waiting = all.slice(start);
    return frames;
  }

  /** The last frame, which may be shorter; none if nothing waits. */
  flush() {
    const rest = this.#waiting;
    this.#waiting = new Int16Array(0);
    return rest.length ? [rest] : [];
  }
}

/** Audio that the server has not confirmed, by its position in the session; the oldest goes when it becomes too much. */
export class KeptAudio {
  #frames = [];
  /** Position of the first sample that is kept. */
  start = 0;
  /** Position after the last one. */
  end = 0;

  push(frame) {
    this.#frames.push(frame);
    this.end += frame.length;
    while (this.end - this.start > KEPT_SAMPLES) this.#dropFirst();
  }

  /** Everything before ``position`` is safe. */
  confirm(position) {
    while (this.#frames.length && this.start + this.#frames[0].length <= position) this.#dropFirst();
  }

  /** Frames from ``position`` on. What is no longer kept is silence, so that later times stay right. */
  *from(position) {
    for (let missing = this.start - position; missing > 0; missing -= RATE) yield new Int16Array(Math.min(RATE, missing));
    let at = this.start;
    for (const frame of [...this.#frames]) {
      if (at + frame.length > position) yield frame.subarray(Math.max(0, position - at));
      at += frame.length;
    }
  }

  #dropFirst() {
    this.start += this.#frames.shift().length;
  }
}

/** Loudness of float samples, from 0 (-60 dB and below) to 1. */
export function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const decibels = 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-12);
  return Math.min(1, Math.max(0, (decibels + 60) / 54));
}

function toInt16(sample) {
  return Math.round(Math.max(-1, Math.min(1, sample)) * 0x7fff);
}
