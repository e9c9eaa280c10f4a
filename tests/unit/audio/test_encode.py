"""Speech as files, read back by our own decoder."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest

from kikitori.audio.decode import decode, probe
from kikitori.audio.encode import SPEECH_RATE, SpeechEncoder, SpeechFormat
from kikitori.audio.pcm import Encoding, Resampler, to_float
from kikitori.types import SAMPLE_RATE, Audio

RATE = 22_050
FILES = [format for format in SpeechFormat if format is not SpeechFormat.PCM]


def tone(seconds: float, rate: int = RATE) -> Audio:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def parts(audio: Audio, format: SpeechFormat, *, rate: int = RATE, size: int = 2_048) -> Iterator[bytes]:
    encoder = SpeechEncoder(format, rate)
    for at in range(0, len(audio), size):
        yield encoder.push(audio[at : at + size])
    yield encoder.finish()


def heard(data: bytes, format: SpeechFormat) -> Audio:
    """At 16 kHz."""
    if format is SpeechFormat.PCM:
        return Resampler(SPEECH_RATE).push(to_float(data, Encoding.S16LE))
    whole: Audio = np.concatenate([*decode(io.BytesIO(data))], axis=1)[0]
    return whole


@pytest.mark.parametrize("format", SpeechFormat)
@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_every_format_is_what_was_said(format: SpeechFormat, rate: int) -> None:
    audio = heard(b"".join(parts(tone(1.5, rate), format, rate=rate)), format)
    assert len(audio) / SAMPLE_RATE == pytest.approx(1.5, abs=0.1)
    strongest = np.argmax(np.abs(np.fft.rfft(audio))) / len(audio) * SAMPLE_RATE
    assert strongest == pytest.approx(440, abs=3)
    assert np.sqrt(np.mean(audio**2)) == pytest.approx(0.354, abs=0.04)


@pytest.mark.parametrize("format", SpeechFormat)
def test_it_comes_while_it_is_written(format: SpeechFormat) -> None:
    pieces = [*parts(tone(3.0), format)]
    assert sum(map(len, pieces[: len(pieces) // 2])) > 0.3 * sum(map(len, pieces))


@pytest.mark.parametrize("format", FILES)
def test_a_file_says_what_it_is(format: SpeechFormat) -> None:
    info = probe(io.BytesIO(b"".join(parts(tone(0.5), format))))
    assert info.channels == 1
    assert info.sample_rate == (48_000 if format is SpeechFormat.OPUS else SPEECH_RATE)


@pytest.mark.parametrize("format", SpeechFormat)
def test_nothing_said_is_an_empty_file(format: SpeechFormat) -> None:
    data = SpeechEncoder(format, RATE).finish()
    assert len(data) < 10_000
