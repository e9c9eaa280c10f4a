"""Opus packets to samples, whatever container brought them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.packet import Packet

from kikitori.audio.frames import FOREIGN
from kikitori.audio.pcm import Encoding, to_float
from kikitori.errors import InvalidMedia, Unavailable
from kikitori.types import Audio

OPUS_RATE = 48_000
"""Opus counts in samples of this rate, whatever was recorded."""
MAX_PACKET_BYTES = 1 << 16
"""No Opus packet of two channels is longer."""
MAX_PACKET_SAMPLES = 5_760
"""Nor lasts longer: 120 ms."""
MAX_BROKEN = 16
"""Packets in a row that cannot be decoded, until a stream is given up."""

DECODER = "libopus"
"""libav has one of its own as well, whose samples come later than their packets."""
MAGIC = b"OpusHead"
_HEAD = struct.Struct("<8sBBHIhB")
"""Magic, version, channels, samples to skip, rate recorded, gain, mapping."""
_SILK_SAMPLES = (480, 960, 1_920, 2_880)
_HYBRID_SAMPLES = (480, 960)
_CELT_SAMPLES = (120, 240, 480, 960)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpusHead:
    """How a stream begins."""

    channels: int
    pre_skip: int
    """Samples at its start that are not heard."""
    gain: int
    """1/256 dB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpusPacket:
    """Some milliseconds of audio."""

    data: bytes
    """Not empty."""
    keep: int | None = None
    """So many of its samples are heard; None: all of them."""


Item: TypeAlias = OpusHead | OpusPacket


class PacketReader(Protocol):
    """Takes a container apart. After InvalidMedia it is of no more use."""

    def push(self, data: bytes) -> Iterator[Item]:
        """What ``data`` completes, a head before its packets. Raises InvalidMedia."""
        ...

    def finish(self) -> None:
        """Nothing follows. Raises InvalidMedia if something came, and ended before its head."""
        ...


def invalid(message: str) -> InvalidMedia:
    """The error of a stream that cannot be read."""
    return InvalidMedia(
        message,
        remedy="Send the stream of one recorder whole and from its start, in the encoding that the session names.",
        param="audio",
    )


def require_decoder() -> None:
    """Raises Unavailable if there is none."""
    try:
        av.Codec(DECODER, "r")
    except FOREIGN as exc:
        raise Unavailable("This build of PyAV has no Opus.", remedy="Install PyAV from its wheel.") from exc


def read_head(data: bytes | memoryview) -> OpusHead:
    """Raises InvalidMedia for what is no head, and for more than two channels."""
    if len(data) < _HEAD.size or bytes(data[:8]) != MAGIC:
        raise invalid("The head of the Opus track is damaged.")
    _, version, channels, pre_skip, _, gain, mapping = _HEAD.unpack_from(data)
    if version > 15:  # a major version that does not exist
        raise invalid(f"The Opus track has the unknown version {version}.")
    # One stream, coupled if it has two channels: what the simple mapping says as well.
    if not 1 <= channels <= 2 or not (mapping == 0 or (mapping == 1 and tuple(data[19:21]) == (1, channels - 1))):
        raise invalid("The Opus track has channels that are neither mono nor stereo.")
    return OpusHead(channels=channels, pre_skip=pre_skip, gain=gain)


def packet_samples(data: bytes) -> int:
    """How long a packet is, by its first two bytes; 0 for one that is damaged."""
    config, code = data[0] >> 3, data[0] & 3
    if config < 12:
        size = _SILK_SAMPLES[config & 3]
    else:
        size = _HYBRID_SAMPLES[config & 1] if config < 16 else _CELT_SAMPLES[config & 3]
    if code < 3:
        count = 1 if code == 0 else 2
    else:
        count = data[1] & 63 if len(data) > 1 else 0
    return count * size if count * size <= MAX_PACKET_SAMPLES else 0


def trimmed(packets: Sequence[bytes], samples: int) -> Iterator[OpusPacket]:
    """``packets``, of which the first ``samples`` in all are heard."""
    for data in packets:
        keep = min(packet_samples(data), max(0, samples))
        samples -= keep
        yield OpusPacket(data=data, keep=keep)


class OpusDecoder:
    """One stream's packets to mono. Has no thread; what it holds goes with it."""

    def __init__(self, head: OpusHead) -> None:
        self._channels = head.channels
        self._skip = head.pre_skip
        self._broken = 0
        codec = av.CodecContext.create(DECODER, "r")
        assert isinstance(codec, AudioCodecContext)
        codec.thread_count = 1
        # A head of our own making, so that none from outside reaches libav. What is skipped is skipped here.
        codec.extradata = _HEAD.pack(MAGIC, 1, head.channels, 0, OPUS_RATE, head.gain, 0)
        self._codec = codec

    def decode(self, packet: OpusPacket) -> Audio:
        """Samples at 48 kHz, shape (n,), in [-1, 1]. A damaged packet gives none.

        Raises InvalidMedia when packet after packet is damaged.
        """
        try:
            frames = self._codec.decode(Packet(packet.data))
        except FOREIGN as exc:
            self._broken += 1
            if self._broken > MAX_BROKEN:
                raise invalid("The Opus track cannot be decoded.") from exc
            return np.zeros(0, np.float32)
        self._broken = 0
        raw = b"".join(bytes(memoryview(frame.planes[0]))[: frame.samples * self._channels * 2] for frame in frames)
        samples = to_float(raw, Encoding.S16LE)
        if self._channels > 1:
            samples = samples.reshape(-1, self._channels).mean(axis=1, dtype=np.float32)
        heard = samples[: packet.keep]
        skipped = min(self._skip, len(samples))
        self._skip -= skipped
        return heard[skipped:]
