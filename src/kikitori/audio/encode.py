"""Speech written as a file while it comes: mp3, opus, aac, flac, wav, or raw samples."""

from __future__ import annotations

import io
import struct
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kikitori.audio.pcm import Encoding, Resampler, from_float

if TYPE_CHECKING:
    from kikitori.types import Audio

SPEECH_RATE = 24_000
"""Of all formats but opus, which knows 48,000 Hz of its own accord."""
OPUS_RATE = 48_000
BIT_RATES = {"libmp3lame": 64_000, "libopus": 48_000, "aac": 64_000}
UNKNOWN_SIZE = 0xFFFFFFFF
"""In a WAV header whose end is not known yet; players read to the end of the file."""


class SpeechFormat(StrEnum):
    """What speech is sent as; all mono."""

    MP3 = "mp3"
    OPUS = "opus"  # in Ogg
    AAC = "aac"  # ADTS frames
    FLAC = "flac"
    WAV = "wav"  # 16 bit
    PCM = "pcm"  # 16 bit, little endian, 24,000 Hz


MEDIA_TYPES = {
    SpeechFormat.MP3: "audio/mpeg",
    SpeechFormat.OPUS: "audio/ogg",
    SpeechFormat.AAC: "audio/aac",
    SpeechFormat.FLAC: "audio/flac",
    SpeechFormat.WAV: "audio/wav",
    SpeechFormat.PCM: "audio/pcm",
}


class _Writer(Protocol):
    """Samples at SPEECH_RATE in, bytes of a file out."""

    def push(self, audio: Audio) -> bytes: ...

    def finish(self) -> bytes: ...


class SpeechEncoder:
    """One file. ``push`` float32 mono audio of ``rate``; each call gives what is ready, ``finish`` the rest.

    Blocking for a few milliseconds a second of audio. The bytes together are the file, which decodes everywhere.
    """

    def __init__(self, format: SpeechFormat, rate: int) -> None:
        self._resampler = Resampler(rate, OPUS_RATE if format is SpeechFormat.OPUS else SPEECH_RATE)
        self._writer: _Writer
        if format is SpeechFormat.PCM:
            self._writer = _Raw(b"")
        elif format is SpeechFormat.WAV:
            self._writer = _Raw(_wav_header(SPEECH_RATE))
        else:
            container, codec = _CODECS[format]
            self._writer = _Compressed(container, codec, self._resampler.rate_out)

    def push(self, audio: Audio) -> bytes:
        return self._writer.push(self._resampler.push(audio))

    def finish(self) -> bytes:
        rest = self._writer.push(self._resampler.flush())
        return rest + self._writer.finish()


_CODECS = {
    SpeechFormat.MP3: ("mp3", "libmp3lame"),
    SpeechFormat.OPUS: ("ogg", "libopus"),
    SpeechFormat.AAC: ("adts", "aac"),
    SpeechFormat.FLAC: ("flac", "flac"),
}
"""Container, codec."""


class _Raw:
    def __init__(self, header: bytes) -> None:
        self._header = header

    def push(self, audio: Audio) -> bytes:
        data = self._header + from_float(audio, Encoding.S16LE)
        self._header = b""
        return data

    def finish(self) -> bytes:
        return self._header


class _Pipe(io.RawIOBase):
    """Keeps what libav writes until it is taken; cannot seek, so that nothing is written that is mended later."""

    def __init__(self) -> None:
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


class _Compressed:
    """libav's encoders; the container is written as it grows."""

    def __init__(self, container: str, codec: str, rate: int) -> None:
        import av  # heavy: only where something is encoded

        self._pipe = _Pipe()
        # Frames are not held back to make larger pages: somebody listens.
        paging = {"page_duration": "100000"} if container == "ogg" else {}
        self._file = av.open(self._pipe, "w", format=container, options={"flush_packets": "1", **paging})
        stream = self._file.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        if codec in BIT_RATES:
            stream.bit_rate = BIT_RATES[codec]
        self._stream, self._rate, self._position = stream, rate, 0

    def push(self, audio: Audio) -> bytes:
        from av.audio.frame import AudioFrame

        if audio.size:
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(audio, np.float32).reshape(1, -1), "flt", "mono")
            frame.sample_rate = self._rate
            frame.pts, frame.time_base = self._position, Fraction(1, self._rate)
            self._position += audio.size
            self._file.mux(self._stream.encode(frame))
        return self._pipe.take()

    def finish(self) -> bytes:
        self._file.mux(self._stream.encode(None))
        self._file.close()
        return self._pipe.take()


def _wav_header(rate: int) -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", UNKNOWN_SIZE) + b"WAVE" + form + b"data" + struct.pack("<I", UNKNOWN_SIZE)
