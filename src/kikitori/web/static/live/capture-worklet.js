/** Hands the microphone's samples to the page in blocks; "flush" asks for what is left. */

const BLOCK_SAMPLES = 1024;

class Capture extends AudioWorkletProcessor {
  #block = new Float32Array(BLOCK_SAMPLES);
  #filled = 0;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.#send();
      this.port.postMessage(null);
    };
  }

  process([input]) {
    const samples = input[0];
    if (!samples) return true; // nothing is connected at the moment
    for (const sample of samples) {
      this.#block[this.#filled++] = sample;
      if (this.#filled === BLOCK_SAMPLES) this.#send();
    }
    return true;
  }

  #send() {
    const block = this.#block.slice(0, this.#filled);
    this.#filled = 0;
    this.port.postMessage(block, [block.buffer]);
  }
}

registerProcessor("capture", Capture);
