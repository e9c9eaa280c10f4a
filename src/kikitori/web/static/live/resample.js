/** Resampling of a stream by a windowed sinc; what a block leaves over is kept for the next. */

/** Half the length of the filter, in periods of the slower rate. With this window: flat to 84 % of its half. */
const HALF_PERIODS = 32;
/** Kaiser window: 80 dB of attenuation. */
const BETA = 7.86;
/** Middle of the filter's slope, as a share of half the slower rate: what would fold back is gone. */
const CUTOFF = 0.92;

export class Resampler {
  #up;
  #down;
  #half;
  #phases;
  #buffer;
  #position;
  #phase = 0;

  /** Whole numbers of samples a second. */
  constructor(from, to) {
    const divisor = gcd(from, to);
    this.#up = to / divisor;
    this.#down = from / divisor;
    const ratio = Math.min(1, to / from);
    this.#half = Math.ceil(HALF_PERIODS / ratio);
    this.#phases = new Array(this.#up); // made when first needed: 44.1 kHz has 160 of them
    this.cutoff = CUTOFF * ratio;
    this.#buffer = new Float32Array(this.#half - 1);
    this.#position = this.#half - 1;
  }

  /** Float32Array in, Float32Array out; together the outputs are what one long block would give. */
  push(block) {
    const input = joined(this.#buffer, block);
    const output = [];
    while (this.#position + this.#half < input.length) {
      output.push(this.#sample(input));
      this.#phase += this.#down;
      this.#position += Math.floor(this.#phase / this.#up);
      this.#phase %= this.#up;
    }
    const used = Math.min(input.length, this.#position - this.#half + 1);
    this.#buffer = input.slice(used);
    this.#position -= used;
    return Float32Array.from(output);
  }

  /** What the filter still holds back, as if silence followed. */
  flush() {
    return this.push(new Float32Array(this.#half));
  }

  #sample(input) {
    const taps = (this.#phases[this.#phase] ??= phaseTaps(this.#phase / this.#up, this.#half, this.cutoff));
    const first = this.#position - this.#half + 1;
    let sum = 0;
    for (let index = 0; index < taps.length; index++) sum += taps[index] * input[first + index];
    return sum;
  }
}

/** The filter's taps for an output that lies ``fraction`` of a sample after an input; their sum is 1. */
function phaseTaps(fraction, half, cutoff) {
  const taps = new Float32Array(2 * half);
  let sum = 0;
  for (let index = 0; index < taps.length; index++) {
    const distance = index - half + 1 - fraction;
    taps[index] = sinc(cutoff * distance) * kaiser(distance / half);
    sum += taps[index];
  }
  return taps.map((tap) => tap / sum);
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA);
}

/** The modified Bessel function I0, by its series. */
function bessel(x) {
  let sum = 1;
  for (let term = 1, k = 1; term > sum * 1e-9; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function joined(first, second) {
  const both = new Float32Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}
