"""The one voice of a server: which engine, which voices, how many at once."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from kikitori.errors import Busy, NotFound, SpeechFailed
from kikitori.testing import FakeSpeaker, Hold, until
from kikitori.tts import desk as desk_module
from kikitori.tts.desk import SpeechDesk
from kikitori.tts.plan import SpeechPlan
from kikitori.tts.registry import chosen_engine, open_engine


def desk_of(speaker: FakeSpeaker, **plan: Any) -> SpeechDesk:
    return SpeechDesk(SpeechPlan(engine="espeak", **plan), open_engine=lambda plan: speaker)


async def spoken(desk: SpeechDesk, text: str = "Hello", **asked: Any) -> float:
    async with aclosing(desk.speak(text, **asked)) as sounds:
        return sum([sound.seconds async for sound in sounds])


async def test_texts_go_to_the_engine_with_the_voice_that_is_meant() -> None:
    speaker = FakeSpeaker()
    desk = desk_of(speaker, voices={"anna": "de"})
    assert await spoken(desk, voice="anna", speed=2.0, language="de", instructions="Softly.") > 0
    (speech,) = speaker.spoken
    assert (speech.text, speech.voice, speech.speed, speech.language) == ("Hello", "de", 2.0, "de")
    assert speech.instructions == "Softly."
    assert speech.finished


async def test_other_names_of_voices_are_listed_too() -> None:
    desk = desk_of(FakeSpeaker(), voices={"anna": "de", "alloy": "elsewhere"})
    assert [(voice.name, voice.languages) for voice in await desk.voices()] == [
        ("de", ("de",)),
        ("anna", ("de",)),
        ("alloy", ()),
    ]


async def test_more_texts_than_places_wait_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "WAITING_FOR_A_PLACE", 1)
    hold = Hold()
    speaker = FakeSpeaker(hold=hold)
    desk = desk_of(speaker, places=1)
    first = asyncio.create_task(spoken(desk))
    await hold.reached.wait()
    second = asyncio.create_task(spoken(desk))
    await until(lambda: desk._waiting == 1)
    with pytest.raises(Busy):
        await spoken(desk)
    assert len(speaker.spoken) == 1
    hold.release.set()
    assert await first == await second


async def test_who_goes_while_waiting_leaves_no_gap() -> None:
    hold = Hold()
    speaker = FakeSpeaker(hold=hold)
    desk = desk_of(speaker, places=1)
    first = asyncio.create_task(spoken(desk))
    await hold.reached.wait()
    second = asyncio.create_task(spoken(desk))
    await until(lambda: desk._waiting == 1)
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert speaker.spoken[0].closed.is_set()
    hold.release.set()
    assert await spoken(desk) > 0


async def test_an_engine_that_cannot_be_opened_is_told_to_whoever_speaks(caplog: pytest.LogCaptureFixture) -> None:
    def broken(plan: SpeechPlan) -> FakeSpeaker:
        raise SpeechFailed("It is broken.")

    desk = SpeechDesk(SpeechPlan(engine="espeak"), open_engine=broken)
    with caplog.at_level(logging.WARNING):
        await desk.open()
    assert [record.__dict__["action"] for record in caplog.records] == ["tts_unavailable"]
    with pytest.raises(SpeechFailed, match="broken"):
        await spoken(desk)
    await desk.close()


async def test_nobody_speaks_where_the_operator_says_so() -> None:
    desk = SpeechDesk(SpeechPlan(engine="none"))
    await desk.open()
    assert not desk.speaks
    with pytest.raises(SpeechFailed, match="KIKITORI_TTS_URL"):
        await spoken(desk)


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        ({}, "espeak"),
        ({"url": "http://host/v1"}, "openai"),
        ({"url": "http://host/v1", "engine": "espeak"}, "espeak"),
        ({"piper_voices": Path("/voices"), "piper_program": "sh"}, "piper"),
        ({"piper_voices": Path("/voices"), "piper_program": "no-such-piper"}, "espeak"),
        ({"engine": "none", "url": "http://host/v1"}, "none"),
    ],
)
def test_auto_takes_what_was_set_up_and_else_what_needs_nothing(plan: dict[str, Any], name: str) -> None:
    assert chosen_engine(SpeechPlan(**plan)) == name


def test_an_engine_that_does_not_exist() -> None:
    with pytest.raises(NotFound):
        chosen_engine(SpeechPlan(engine="festival"))


def test_piper_without_a_folder_says_what_to_set() -> None:
    with pytest.raises(SpeechFailed, match="KIKITORI_TTS_PIPER_VOICES"):
        open_engine(SpeechPlan(engine="piper"))
