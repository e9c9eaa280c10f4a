"""Audio of a live client: bytes, cut anywhere, to float32 mono 16 kHz while they come.

What a piece of 20 ms takes of a core: samples at 16 kHz 10 µs, samples of another rate 70 µs, Opus in a container
170 µs; a second at once 0.3 ms, and 4 ms of Opus. So samples may be pushed on an event loop, a second or so at a time.
Containers belong in a worker thread: however small a message is, it may hold minutes.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np

from kikitori.audio.ogg import OggReader
from kikitori.audio.opus import OPUS_RATE, OpusDecoder, OpusHead, PacketReader, invalid, packet_samples, require_decoder
from kikitori.audio.pcm import Encoding, Resampler, to_float
from kikitori.audio.webm import WebmReader
from kikitori.errors import InvalidMedia, InvalidOption
from kikitori.types import Audio

MIN_RATE, MAX_RATE = 8_000, 48_000
"""Samples per second that a client may send."""
MAX_PUSH_SECONDS = 600
"""Audio of one push: silence in Opus is so short that a message could hold days of it."""

Parts: TypeAlias = list[Audio]

_RAW = {encoding.value: encoding for encoding in (Encoding.S16LE, Encoding.F32LE, Encoding.MULAW, Encoding.ALAW)}
_CONTAINERS: dict[str, type[WebmReader] | type[OggReader]] = {"webm-opus": WebmReader, "ogg-opus": OggReader}


class LiveInput(Protocol):
    """One client's audio. Not safe for two threads at once, but ``close`` may be called while another one pushes.

    Has no thread, file or process of its own.
    """

    def push(self, data: bytes) -> Audio:
        """What can be given now: all but the last millisecond or so, or a page or block that is not whole.

        Raises InvalidMedia from where a container cannot be read, after all audio before it was given.
        """
        ...

    def go_on(self) -> None:
        """What comes next begins with a whole sample: the client goes on from ``received_samples``."""
        ...

    def finish(self) -> Audio:
        """The rest. Nothing comes after it. Raises InvalidMedia as ``push`` does."""
        ...

    def close(self) -> None:
        """Free everything now; nothing comes after it."""
        ...

    @property
    def received_samples(self) -> int:
        """Samples taken in so far, of the client's rate; of a container: decoded ones at 48 kHz."""
        ...


def open_input(encoding: str, rate: int) -> LiveInput:
    """``encoding`` is one of the protocols'; ``rate`` says nothing where a container does.

    Raises InvalidOption for ``encoding`` or ``sample_rate``, and Unavailable without a decoder.
    """
    if reader := _CONTAINERS.get(encoding):
        require_decoder()
        return ContainerInput(reader())
    if encoding not in _RAW:
        raise InvalidOption("encoding", encoding, ", ".join([*_RAW, *_CONTAINERS]))
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidOption("sample_rate", rate, f"{MIN_RATE} to {MAX_RATE}")
    return PcmInput(_RAW[encoding], rate)


class PcmInput:
    """Samples without a container. Numbers that are none become silence, what is too loud is clipped."""

    def __init__(self, encoding: Encoding, rate: int) -> None:
        self._encoding = encoding
        self._resampler: Resampler | None = Resampler(rate)
        self._rest = b""
        self._received = 0

    @property
    def received_samples(self) -> int:
        return self._received

    def push(self, data: bytes) -> Audio:
        resampler = self._resampler
        if resampler is None:
            return _nothing()
        data = self._rest + data
        whole = len(data) - len(data) % self._encoding.width
        self._rest = data[whole:]
        self._received += whole // self._encoding.width
        samples = to_float(memoryview(data)[:whole], self._encoding)
        if self._encoding is Encoding.F32LE:
            samples = samples.clip(-1, 1)
        return resampler.push(samples)

    def go_on(self) -> None:
        self._rest = b""

    def finish(self) -> Audio:
        resampler = self._resampler
        rest = _nothing() if resampler is None else resampler.flush()
        self.close()
        return rest

    def close(self) -> None:
        self._resampler = None
        self._rest = b""


class ContainerInput:
    """Opus in a container."""

    def __init__(self, reader: PacketReader) -> None:
        self._reader: PacketReader | None = reader
        self._resampler = Resampler(OPUS_RATE)
        self._decoder: OpusDecoder | None = None
        self._received = 0
        self._failure: InvalidMedia | None = None

    @property
    def received_samples(self) -> int:
        return self._received

    def push(self, data: bytes) -> Audio:
        reader, parts = self._reader, list[Audio]()
        if reader is not None:
            try:
                self._decode(reader, data, parts)
            except InvalidMedia as exc:
                self._fail(exc, parts)
        return self._given(parts)

    def go_on(self) -> None:
        """Nothing: where a container was left, no other can go on."""

    def finish(self) -> Audio:
        reader, parts = self._reader, list[Audio]()
        if reader is not None:
            try:
                reader.finish()
                parts.append(self._resampler.flush())
                self.close()
            except InvalidMedia as exc:
                self._fail(exc, parts)
        return self._given(parts)

    def close(self) -> None:
        self._reader = self._decoder = None
        self._resampler = Resampler(OPUS_RATE)

    def _decode(self, reader: PacketReader, data: bytes, parts: Parts) -> None:
        """Resampled about a second at a time, for the memory's sake."""
        resampler = self._resampler
        heard: Parts = []
        waiting = 0
        left = MAX_PUSH_SECONDS * OPUS_RATE
        decoder = self._decoder
        try:
            for item in reader.push(data):
                if self._reader is None:
                    return  # closed by another thread
                if isinstance(item, OpusHead):
                    self._decoder = decoder = OpusDecoder(item)
                    continue
                assert decoder is not None
                left -= packet_samples(item.data)
                if left < 0:
                    raise invalid(f"One message has more than {MAX_PUSH_SECONDS} seconds of audio.")
                heard.append(decoder.decode(item))
                waiting += len(heard[-1])
                self._received += len(heard[-1])
                if waiting >= OPUS_RATE:
                    parts.append(resampler.push(np.concatenate(heard)))
                    heard, waiting = [], 0
        finally:
            if heard:
                parts.append(resampler.push(np.concatenate(heard)))

    def _fail(self, exc: InvalidMedia, parts: Parts) -> None:
        parts.append(self._resampler.flush())
        self.close()
        self._failure = exc

    def _given(self, parts: Parts) -> Audio:
        """The audio, or if there is none the reason why there will be no more."""
        audio = np.concatenate(parts) if parts else _nothing()
        if self._failure is not None and not audio.size:
            raise self._failure.with_traceback(None)
        return audio


def _nothing() -> Audio:
    return np.zeros(0, np.float32)
