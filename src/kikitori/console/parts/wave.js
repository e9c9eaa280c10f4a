/** The wave of a recording: its loudness, where somebody speaks, and how far it has been heard. */

const BAR = 2;
const GAP = 1;
const SEGMENT_HEIGHT = 3;
const STEP_SECONDS = 5;

export default viewed((root) => new Wave(root));

class Wave {
  constructor(root) {
    this.root = element("div", "wave box");
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "slider");
    this.canvas = element("canvas");
    this.at = element("span", "at");
    this.root.append(this.canvas, this.at);
    root.append(this.root);
    this.now = 0;
    this.player = new Player((now) => this.follow(now));
    this.root.onclick = (event) => this.hear(this.timeAt(event.clientX));
    this.root.onkeydown = (event) => this.step(event);
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.root);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => setTimeout(() => this.draw(), 100);
    this.scheme.addEventListener("change", this.redraw);
  }

  show(data) {
    this.data = data;
    this.root.ariaLabel = data.label;
    this.root.ariaValueMin = "0";
    this.root.ariaValueMax = String(Math.round(data.duration));
    this.player.className = data.player;
    this.player.find();
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const { width, height } = this.root.getBoundingClientRect();
    const scale = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(width * scale));
    this.canvas.height = Math.max(1, Math.round(height * scale));
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(this.root);
    const heard = style.getPropertyValue("--st-primary-color") || "#b93a26";
    this.segments(pen, width, height, heard);
    this.bars(pen, width, height, heard, style.color);
    this.at.textContent = `${clock(this.now)} / ${clock(this.data.duration)}`;
    this.root.ariaValueNow = String(Math.round(this.now));
    this.root.ariaValueText = clock(this.now);
  }

  segments(pen, width, height, color) {
    const { segments, duration } = this.data;
    if (!duration) return;
    pen.fillStyle = color;
    pen.globalAlpha = 0.5;
    for (const [start, end] of segments) {
      const left = (start / duration) * width;
      pen.fillRect(left, height - SEGMENT_HEIGHT, Math.max(1, ((end - start) / duration) * width - 1), SEGMENT_HEIGHT);
    }
  }

  bars(pen, width, height, heard, rest) {
    const { peaks, duration } = this.data;
    const count = Math.max(1, Math.floor(width / (BAR + GAP)));
    const loudest = Math.max(0.05, ...peaks);
    const room = height - 4 * SEGMENT_HEIGHT;
    for (let bar = 0; bar < count; bar += 1) {
      const from = Math.floor((bar / count) * peaks.length);
      const to = Math.max(from + 1, Math.floor(((bar + 1) / count) * peaks.length));
      const loud = Math.max(0, ...peaks.slice(from, to)) / loudest;
      const tall = Math.max(1.5, loud * room);
      const played = (bar / count) * duration < this.now;
      pen.fillStyle = played ? heard : rest;
      pen.globalAlpha = played ? 1 : 0.3;
      pen.fillRect(bar * (BAR + GAP), (height - SEGMENT_HEIGHT - tall) / 2, BAR, tall);
    }
  }

  timeAt(x) {
    const { left, width } = this.root.getBoundingClientRect();
    return Math.min(1, Math.max(0, (x - left) / width)) * this.data.duration;
  }

  step(event) {
    const steps = { ArrowLeft: -STEP_SECONDS, ArrowRight: STEP_SECONDS };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.hear(Math.min(this.data.duration, Math.max(0, this.now + steps[event.key])));
  }

  hear(seconds) {
    this.follow(seconds);
    this.player.hear(seconds);
  }

  follow(seconds) {
    this.now = seconds;
    this.draw();
  }

  leave() {
    this.watcher.disconnect();
    this.scheme.removeEventListener("change", this.redraw);
    this.player.leave();
    this.root.remove();
  }
}
