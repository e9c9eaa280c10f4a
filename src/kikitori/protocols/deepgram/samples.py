"""The bytes of a live ``/v1/listen``: what they are when the query does not say, and their channels."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from kikitori.audio import pcm
from kikitori.errors import InvalidMedia
from kikitori.protocols.actions import Encoding, InputFormat
from kikitori.protocols.deepgram.query import MOST_CHANNELS
from kikitori.protocols.live_start import HIGHEST_RATE, LOWEST_RATE

LONGEST_HEAD_BYTES = 64 * 1024
"""A WAV file has its samples before."""
_WIDTHS = {Encoding.S16LE: 2, Encoding.F32LE: 4, Encoding.MULAW: 1, Encoding.ALAW: 1}
_WAV_FORMATS = {(1, 16): Encoding.S16LE, (3, 32): Encoding.F32LE, (6, 8): Encoding.ALAW, (7, 8): Encoding.MULAW}
_EXTENSIBLE = 0xFFFE
_REMEDY = "Name encoding and sample_rate, or send WAV (16-bit, float, mu-law, a-law), Ogg Opus or WebM Opus."


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a stream is, by its head; its samples begin after ``skip`` bytes."""

    format: InputFormat
    channels: int = 1
    skip: int = 0


def look(head: bytes) -> Found | None:
    """What begins with ``head``; None: that cannot be said yet. Raises InvalidMedia."""
    if len(head) < 12:
        return None
    if head.startswith(b"\x1aE\xdf\xa3"):
        return Found(format=InputFormat(encoding=Encoding.WEBM_OPUS))
    if head.startswith(b"OggS"):
        return Found(format=InputFormat(encoding=Encoding.OGG_OPUS))
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        found = _wav(head)
        if found is None and len(head) > LONGEST_HEAD_BYTES:
            raise _unknown("The head of the WAV file does not end.")
        return found
    raise _unknown("The audio is of no kind that can be told from its beginning.")


def _wav(head: bytes) -> Found | None:
    position, found = 12, None
    while position + 8 <= len(head):
        name, size = struct.unpack_from("<4sI", head, position)
        position += 8
        if name == b"data":
            if found is None:
                raise _unknown("The WAV file does not say what it holds.")
            return Found(format=found.format, channels=found.channels, skip=position)
        if name == b"fmt ":
            if len(head) < position + min(size, 26):
                return None
            found = _wav_format(head[position : position + size])
        position += size + size % 2
    return None


def _wav_format(chunk: bytes) -> Found:
    if len(chunk) < 16:
        raise _unknown("The WAV file is damaged.")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    encoding = _WAV_FORMATS.get((tag, bits))
    if encoding is None or not 1 <= channels <= MOST_CHANNELS or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise _unknown(f"A WAV file of {bits} bits, {channels} channels and {rate} Hz cannot be heard live.")
    return Found(format=InputFormat(encoding=encoding, rate=rate), channels=channels)


def _unknown(problem: str) -> InvalidMedia:
    return InvalidMedia(problem, remedy=_REMEDY, param="encoding")


class Splitter:
    """Interleaved samples, cut anywhere → the bytes of each session."""

    def __init__(self, input_format: InputFormat, channels: int, *, mix: bool) -> None:
        self._encoding, self._channels, self._rest = input_format.encoding, channels, b""
        self._mix = mix and channels > 1
        self._frame_bytes = channels * _WIDTHS.get(input_format.encoding, 1)
        self.format = InputFormat(rate=input_format.rate) if self._mix else input_format
        """Of what comes out."""
        self.seconds = 0.0
        """Taken in so far; 0 for containers, whose bytes do not say."""
        self._seconds_of_frame = 1 / input_format.rate if input_format.encoding.has_rate else 0.0

    def push(self, data: bytes) -> list[bytes]:
        if self._channels == 1:
            self.seconds += len(data) / self._frame_bytes * self._seconds_of_frame
            return [data]
        data = self._rest + data
        whole = len(data) - len(data) % self._frame_bytes
        data, self._rest = data[:whole], data[whole:]
        self.seconds += whole / self._frame_bytes * self._seconds_of_frame
        return [self._mixed(data)] if self._mix else self._apart(data)

    def _mixed(self, data: bytes) -> bytes:
        samples = pcm.to_float(data, pcm.Encoding(self._encoding.value)).reshape(-1, self._channels)
        return pcm.from_float(samples.mean(axis=1), pcm.Encoding.S16LE)

    def _apart(self, data: bytes) -> list[bytes]:
        frames = np.frombuffer(data, np.uint8).reshape(-1, self._channels, self._frame_bytes // self._channels)
        return [frames[:, channel].tobytes() for channel in range(self._channels)]


def wav_head(input_format: InputFormat, channels: int) -> bytes:
    """What makes a WAV file of samples whose number is not known."""
    tag, bits = next(key for key, encoding in _WAV_FORMATS.items() if encoding is input_format.encoding)
    frame_bytes, rate, unknown = channels * bits // 8, input_format.rate, 0xFFFF_FFFF
    described = struct.pack("<HHIIHH", tag, channels, rate, rate * frame_bytes, frame_bytes, bits)
    return (
        b"RIFF"
        + struct.pack("<I", unknown)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + described
        + (b"data" + struct.pack("<I", unknown))
    )
