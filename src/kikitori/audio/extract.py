"""The audio of any recording as a file of its own: decoded, cut, resampled, encoded, a second or so at a time."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from kikitori.audio.extract_options import AudioFormat, ExtractOptions
from kikitori.audio.frames import FOREIGN, open_audio, read_pcm
from kikitori.audio.reader import Reader, open_reader
from kikitori.errors import InvalidMedia, InvalidOption, NoSpace, TooLarge, Unavailable
from kikitori.types import Media

logger = logging.getLogger(__name__)

Samples = npt.NDArray[np.float32]
"""Shape (channels, n)."""

LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""What so many channels are taken for; a list of channels of a file's own is never passed on."""
_TO_LEFT = {
    3: (1, 0, 0),
    4: (1, 0, 0.7, 0.7),
    5: (1, 0, 0.7, 0.7, 0),
    6: (1, 0, 0.7, 0, 0.7, 0),
    7: (1, 0, 0.7, 0, 0.5, 0.7, 0),
    8: (1, 0, 0.7, 0, 0.7, 0, 0.7, 0),
}
_TO_RIGHT = {
    3: (0, 1, 0),
    4: (0, 1, 0.7, 0.7),
    5: (0, 1, 0.7, 0, 0.7),
    6: (0, 1, 0.7, 0, 0, 0.7),
    7: (0, 1, 0.7, 0, 0.5, 0, 0.7),
    8: (0, 1, 0.7, 0, 0, 0.7, 0, 0.7),
}
"""How much of each channel is heard on which side: the middle on both, the deep effects on none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    """How libav is told to write one format."""

    container: str
    codec: str
    samples: str
    """libav's sample format."""
    bits_per_channel: int = 0
    """Per second, of what has no fixed size."""
    options: dict[str, str] = field(default_factory=dict)


