"""What the audio taken out of a recording should be: format, rate, depth, channels, and which part of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kikitori.errors import InvalidOption

MIN_RATE, MAX_RATE = 8_000, 192_000
KEEP = "keep"
"""Written for a rate or channels that stay as they are."""


class AudioFormat(StrEnum):
    """``output_format``."""

    WAV = "wav"  # PCM
    FLAC = "flac"  # lossless, about half as large
    MP3 = "mp3"
    OGG = "ogg"  # Opus in Ogg
    OPUS = "opus"  # the same, under the name of its codec
    M4A = "m4a"  # AAC in MP4


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatLimits:
    """What a format can hold."""

    media_type: str
    rates: tuple[int, ...] = ()
    """Samples per second; none: any."""
    depths: tuple[int, ...] = ()
    """Bits per sample, the default first; none: the format has no such thing."""
    max_channels: int = 2


_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS = FormatLimits(media_type="audio/ogg", rates=(8_000, 12_000, 16_000, 24_000, 48_000))

LIMITS: Mapping[AudioFormat, FormatLimits] = {
    AudioFormat.WAV: FormatLimits(media_type="audio/wav", depths=(16, 8, 24, 32), max_channels=8),
    AudioFormat.FLAC: FormatLimits(media_type="audio/flac", depths=(16, 24), max_channels=8),
    AudioFormat.MP3: FormatLimits(media_type="audio/mpeg", rates=_MP3_RATES),
    AudioFormat.OGG: _OPUS,
    AudioFormat.OPUS: _OPUS,
    AudioFormat.M4A: FormatLimits(media_type="audio/mp4", rates=(*_MP3_RATES, 64_000, 88_200, 96_000)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOptions:
    """Fits its format: ``parse_extract`` has seen to that."""

    format: AudioFormat = AudioFormat.WAV
    sample_rate: int | None = None
    """None: that of the recording, or the next one that the format has."""
    bit_depth: int | None = 16
    """None: the format has no such thing."""
    channels: int | None = None
    """1 or 2; None: those of the recording."""
    start: float = 0.0
    """Seconds."""
    end: float | None = None

    @property
    def limits(self) -> FormatLimits:
        return LIMITS[self.format]

    def rate_for(self, source_rate: int) -> int:
        """The rate to write what has ``source_rate``."""
        if self.sample_rate is not None:
            return self.sample_rate
        if self.limits.rates:
            return next((rate for rate in self.limits.rates if rate >= source_rate), self.limits.rates[-1])
        return min(max(source_rate, MIN_RATE), MAX_RATE)


FIELDS = ("output_format", "sample_rate", "bit_depth", "channels", "start", "end")


def parse_extract(values: Mapping[str, str]) -> ExtractOptions:
    """Options from the text of a form, by the names in FIELDS; an empty text means "not given".

    Raises InvalidOption naming the field, its value and what is allowed.
    """
    given = {name: values.get(name, "").strip() for name in FIELDS}
    output = _format(given["output_format"])
    start, end = _span(given["start"], given["end"])
    return ExtractOptions(
        format=output,
        sample_rate=_rate(given["sample_rate"], output),
        bit_depth=_depth(given["bit_depth"], output),
        channels=_channels(given["channels"]),
        start=start,
        end=end,
    )


def _format(text: str) -> AudioFormat:
    if text.lower() not in set(AudioFormat) and text:
        raise InvalidOption("output_format", text, ", ".join(AudioFormat))
    return AudioFormat(text.lower() or AudioFormat.WAV)


def _rate(text: str, output: AudioFormat) -> int | None:
    if text.lower() in ("", KEEP):
        return None
    rate = _whole("sample_rate", text, f"a whole number, {MIN_RATE} to {MAX_RATE}, or {KEEP}")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidOption("sample_rate", rate, f"a whole number, {MIN_RATE} to {MAX_RATE}, or {KEEP}")
    rates = LIMITS[output].rates
    if rates and rate not in rates:
        raise InvalidOption("sample_rate", rate, f"{', '.join(map(str, rates))} with output_format={output}")
    return rate


def _depth(text: str, output: AudioFormat) -> int | None:
    depths = LIMITS[output].depths
    if not text:
        return depths[0] if depths else None
    depth = _whole("bit_depth", text, "8, 16, 24, 32")
    if not depths:
        raise InvalidOption("bit_depth", depth, f"none with output_format={output}, which has no bit depth")
    if depth not in depths:
        raise InvalidOption("bit_depth", depth, f"{', '.join(map(str, sorted(depths)))} with output_format={output}")
    return depth


def _channels(text: str) -> int | None:
    if text.lower() in ("", KEEP):
        return None
    if text not in ("1", "2"):
        raise InvalidOption("channels", text, f"1, 2, {KEEP}")
    return int(text)


def _span(start_text: str, end_text: str) -> tuple[float, float | None]:
    start = _seconds("start", start_text) if start_text else 0.0
    if not end_text:
        return start, None
    end = _seconds("end", end_text)
    if end <= start:
        raise InvalidOption("end", end, f"seconds after start, which is {start:g}")
    return start, end


def _whole(name: str, text: str, allowed: str) -> int:
    # Not what int() takes besides: signs, underscores, and numbers of any length.
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidOption(name, text, allowed)
    return int(text)


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidOption(name, text, "seconds, 0 or more")
    return seconds
