"""Any media to float32 at 16 kHz, as a stream: libav through PyAV, no other program."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kikitori.audio.frames import FOREIGN, open_audio, read_pcm, safe_layout
from kikitori.audio.pcm import Resampler
from kikitori.audio.reader import Reader, open_reader
from kikitori.errors import InvalidMedia, InvalidOption, TooLarge
from kikitori.types import SAMPLE_RATE, Channels, Media

logger = logging.getLogger(__name__)

Block = npt.NDArray[np.float32]
"""Samples at 16 kHz, shape (channels, n)."""

MAX_SPLIT = 16
"""Most channels that are heard one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What a container says of its audio track. None of it is sure before decoding."""

    duration: float | None
    """Seconds promised; None when the container does not say."""
    channels: int
    sample_rate: int
    codec: str
    container: str


def probe(media: Media) -> MediaInfo:
    """Look at the head of ``media``. Reads from a pipe what cannot be read again. Raises InvalidMedia."""
    with closing(open_reader(media)) as reader, open_audio(reader) as (container, track):
        codec = track.codec_context
        seconds = _seconds(container.duration, 1e-6)
        if seconds is None and track.time_base is not None:
            seconds = _seconds(track.duration, float(track.time_base))
        return MediaInfo(
            duration=seconds,
            channels=safe_layout(codec).nb_channels,
            sample_rate=codec.sample_rate,
            codec=codec.name,
            container=container.format.name,
        )


def decode(
    media: Media,
    *,
    channels: Channels = Channels.MIX,
    block_seconds: float = 30.0,
    max_seconds: float | None = None,
) -> Generator[Block, None, None]:
    """Blocks of ``block_seconds`` (the last one shorter), shape (1, n), or (channels, n) for SPLIT.

    A file-like object is read from its start if it can seek, and is not closed. What is damaged is
    left out, gaps in time are closed. Close the generator to stop early. Raises InvalidMedia when
    nothing can be decoded, InvalidOption for a channel that is not there, and TooLarge beyond
    ``max_seconds``, whatever length the container promises.
    """
    with closing(open_reader(media)) as reader:
        try:
            yield from _decode(reader, channels, block_seconds, max_seconds)
        except InvalidMedia:
            again = reader.from_start()
            if again is None:
                raise
            with closing(again):
                yield from _decode(again, channels, block_seconds, max_seconds)


def _decode(reader: Reader, channels: Channels, block_seconds: float, max_seconds: float | None) -> Iterator[Block]:
    limit = math.inf if max_seconds is None else max_seconds * SAMPLE_RATE
    blocks: _Blocks | None = None
    done = 0
    for part in _at_16_khz(reader, channels):
        if blocks is None:
            reader.forget()
            blocks = _Blocks(part.shape[0], max(1, round(block_seconds * SAMPLE_RATE)))
        done += part.shape[1]
        if done > limit:
            raise TooLarge(
                f"The recording is longer than {max_seconds:g} seconds.", remedy="Send it in parts.", param="file"
            )
        yield from blocks.add(part)
    reader.check()
    if blocks is None:
        raise InvalidMedia("Nothing in the audio track can be decoded.", remedy="Send a file that has sound.")
    yield from blocks.rest()


def _at_16_khz(reader: Reader, channels: Channels) -> Iterator[Block]:
    """Non-empty parts with the wanted channels, whatever changes in the stream on the way."""
    voices: _Voices | None = None
    with open_audio(reader) as (container, track):
        try:
            for samples, rate in read_pcm(container, track):
                if voices is None:
                    voices = _Voices(channels, samples.shape[0])
                yield from voices.push(samples, rate)
        except FOREIGN as exc:
            reader.check()
            if voices is None:
                raise InvalidMedia("The audio track cannot be decoded.") from exc
            logger.warning("The rest of a recording cannot be decoded", extra={"action": "decode_cut"}, exc_info=exc)
        if voices is not None:
            yield from voices.flush()


class _Voices:
    """Picks or mixes the channels, then resamples them: one resampler each."""

    def __init__(self, channels: Channels, source_channels: int) -> None:
        if channels is Channels.RIGHT and source_channels < 2:
            raise InvalidOption("channels", "right", "mix, left or split for a recording with one channel")
        if channels is Channels.SPLIT and source_channels > MAX_SPLIT:
            raise InvalidOption(
                "channels", "split", f"mix, left or right for a recording with more than {MAX_SPLIT} channels"
            )
        self._channels = channels
        self._count = source_channels if channels is Channels.SPLIT else 1
        self._rate = 0
        self._resamplers: list[Resampler] = []

    def push(self, samples: Block, rate: int) -> Iterator[Block]:
        if rate != self._rate:
            yield from self.flush()
            self._rate = rate
            self._resamplers = [Resampler(rate) for _ in range(self._count)]
        heard = self._pick(samples)
        yield from _joined([voice.push(row) for voice, row in zip(self._resamplers, heard, strict=True)])

    def flush(self) -> Iterator[Block]:
        if self._resamplers:
            yield from _joined([voice.flush() for voice in self._resamplers])

    def _pick(self, samples: Block) -> Block:
        if self._channels is Channels.LEFT:
            return samples[:1]
        if self._channels is Channels.RIGHT:
            return samples[1:2] if samples.shape[0] > 1 else samples[:1]
        if self._channels is Channels.MIX:
            return samples if samples.shape[0] == 1 else samples.mean(axis=0, keepdims=True, dtype=np.float32)
        if samples.shape[0] == self._count:
            return samples
        fitted = np.zeros((self._count, samples.shape[1]), np.float32)
        common = min(self._count, samples.shape[0])
        fitted[:common] = samples[:common]
        return fitted


def _joined(rows: list[npt.NDArray[np.float32]]) -> Iterator[Block]:
    if rows[0].size:
        yield np.stack(rows)


class _Blocks:
    """Cuts parts of any length into blocks of one length."""

    def __init__(self, channels: int, length: int) -> None:
        self._shape = (channels, length)
        self._block = np.empty(self._shape, np.float32)
        self._filled = 0

    def add(self, part: Block) -> Iterator[Block]:
        taken = 0
        while taken < part.shape[1]:
            count = min(part.shape[1] - taken, self._shape[1] - self._filled)
            self._block[:, self._filled : self._filled + count] = part[:, taken : taken + count]
            taken += count
            self._filled += count
            if self._filled == self._shape[1]:
                yield self._block
                self._block = np.empty(self._shape, np.float32)
                self._filled = 0

    def rest(self) -> Iterator[Block]:
        if self._filled:
            yield self._block[:, : self._filled]


def _seconds(ticks: int | None, unit: float) -> float | None:
    seconds = (ticks or 0) * unit
    return seconds if 0 < seconds < math.inf else None
