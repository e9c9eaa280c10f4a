/** The loudness of the last seconds, as bars; for those who want no motion, one row that fills. */

/** Pixels from bar to bar, and of a bar. */
const STEP = 5;
const BAR = 2.5;
/** Loud speech stands out from the merely audible. */
const CURVE = 1.7;
/** How many bars come in a second. */
const BARS_PER_SECOND = 16;

export class Wave {
  #canvas;
  #levels = [];
  #peak = 0;
  #shownAt = 0;
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  #running = false;

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    for (const query of [this.#still, matchMedia("(prefers-color-scheme: dark)")]) {
      query.addEventListener("change", () => this.draw());
    }
  }

  /** ``level``: 0 to 1. */
  push(level) {
    this.#running = true;
    this.#peak = Math.max(this.#peak, level);
    const now = performance.now();
    if (now - this.#shownAt < 1000 / BARS_PER_SECOND) return;
    this.#shownAt = now;
    this.#levels.push(this.#peak);
    this.#levels = this.#levels.slice(-this.#capacity());
    this.#canvas.setAttribute("aria-valuenow", String(Math.round(this.#peak * 100)));
    this.#peak = 0;
    this.draw();
  }

  /** Nothing is heard any more. */
  rest() {
    this.#levels = [];
    this.#running = false;
    this.#canvas.setAttribute("aria-valuenow", "0");
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = window.devicePixelRatio;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    const pen = this.#canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(this.#canvas);
    const [on, off] = [style.getPropertyValue("--wave"), style.getPropertyValue("--wave-rest")];
    const bars = this.#bars();
    bars.forEach((level, index) => {
      const tall = Math.max(BAR, level ** CURVE * height);
      pen.fillStyle = level > 0 ? on : off;
      pen.beginPath();
      pen.roundRect(width - (bars.length - index) * STEP, (height - tall) / 2, BAR, tall, BAR / 2);
      pen.fill();
    });
  }

  #bars() {
    const count = this.#capacity();
    if (this.#still.matches) {
      const lit = Math.round((this.#levels.at(-1) ?? 0) * count);
      return Array.from({ length: count }, (_, index) => (this.#running && index < lit ? 0.5 : 0));
    }
    return [...new Array(Math.max(0, count - this.#levels.length)).fill(0), ...this.#levels];
  }

  #capacity() {
    return Math.max(1, Math.floor(this.#canvas.clientWidth / STEP));
  }
}