_PCM = {8: ("pcm_u8", "u8"), 16: ("pcm_s16le", "s16"), 24: ("pcm_s24le", "s32"), 32: ("pcm_s32le", "s32")}
_ENCODERS = {
    AudioFormat.FLAC: _Encoder(container="flac", codec="flac", samples="s16"),
    AudioFormat.MP3: _Encoder(container="mp3", codec="libmp3lame", samples="fltp", bits_per_channel=96_000),
    AudioFormat.OGG: _Encoder(container="ogg", codec="libopus", samples="flt", bits_per_channel=64_000),
    AudioFormat.OPUS: _Encoder(container="opus", codec="libopus", samples="flt", bits_per_channel=64_000),
    AudioFormat.M4A: _Encoder(
        container="ipod", codec="aac", samples="fltp", bits_per_channel=80_000, options={"movflags": "faststart"}
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractedAudio:
    """What was written."""

    duration: float
    sample_rate: int
    channels: int
    size_bytes: int


def extract(
    media: Media,
    target: Path,
    options: ExtractOptions,
    *,
    max_seconds: float,
    max_bytes: int,
    check: Callable[[], None] = lambda: None,
) -> ExtractedAudio:
    """Write the sound of ``media`` to the file ``target``. Blocking, and in little memory; ``check`` may raise to stop.

    What is damaged is left out, gaps in time are closed. Raises InvalidMedia, InvalidOption for what this
    recording does not have, TooLarge beyond ``max_seconds`` heard or ``max_bytes`` written, NoSpace, Unavailable.
    """
    with closing(open_reader(media)) as reader, open_audio(reader) as (container, track):
        writer: _Writer | None = None
        try:
            with closing(_cut(_heard(reader, container, track), options, max_seconds)) as parts:
                for samples, rate in parts:
                    check()
                    writer = writer or _Writer(target, options, samples.shape[0], rate)
                    writer.write(samples, rate)
                    if writer.size_bytes > max_bytes:
                        raise _too_large(max_bytes)
            assert writer is not None
            written = writer.finish()
        finally:
            if writer is not None:
                writer.close()
    if written.size_bytes > max_bytes:
        raise _too_large(max_bytes)
    return written


def _heard(reader: Reader, container: InputContainer, track: AudioStream) -> Generator[tuple[Samples, int], None, None]:
    """What can be decoded, with its rate; at least something."""
    heard = False
    try:
        for samples, rate in read_pcm(container, track):
            heard = True
            yield samples, rate
    except FOREIGN as exc:
        reader.check()
        if not heard:
            raise InvalidMedia("The audio track cannot be decoded.") from exc
        logger.warning("The rest of a recording cannot be decoded", extra={"action": "decode_cut"}, exc_info=exc)
    reader.check()
    if not heard:
        raise InvalidMedia("Nothing in the audio track can be decoded.", remedy="Send a file that has sound.")


def _cut(
    parts: Generator[tuple[Samples, int], None, None], options: ExtractOptions, max_seconds: float
) -> Generator[tuple[Samples, int], None, None]:
    """Of ``parts`` what lies between start and end; not empty."""
    found = False
    since, done, rate = 0.0, 0, 1  # seconds up to where the rate last changed, and samples from there
    with closing(parts):
        for samples, rate_now in parts:
            if rate_now != rate:
                since, done, rate = since + done / rate, 0, rate_now
            count = samples.shape[1]
            first = _clamp(round((options.start - since) * rate) - done, count)
            last = count if options.end is None else _clamp(round((options.end - since) * rate) - done, count)
            if since + (done + last) / rate > max_seconds:
                raise TooLarge(
                    f"The recording is longer than {max_seconds:g} seconds.", remedy="Send it in parts.", param="file"
                )
            done += count
            if last > first:
                found = True
                yield samples[:, first:last], rate
            if last < count:
                break
    if not found:
        length = since + done / rate
        raise InvalidOption("start", options.start, f"less than {length:.3f}, the seconds of the recording")


def _clamp(samples: int, count: int) -> int:
    return min(max(samples, 0), count)


class _Writer:
    """One file being written, with the rate and the channels of its first part."""

    def __init__(self, target: Path, options: ExtractOptions, source_channels: int, source_rate: int) -> None:
        self.channels = options.channels or _kept(source_channels, options)
        self.rate = options.rate_for(source_rate)
        self._target = target
        self._encoder = _encoder(options)
        self._samples = 0
        self._resampler: AudioResampler | None = None
        self._source_rate = 0
        with _writing():
            self._container = av.open(
                str(target), "w", format=self._encoder.container, container_options=self._encoder.options
            )
            stream: Any = self._container.add_stream(self._encoder.codec, rate=self.rate, layout=LAYOUTS[self.channels])
            stream.format = self._encoder.samples
            if self._encoder.bits_per_channel:
                stream.bit_rate = self._encoder.bits_per_channel * self.channels
            self._stream = stream

    @property
    def size_bytes(self) -> int:
        return self._target.stat().st_size

    def write(self, samples: Samples, rate: int) -> None:
        if self._resampler is None or rate != self._source_rate:
            self._flush()
            self._source_rate = rate
            self._resampler = AudioResampler(
                format=self._encoder.samples, layout=LAYOUTS[self.channels], rate=self.rate
            )
        shaped = np.clip(_shaped(samples, self.channels), -1.0, 1.0)
        # Packed: of eight and more planar channels PyAV lists planes that do not exist.
        packed = np.ascontiguousarray(shaped.T, np.float32).reshape(1, -1)
        frame = AudioFrame.from_ndarray(packed, format="flt", layout=LAYOUTS[self.channels])
        frame.sample_rate = rate
        self._encode(self._resampler.resample(frame))

    def finish(self) -> ExtractedAudio:
        self._flush()
        with _writing():
            self._container.mux(self._stream.encode(None))
            self._container.close()
        return ExtractedAudio(
            duration=self._samples / self.rate,
            sample_rate=self.rate,
            channels=self.channels,
            size_bytes=self.size_bytes,
        )

    def close(self) -> None:
        """Let go of the file, finished or not; may be called again."""
        try:
            self._container.close()
        except FOREIGN as exc:  # of a file that nobody will read
            logger.debug("unfinished audio not closed", exc_info=exc, extra={"action": "audio_not_closed"})

    def _flush(self) -> None:
        if self._resampler is not None:
            self._encode(self._resampler.resample(None))

    def _encode(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            frame.pts = self._samples
            self._samples += frame.samples
            with _writing():
                self._container.mux(self._stream.encode(frame))


def _encoder(options: ExtractOptions) -> _Encoder:
    if options.format is AudioFormat.WAV:
        codec, samples = _PCM[options.bit_depth or 16]
        # The length of a WAV file has 32 bits; RF64 is what comes after it.
        return _Encoder(container="wav", codec=codec, samples=samples, options={"rf64": "auto"})
    encoder = _ENCODERS[options.format]
    if options.format is AudioFormat.FLAC and options.bit_depth == 24:
        return _Encoder(container=encoder.container, codec=encoder.codec, samples="s32")
    return encoder


def _kept(channels: int, options: ExtractOptions) -> int:
    most = options.limits.max_channels
    if channels > most:
        raise InvalidOption(
            "channels", "keep", f"1, 2 with output_format={options.format}, for a recording with {channels} channels"
        )
    return channels


def _shaped(samples: Samples, channels: int) -> Samples:
    """``samples`` with so many channels."""
    given = samples.shape[0]
    if given == channels:
        return samples
    if channels == 1:
        mixed: Samples = samples.mean(axis=0, keepdims=True, dtype=np.float32)
        return mixed
    if given == 1:
        return np.repeat(samples, channels, axis=0)
    if channels == 2:
        return _two_sides(samples)
    fitted = np.zeros((channels, samples.shape[1]), np.float32)  # it changed on the way
    common = min(channels, given)
    fitted[:common] = samples[:common]
    return fitted


def _two_sides(samples: Samples) -> Samples:
    """Left and right of more than two channels, never louder than one of them can be."""
    given = samples.shape[0]
    if given not in _TO_LEFT:  # nobody knows where they stand
        return np.stack([samples[0::2].mean(axis=0), samples[1::2].mean(axis=0)]).astype(np.float32)
    weights = np.array([_TO_LEFT[given], _TO_RIGHT[given]], np.float32)
    sides: Samples = (weights / weights.sum(axis=1, keepdims=True)) @ samples
    return sides


@contextmanager
def _writing() -> Iterator[None]:
    """A full or broken disk is the server's fault, and says so."""
    try:
        yield
    except (av.FFmpegError, OSError) as exc:
        if getattr(exc, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoSpace("The disk of the server is full.", remedy="The operator has to make room.") from exc
        logger.exception("audio not written", extra={"action": "extract_failed"})
        raise Unavailable("The server cannot write the audio.", remedy="Its log says why.") from exc


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"The audio would be over {max_bytes:,} bytes.",
        remedy="Take a part of it with start and end, or a smaller sample_rate, bit_depth or output_format.",
        param="output_format",
    )
