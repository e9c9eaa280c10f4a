"""Replies at work, on a scripted language model and a voice that hums."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from kikitori.audio.pcm import Encoding
from kikitori.errors import ChatFailed, InvalidOption, SpeechFailed
from kikitori.llm.talking import Called, Ended, Said, TokenUsage
from kikitori.replies.desk import MOST_SOUND_SECONDS, ReplyDesk
from kikitori.replies.events import ReplyEvent, ReplyFailed, ReplyRequest, ReplySound, ReplySpoken, Spoken
from kikitori.testing import FakeSpeaker, FakeTalkingModel, Hold, until
from kikitori.tts.speaker import Sound

SPOKEN = ReplyRequest(messages=({"role": "user", "content": "Hello"},), spoken=Spoken(voice="alloy", language="de"))
WRITTEN = ReplyRequest(messages=SPOKEN.messages)
STOP = Ended(reason="stop", usage=TokenUsage(input_tokens=3, output_tokens=2))


async def reply(model: FakeTalkingModel, speaker: FakeSpeaker, request: ReplyRequest = SPOKEN) -> list[ReplyEvent]:
    events: list[ReplyEvent] = []

    async def tell(event: ReplyEvent) -> None:
        events.append(event)

    await ReplyDesk(model, speaker).reply(request, tell)
    return events


def sound_bytes(events: list[ReplyEvent]) -> int:
    return sum(len(event.data) for event in events if isinstance(event, ReplySound))


async def test_sentences_are_spoken_while_the_rest_is_written() -> None:
    hold = Hold()
    model = FakeTalkingModel(Said(text="Good "), Said(text="morning. And "), hold, Said(text="bye."), STOP)
    speaker = FakeSpeaker()
    events: list[ReplyEvent] = []

    async def tell(event: ReplyEvent) -> None:
        events.append(event)

    work = asyncio.create_task(ReplyDesk(model, speaker).reply(SPOKEN, tell))
    await hold.reached.wait()
    await until(lambda: ReplySpoken(characters=13) in events)
    assert [speech.text for speech in speaker.spoken] == ["Good morning."]
    assert sound_bytes(events) == pytest.approx(2 * 24_000 * 13 * 0.05, rel=0.01)
    hold.release.set()
    await work
    assert [speech.text for speech in speaker.spoken] == ["Good morning.", "And bye."]
    assert "".join(event.text for event in events if isinstance(event, Said)) == "Good morning. And bye."
    assert events[-2:] == [ReplySpoken(characters=22), Ended(reason="stop", usage=STOP.usage)]
    assert {(speech.voice, speech.language) for speech in speaker.spoken} == {("alloy", "de")}


async def test_thoughts_are_not_told() -> None:
    speaker = FakeSpeaker()
    events = await reply(FakeTalkingModel(Said(text="<think>Hm. "), Said(text="</think>Hello."), STOP), speaker)
    assert [event.text for event in events if isinstance(event, Said)] == ["Hello."]
    assert [speech.text for speech in speaker.spoken] == ["Hello."]


async def test_what_is_only_written_is_not_spoken() -> None:
    speaker = FakeSpeaker()
    events = await reply(FakeTalkingModel(Said(text="Hello."), STOP), speaker, WRITTEN)
    assert events == [Said(text="Hello."), Ended(reason="stop", usage=STOP.usage)]
    assert speaker.spoken == []


async def test_what_nobody_can_say_is_left_out() -> None:
    speaker = FakeSpeaker()
    events = await reply(FakeTalkingModel(Said(text="**Fine.** 🎉\n***\n"), STOP), speaker)
    assert [speech.text for speech in speaker.spoken] == ["Fine."]
    assert isinstance(events[-1], Ended)


async def test_functions_are_passed_on() -> None:
    model = FakeTalkingModel(
        Called(index=0, id="call_1", name="weather"), Called(index=0, arguments="{}"), Ended(reason="tool_calls")
    )
    request = ReplyRequest(
        messages=SPOKEN.messages, spoken=Spoken(), tools=({"type": "function"},), tool_choice="auto", max_tokens=7
    )
    events = await reply(model, FakeSpeaker(), request)
    assert events == [
        Called(index=0, id="call_1", name="weather"),
        Called(index=0, arguments="{}"),
        Ended(reason="tool_calls"),
    ]
    (asked,) = model.asked
    assert (asked.tools, asked.tool_choice, asked.max_tokens) == (request.tools, "auto", 7)


@pytest.mark.parametrize(
    ("encoding", "rate", "bytes_a_second"),
    [(Encoding.S16LE, 24_000, 48_000), (Encoding.MULAW, 8_000, 8_000), (Encoding.ALAW, 8_000, 8_000)],
)
async def test_sound_has_the_format_that_was_asked_for(encoding: Encoding, rate: int, bytes_a_second: int) -> None:
    request = ReplyRequest(messages=SPOKEN.messages, spoken=Spoken(encoding=encoding, rate=rate, speed=2.0))
    text = "x" * 100 + "."
    events = await reply(FakeTalkingModel(Said(text=text), STOP), FakeSpeaker(), request)
    assert sound_bytes(events) == pytest.approx(bytes_a_second * 101 * 0.05 / 2, rel=0.01)
    assert max(len(event.data) for event in events if isinstance(event, ReplySound)) <= MOST_SOUND_SECONDS * 48_000


@pytest.mark.parametrize(
    ("script", "fails", "code"),
    [
        ([ChatFailed("No model.")], None, "llm_unavailable"),
        ([Said(text="Hello. "), ChatFailed("Away.")], None, "llm_unavailable"),
        ([Said(text="Hello. "), Hold()], SpeechFailed("Mute."), "tts_unavailable"),
        ([Said(text="Hello. "), Said(text="x"), STOP], InvalidOption("voice", "x", "alloy"), "invalid_value"),
        ([Said(text="Hello. "), STOP], ValueError("unforeseen"), "internal_error"),
    ],
    ids=["model", "model later", "voice", "wrong voice", "unforeseen"],
)
async def test_what_fails_fails_the_reply_and_lets_go_of_the_rest(
    script: list[Any], fails: Exception | None, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, speaker = FakeTalkingModel(*script), FakeSpeaker(fails=lambda text: fails)
    with caplog.at_level(logging.WARNING):
        events = await reply(model, speaker)
    failed = events[-1]
    assert isinstance(failed, ReplyFailed)
    assert failed.code == code
    assert "unforeseen" not in failed.message
    assert model.closed.is_set()
    assert all(speech.closed.is_set() for speech in speaker.spoken)
    assert [record.__dict__["action"] for record in caplog.records] == ["reply_failed"]


async def test_cancelling_stops_the_model_and_the_voice_at_once() -> None:
    hold = Hold()
    model, speaker = FakeTalkingModel(Said(text="A long sentence. "), Hold()), FakeSpeaker(hold=hold)
    work = asyncio.create_task(reply(model, speaker))
    await hold.reached.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert model.closed.is_set()
    assert speaker.spoken[0].closed.is_set()


async def test_who_listens_slowly_is_waited_for() -> None:
    taken = asyncio.Semaphore(2)

    async def tell(event: ReplyEvent) -> None:
        await taken.acquire()

    class Counting(FakeSpeaker):
        pieces = 0

        async def speak(self, text: str, **asked: Any) -> AsyncGenerator[Sound, None]:
            async for sound in super().speak(text, **asked):
                self.pieces += 1
                yield sound

    speaker = Counting()
    desk = ReplyDesk(FakeTalkingModel(Said(text="x" * 200 + ". "), STOP), speaker)
    work = asyncio.create_task(desk.reply(SPOKEN, tell))
    await until(lambda: speaker.pieces > 0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert speaker.pieces < 5
    for _ in range(300):
        taken.release()
    await work


async def test_the_model_is_opened_once_and_ahead() -> None:
    model = FakeTalkingModel(Said(text="Hello."), STOP)
    desk = ReplyDesk(model, FakeSpeaker())
    desk.prepare()
    desk.prepare()
    await until(lambda: model.opened)

    async def tell(event: ReplyEvent) -> None:
        pass

    await desk.reply(SPOKEN, tell)
    await desk.reply(SPOKEN, tell)
    assert model.opened == 1
    await desk.close()
