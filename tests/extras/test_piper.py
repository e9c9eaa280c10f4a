"""The real Piper, with a voice of our own: a tone for each phoneme."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from kikitori.tts.piper import PiperSpeaker

VOICES = Path(__file__).resolve().parents[1] / "data" / "piper"
RATE = 22_050
TEXT = "Good morning. How are you?"


@pytest.fixture
async def speaker() -> AsyncGenerator[PiperSpeaker, None]:
    speaker = PiperSpeaker(VOICES, program=str(Path(sys.executable).with_name("piper")))
    yield speaker
    await speaker.close()


async def spoken(speaker: PiperSpeaker, text: str, speed: float = 1.0) -> np.ndarray:
    """Samples of 16 bits."""
    pieces = []
    async with aclosing(speaker.speak(text, speed=speed)) as sounds:
        async for sound in sounds:
            assert sound.rate == RATE
            pieces.append(sound.pcm)
    return np.frombuffer(b"".join(pieces), "<i2")


async def test_it_speaks_with_the_voice_in_the_folder(speaker: PiperSpeaker) -> None:
    (voice,) = await speaker.voices()
    assert (voice.name, voice.languages) == ("tone", ("en-us",))
    samples = await spoken(speaker, TEXT)
    assert len(samples) > len(TEXT) * 1024, "a stretch for each phoneme, and one or more for each letter of these words"
    assert np.abs(samples).max() > 10_000
    loudest = np.argmax(np.abs(np.fft.rfft(samples))) * RATE / len(samples)
    assert loudest == pytest.approx(220, abs=5)


async def test_speed_and_length(speaker: PiperSpeaker) -> None:
    plain = await spoken(speaker, TEXT)
    assert len(await spoken(speaker, TEXT, speed=2.0)) == pytest.approx(len(plain) / 2, rel=0.01)
    assert len(await spoken(speaker, f"{TEXT} {TEXT}")) > 1.5 * len(plain)


async def test_what_is_told_apart_is_spoken_apart(speaker: PiperSpeaker) -> None:
    """Processes that wait for the next text keep nothing of the last one."""
    first = await spoken(speaker, "Yes.")
    longer = await spoken(speaker, TEXT)
    again = await spoken(speaker, "Yes.")
    assert len(first) == len(again) < len(longer)
