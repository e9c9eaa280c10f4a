/** The microphone: asked for, listened to, changed, given back. */

/** How long the last samples may take to arrive, in milliseconds. */
const FLUSH_MS = 500;
/** How long the browser may take to start its audio: Firefox never does on a machine that can play nothing. */
const START_MS = 5000;

/** Why there is no microphone: insecure, denied, missing, busy, stalled, cancelled. */
export class MicrophoneError extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** False: this browser gives pages from here no microphone at all. */
export function isAllowedHere() {
  return window.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);
}

/** The inputs as ``{id, name}``; names are empty until the microphone was allowed once. */
export async function listInputs() {
  if (!isAllowedHere()) return [];
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices
    .filter((device) => device.kind === "audioinput" && device.deviceId !== "default" && device.deviceId !== "")
    .map((device) => ({ id: device.deviceId, name: device.label }));
}

/** Ask for the microphone only to learn the names of the inputs. */
export async function askForNames() {
  for (const track of (await openStream("")).getTracks()) track.stop();
}

export class Microphone {
  #context;
  #node;
  #source;
  #on;
  stream;

  /**
   * ``on.block(Float32Array)``: samples at ``rate``; ``on.unplugged()``; ``on.muted(bool)``. Whoever has not answered
   * the browser's question yet may be told by ``signal`` that nobody waits any more.
   */
  static async open(deviceId, on, signal) {
    const stream = await openStream(deviceId);
    const context = new AudioContext({ latencyHint: "interactive" });
    try {
      await context.audioWorklet.addModule(new URL("./capture-worklet.js", import.meta.url));
      await Promise.race([context.resume(), stalling()]);
      if (signal.aborted) throw new MicrophoneError("cancelled");
    } catch (error) {
      for (const track of stream.getTracks()) track.stop();
      await context.close();
      throw error;
    }
    return new Microphone(context, stream, on);
  }

  constructor(context, stream, on) {
    this.#context = context;
    this.#on = on;
    this.#node = new AudioWorkletNode(context, "capture", {
      channelCount: 1,
      channelCountMode: "explicit",
      channelInterpretation: "speakers",
    });
    this.#node.port.onmessage = ({ data }) => data && on.block(data);
    this.#node.connect(context.destination); // silent: it writes nothing; some browsers only run what leads there
    this.#listenTo(stream);
  }

  get rate() {
    return this.#context.sampleRate;
  }

  /** Take another input, without a gap in the positions. */
  async change(deviceId) {
    const stream = await openStream(deviceId);
    this.#release();
    this.#listenTo(stream);
  }

  /** Phones stop the audio of pages in the background. */
  async wake() {
    if (this.#context.state !== "running") await this.#context.resume();
  }

  /** Deliver the last samples, then let go of everything. */
  async close() {
    this.#source.disconnect();
    await new Promise((done) => {
      const { port } = this.#node;
      port.onmessage = ({ data }) => (data ? this.#on.block(data) : done());
      port.postMessage("flush");
      setTimeout(done, FLUSH_MS);
    });
    this.#release();
    this.#node.port.onmessage = null;
    await this.#context.close();
  }

  #listenTo(stream) {
    this.stream = stream;
    this.#source = this.#context.createMediaStreamSource(stream);
    this.#source.connect(this.#node);
    const [track] = stream.getAudioTracks();
    track.onended = () => this.#on.unplugged();
    track.onmute = () => this.#on.muted(true);
    track.onunmute = () => this.#on.muted(false);
  }

  #release() {
    this.#source.disconnect();
    for (const track of this.stream.getTracks()) {
      track.onended = track.onmute = track.onunmute = null;
      track.stop();
    }
  }
}

async function stalling() {
  await new Promise((late) => setTimeout(late, START_MS));
  throw new MicrophoneError("stalled");
}

/** Sound as it is: cleaning meant for calls would remove a voice that comes from a loudspeaker of this machine. */
async function openStream(deviceId) {
  if (!isAllowedHere()) throw new MicrophoneError("insecure");
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: true, channelCount: 1 };
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: deviceId ? { ...audio, deviceId: { exact: deviceId } } : audio,
    });
  } catch (error) {
    if (deviceId && error.name === "OverconstrainedError") return openStream(""); // the chosen one is gone
    throw new MicrophoneError(REASONS[error.name] ?? "busy");
  }
}

const REASONS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
};
