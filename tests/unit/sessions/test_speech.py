"""Speech of many sessions at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import numpy as np
import pytest
from tests.conftest import MINI

from kikitori.audio.decode import decode
from kikitori.audio.vad import FRAME_SAMPLES, Probabilities, VadStream
from kikitori.sessions import speech
from kikitori.sessions.speech import SpeechFinder
from kikitori.testing import until
from kikitori.types import SAMPLE_RATE, Audio


class Ears:
    def __init__(self) -> None:
        self.heard: list[Probabilities] = []

    def speech(self, probabilities: Probabilities) -> None:
        self.heard.append(probabilities)

    @property
    def all(self) -> Probabilities:
        return np.concatenate(self.heard) if self.heard else np.zeros(0, np.float32)


@pytest.fixture
async def finder() -> AsyncIterator[SpeechFinder]:
    found = SpeechFinder()
    running = asyncio.create_task(found.run())
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(scope="module")
def spoken() -> Audio:
    """Never quite silent."""
    audio = np.concatenate([block[0] for block in decode(MINI / "samples" / "en_01.wav")])
    hum = np.sin(np.arange(len(audio)) / 20).astype(np.float32)
    return np.asarray(audio + 0.001 * hum, np.float32)


def pieces(audio: Audio, size: int) -> list[Audio]:
    return [audio[start : start + size] for start in range(0, len(audio), size)]


def has(session: Ears, frames: int) -> bool:
    return len(session.all) >= frames


async def test_each_session_gets_what_it_would_get_alone(finder: SpeechFinder, spoken: Audio) -> None:
    ears, shifted = (Ears(), Ears()), spoken[1_000:]
    for first, second in zip(pieces(spoken, 700), pieces(shifted, 700), strict=False):
        finder.push(ears[0], first)
        finder.push(ears[1], second)
        await asyncio.sleep(0)
    for session, audio in zip(ears, (spoken, shifted), strict=True):
        frames = len(audio) // FRAME_SAMPLES
        await until(partial(has, session, frames - 2))
        assert session.all == pytest.approx(VadStream().push(audio)[: len(session.all)], abs=1e-5)


async def test_nothing_to_hear_costs_nothing(
    finder: SpeechFinder, spoken: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    real = speech._found

    async def counted(find: speech.Find, work: speech.Work) -> Sequence[Probabilities]:
        nonlocal asked
        asked += sum(len(audio) for _, audio in work)
        return await real(find, work)

    monkeypatch.setattr(speech, "_found", counted)
    ears, silence = Ears(), np.zeros(10 * SAMPLE_RATE, np.float32)
    finder.push(ears, silence)
    await until(lambda: len(ears.all) == len(silence) // FRAME_SAMPLES)
    assert asked == 0
    assert not ears.all.any()
    finder.push(ears, spoken)
    await until(lambda: len(ears.all) == (len(silence) + len(spoken)) // FRAME_SAMPLES)
    assert (ears.all > 0.5).sum() == pytest.approx((VadStream().push(spoken) > 0.5).sum(), abs=3)


async def test_a_broken_detector_loses_nothing(
    finder: SpeechFinder, spoken: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, work: object) -> object:
        raise RuntimeError("broken")

    monkeypatch.setattr("kikitori.audio.vad_batch.VadBatch.run", broken)
    ears = Ears()
    finder.push(ears, spoken)
    await until(lambda: len(ears.all) == len(spoken) // FRAME_SAMPLES)
    assert ears.all.min() == 1.0


async def test_who_left_is_told_nothing(finder: SpeechFinder, spoken: Audio) -> None:
    gone, here = Ears(), Ears()
    finder.push(gone, spoken)
    finder.push(here, spoken)
    finder.forget(gone)
    await until(lambda: len(here.all))
    assert not len(gone.all)


async def test_who_sends_minutes_at_once_does_not_hold_up_the_others(
    finder: SpeechFinder, spoken: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[int]] = []
    real = speech._found

    async def noted(find: speech.Find, work: speech.Work) -> Sequence[Probabilities]:
        calls.append([len(audio) for _, audio in work])
        return await real(find, work)

    monkeypatch.setattr(speech, "_found", noted)
    flood, ann = Ears(), Ears()
    much = np.tile(spoken, 10)
    finder.push(flood, much)
    finder.push(ann, spoken[:FRAME_SAMPLES])
    await until(lambda: has(ann, 1))
    assert calls[0] == [speech.LOOK_SAMPLES, FRAME_SAMPLES], "she is heard with the first part of it"
    await until(lambda: has(flood, len(much) // FRAME_SAMPLES))
    assert flood.all == pytest.approx(VadStream().push(much), abs=1e-5)
    assert max(map(max, calls)) <= speech.LOOK_SAMPLES + FRAME_SAMPLES
