"""eSpeak NG itself: the wheel, and the system's program where it is."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import numpy as np
import psutil
import pytest

from kikitori.errors import InvalidOption, SpeechFailed
from kikitori.testing import until
from kikitori.tts import espeak
from kikitori.tts.espeak import PROGRAM, SPARES, EspeakSpeaker
from kikitori.tts.speaker import Sound

SENTENCE = "Good morning, how are you today?"
HAS_PROGRAM = shutil.which(PROGRAM) is not None


@pytest.fixture(
    params=[
        pytest.param(False, id="wheel"),
        pytest.param(True, id="program", marks=pytest.mark.skipif(not HAS_PROGRAM, reason="no espeak-ng here")),
    ]
)
async def speaker(request: pytest.FixtureRequest) -> AsyncGenerator[EspeakSpeaker, None]:
    speaker = EspeakSpeaker(program=request.param)
    yield speaker
    await speaker.close()
    assert not _workers()


def _workers() -> list[psutil.Process]:
    """Processes of ours that speak."""
    found = []
    for process in psutil.Process(os.getpid()).children():
        try:
            if "espeak" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


async def _all(sounds: AsyncGenerator[Sound, None]) -> list[Sound]:
    async with aclosing(sounds):
        return [sound async for sound in sounds]


def seconds(sounds: Iterable[Sound]) -> float:
    return sum(sound.seconds for sound in sounds)


async def test_a_sentence_becomes_sound_piece_by_piece(speaker: EspeakSpeaker) -> None:
    sounds = await _all(speaker.speak(SENTENCE))
    assert len(sounds) > 5
    assert {sound.rate for sound in sounds} == {22_050}
    assert all(sound.pcm and len(sound.pcm) % 2 == 0 for sound in sounds)
    assert 1 < seconds(sounds) < 4
    samples = np.frombuffer(b"".join(sound.pcm for sound in sounds), "<i2")
    assert np.abs(samples).max() > 3_000


async def test_speed_changes_how_long_it_takes(speaker: EspeakSpeaker) -> None:
    usual = seconds(await _all(speaker.speak(SENTENCE)))
    for speed in (0.25, 0.5, 2.0, 4.0):
        took = seconds(await _all(speaker.speak(SENTENCE, speed=speed)))
        assert took * speed == pytest.approx(usual, rel=0.35), speed


async def test_what_cannot_be_read_aloud_is_short(speaker: EspeakSpeaker) -> None:
    assert seconds(await _all(speaker.speak(" \0 … ☃"))) < 2


async def test_marks_of_the_program_are_text(speaker: EspeakSpeaker) -> None:
    assert seconds(await _all(speaker.speak("[[həˈləʊ]] <b>one</b> -w /etc/passwd"))) > 1


@pytest.mark.parametrize("voice", ["en-gb", "fr", "de+f2", "nova", "cmn", "pt-BR"])
async def test_voices_of_many_kinds_speak(speaker: EspeakSpeaker, voice: str) -> None:
    assert seconds(await _all(speaker.speak(SENTENCE, voice=voice))) > 1


async def test_a_voice_that_is_not_there_is_refused(speaker: EspeakSpeaker) -> None:
    with pytest.raises(InvalidOption):
        await _all(speaker.speak(SENTENCE, voice="bogus"))


async def test_the_default_voice_comes_first() -> None:
    speaker = EspeakSpeaker(default="sage")
    assert [voice.name for voice in await speaker.voices()][:2] == ["sage", "alloy"]
    assert len(await speaker.voices()) > 100
    await speaker.close()


async def test_closing_kills_the_process(speaker: EspeakSpeaker) -> None:
    async with aclosing(speaker.speak("a long word " * 2_000)) as sounds:
        await anext(sounds)
        await until(lambda: len(_workers()) == SPARES + 1)
    await until(lambda: len(_workers()) == SPARES)


async def test_a_long_text_is_spoken_to_its_end(speaker: EspeakSpeaker) -> None:
    async with aclosing(speaker.speak("word " * 600)) as sounds:
        first = await anext(sounds)
        rest = [sound async for sound in sounds]
    assert first.seconds + seconds(rest) > 90


async def test_several_texts_at_once_are_the_same_as_one_by_one(speaker: EspeakSpeaker) -> None:
    texts = [f"This is number {number}." for number in range(6)]
    alone = [b"".join(sound.pcm for sound in await _all(speaker.speak(text))) for text in texts]
    together = await asyncio.gather(*(_all(speaker.speak(text)) for text in texts))
    assert [b"".join(sound.pcm for sound in sounds) for sounds in together] == alone


async def test_without_the_wheel_and_the_program_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "_wheel", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert espeak.espeak_here() == ""
    with pytest.raises(SpeechFailed, match="espeakng-loader"):
        EspeakSpeaker()
