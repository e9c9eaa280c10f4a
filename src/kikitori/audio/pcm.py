"""Raw samples to and from float32, and a resampler for streams."""

from __future__ import annotations

import io
import wave
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kikitori.types import SAMPLE_RATE

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.filter import Graph

    from kikitori.types import Audio


class Encoding(StrEnum):
    """How raw samples are written; numbers of more than one byte are little-endian."""

    U8 = "u8"
    S16LE = "s16le"
    S24LE = "s24le"
    F32LE = "f32le"
    MULAW = "mulaw"  # G.711 as in North America and Japan
    ALAW = "alaw"  # G.711 elsewhere

    @property
    def width(self) -> int:
        """Bytes of one sample."""
        return {Encoding.S16LE: 2, Encoding.S24LE: 3, Encoding.F32LE: 4}.get(self, 1)


def to_float(data: bytes | bytearray | memoryview, encoding: Encoding) -> Audio:
    """Samples in [-1, 1]. A last sample that is not whole is left out."""
    raw = np.frombuffer(data, np.uint8)
    raw = raw[: raw.size - raw.size % encoding.width]
    if encoding is Encoding.U8:
        return (raw.astype(np.float32) - np.float32(128)) / np.float32(128)
    if encoding is Encoding.S16LE:
        return raw.view("<i2").astype(np.float32) / np.float32(2**15)
    if encoding is Encoding.S24LE:
        wide = np.zeros((raw.size // 3, 4), np.uint8)
        wide[:, 1:] = raw.reshape(-1, 3)
        return (wide.view("<i4")[:, 0] >> 8).astype(np.float32) / np.float32(2**23)
    if encoding is Encoding.F32LE:
        samples = raw.view("<f4")
        return np.where(np.isfinite(samples), samples, 0).astype(np.float32)
    return _LEVELS[encoding][raw].astype(np.float32) / np.float32(2**15)


def from_float(audio: Audio, encoding: Encoding) -> bytes:
    """Bytes of ``audio``; what is louder than [-1, 1] is clipped."""
    if encoding is Encoding.F32LE:
        return audio.astype("<f4").tobytes()
    if encoding is Encoding.U8:
        return (_whole(audio, 2**7) + 128).astype(np.uint8).tobytes()
    if encoding is Encoding.S16LE:
        return _whole(audio, 2**15).astype("<i2").tobytes()
    if encoding is Encoding.S24LE:
        return _whole(audio, 2**23).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return _CODES[encoding][_whole(audio, 2**15).astype(np.int32) + 2**15].tobytes()


def to_wav_bytes(audio: Audio, sample_rate: int = SAMPLE_RATE) -> bytes:
    """A mono 16-bit WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.writeframes(from_float(audio, Encoding.S16LE))
    return file.getvalue()


class Resampler:
    """Mono audio of one rate in, of another out, whatever pieces it comes in.

    The output does not depend on how the input is cut. It lags by some 16 samples of the lower
    rate; ``flush`` gives the rest, and the next ``push`` begins a new stretch.
    """

    def __init__(self, rate_in: int, rate_out: int = SAMPLE_RATE) -> None:
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._start()

    def _start(self) -> None:
        self._graph: Graph | None = None

    def push(self, audio: Audio) -> Audio:
        if self.rate_in == self.rate_out or not audio.size:
            return audio
        from av.audio.frame import AudioFrame  # heavy: only where something is resampled

        if self._graph is None:
            self._graph = _resampling_graph(self.rate_in, self.rate_out)
        samples = np.ascontiguousarray(audio, np.float32).reshape(1, -1)
        frame = AudioFrame.from_ndarray(samples, format="flt", layout="mono")
        frame.sample_rate = self.rate_in
        return _through(self._graph, frame)

    def flush(self) -> Audio:
        if self._graph is None:
            return np.zeros(0, np.float32)
        rest = _through(self._graph, None)
        self._start()
        return rest


class PcmDecoder:
    """A stream of raw bytes, cut anywhere, to float32 at 16 kHz."""

    def __init__(self, encoding: Encoding, rate: int) -> None:
        self._encoding = encoding
        self._resampler = Resampler(rate)
        self._rest = b""

    def push(self, data: bytes) -> Audio:
        data = self._rest + data
        whole = len(data) - len(data) % self._encoding.width
        self._rest = data[whole:]
        return self._resampler.push(to_float(data[:whole], self._encoding))

    def flush(self) -> Audio:
        """What is still on its way; a sample that never came whole is left out."""
        self._rest = b""
        return self._resampler.flush()


def _resampling_graph(rate_in: int, rate_out: int) -> Graph:
    """What libav's own resampler class builds, which would keep a thread for each core as well."""
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "abuffer", sample_rate=str(rate_in), sample_fmt="flt", channel_layout="mono", time_base=f"1/{rate_in}"
    )
    target = graph.add("aformat", sample_rates=str(rate_out), sample_fmts="flt", channel_layouts="mono")
    graph.link_nodes(source, target, graph.add("abuffersink")).configure()
    return graph


def _through(graph: Graph, frame: AudioFrame | None) -> Audio:
    """All that comes out after ``frame``; None: after the end."""
    graph.push(frame)
    parts: list[Audio] = []
    while True:
        try:
            part = graph.pull()
        except (BlockingIOError, EOFError):  # it wants more; it is at its end
            return np.concatenate(parts, dtype=np.float32) if parts else np.zeros(0, np.float32)
        parts.append(part.to_ndarray()[0])


def _whole(audio: Audio, scale: int) -> npt.NDArray[np.float64]:
    """Nearest whole steps, clipped to what a signed number has."""
    return np.clip(np.rint(np.nan_to_num(audio).astype(np.float64) * scale), -scale, scale - 1)


def _mulaw_levels() -> npt.NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = ((mantissa * 8 + 132) << exponent) - 132
    return np.where(code & 128, -size, size).astype(np.int16)


def _alaw_levels() -> npt.NDArray[np.int16]:
    code = np.arange(256, dtype=np.uint8) ^ np.uint8(0x55)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = np.where(exponent == 0, mantissa * 16 + 8, (mantissa * 16 + 264) << np.maximum(exponent - 1, 0))
    return np.where(code & 128, size, -size).astype(np.int16)


def _codes(levels: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """The code of the level nearest to each 16-bit sample, from -32768 up."""
    known, code = np.unique(levels[::-1], return_index=True)
    middles = (known[1:].astype(np.float64) + known[:-1]) / 2
    nearest = np.searchsorted(middles, np.arange(-(2**15), 2**15))
    return (255 - code[nearest]).astype(np.uint8)


_LEVELS = {Encoding.MULAW: _mulaw_levels(), Encoding.ALAW: _alaw_levels()}
_CODES = {encoding: _codes(levels) for encoding, levels in _LEVELS.items()}
