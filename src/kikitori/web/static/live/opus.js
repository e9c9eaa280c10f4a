/** The microphone as a WebM stream of Opus: an eighth of the bytes. */

export const OPUS_TYPE = "audio/webm;codecs=opus";
const BITS_PER_SECOND = 32_000;
/** Milliseconds of audio in a portion. */
const PORTION_MS = 250;

export function canRecordOpus() {
  return Boolean(globalThis.MediaRecorder?.isTypeSupported(OPUS_TYPE));
}

export class OpusRecorder {
  #recorder;
  #sent = Promise.resolve();

  /** ``onPortion(ArrayBuffer)``, in order. */
  constructor(stream, onPortion) {
    this.#recorder = new MediaRecorder(stream, { mimeType: OPUS_TYPE, audioBitsPerSecond: BITS_PER_SECOND });
    this.#recorder.ondataavailable = ({ data }) => {
      const bytes = data.arrayBuffer();
      this.#sent = this.#sent.then(async () => onPortion(await bytes));
    };
    this.#recorder.start(PORTION_MS);
  }

  /** Resolves when the last portion was handed over. */
  async close() {
    if (this.#recorder.state !== "inactive") {
      await new Promise((done) => {
        this.#recorder.onstop = done;
        this.#recorder.stop();
      });
    }
    await this.#sent;
  }
}
