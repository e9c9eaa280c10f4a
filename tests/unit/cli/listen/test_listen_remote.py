from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field

import pytest
from tests.unit.cli.listen.live_server import Talk, live_server

from kikitori.cli.listen.captions import Caption, Said, Shown, Told
from kikitori.cli.listen.remote import RemoteSource
from kikitori.errors import InvalidMedia, InvalidOption, ModelNotFound, Unauthorized, Unavailable


@dataclass
class Frames:
    """A sound made of frames; ``more`` lets the next one out."""

    data: Iterable[bytes]
    encoding: str = "s16le"
    rate: int = 16_000
    gates: dict[int, asyncio.Event] = field(default_factory=dict)
    """Waited for before the frame of this number."""
    failing: bool = False
    lost_seconds: float = 0.0

    async def frames(self) -> AsyncGenerator[bytes, None]:
        for number, frame in enumerate(self.data):
            if gate := self.gates.get(number):
                await gate.wait()
            yield frame
        if self.failing:
            raise InvalidMedia("The rest is damaged.")

    def stop(self) -> None: ...


async def captions(url: str, sound: Frames, *, api_key: str = "", away: float = 30.0) -> list[Caption]:
    source = RemoteSource(url, api_key, {"lang": "en"}, first_wait=0.01, away=away)
    return [caption async for caption in source.captions(sound)]


async def greet(talk: Talk, token: str = "t1") -> dict[str, object]:
    message = await talk.next_message()
    await talk.say("system", message="started")
    await talk.say("session", session="s", token=token, samples=0)
    return message


async def test_sound_goes_out_and_captions_come_back() -> None:
    heard: list[object] = []

    async def script(talk: Talk) -> None:
        heard.append(await greet(talk))
        heard.append(await talk.rest())
        await talk.say("interim", utterance=1, revision=1, text="hel", stable="")
        await talk.say("final", utterance=1, text="hello", start=0.0, end=1.0)
        await talk.say("ended")
        await talk.socket.wait_closed()

    async with live_server(script) as server:
        got = await captions(server.url, Frames([b"abcd", b"ef"]), api_key="sk-1")
    assert got == [Shown(text="hel"), Said(text="hello", start=0.0, end=1.0)]
    assert heard == [
        {"type": "start", "lang": "en", "resumable": True, "encoding": "s16le", "sample_rate": 16_000},
        b"abcdef",
    ]
    assert server.requests[0].path == "/stt/websocket"
    assert server.requests[0].headers["Authorization"] == "Bearer sk-1"


async def test_a_broken_connection_is_taken_up_without_losing_a_sample() -> None:
    got_back = asyncio.Event()
    resumed: list[object] = []

    async def first(talk: Talk) -> None:
        await greet(talk)
        await talk.audio(4)
        await talk.say("final", utterance=1, text="one", start=0.0, end=0.0)
        talk.break_off()
        got_back.set()

    async def second(talk: Talk) -> None:
        resumed.append(await talk.next_message())
        await talk.say("resumed", samples=1, token="t1")
        await talk.say("final", utterance=1, text="one", start=0.0, end=0.0)
        resumed.append(await talk.rest())
        await talk.say("final", utterance=2, text="two", start=0.0, end=1.0)
        await talk.say("ended")
        await talk.socket.wait_closed()

    async with live_server(first, second) as server:
        got = await captions(server.url, Frames([b"abcd", b"ef"], gates={1: got_back}))
    assert resumed == [{"type": "resume", "token": "t1"}, b"cdef"]
    assert [caption.text for caption in got if isinstance(caption, Said)] == ["one", "two"]
    assert [caption.problem for caption in got if isinstance(caption, Told)] == [True, False]


async def test_a_server_that_forgot_the_session_hears_what_has_no_final() -> None:
    heard: list[object] = []

    async def first(talk: Talk) -> None:
        await greet(talk)
        await talk.audio(4)
        talk.break_off()

    async def second(talk: Talk) -> None:
        await talk.next_message()
        await talk.say("error", code="not_found", message="There is no such session any more.")
        await talk.say("ended")
        await greet(talk, "t2")
        heard.append(await talk.rest())
        await talk.say("ended")
        await talk.socket.wait_closed()

    async with live_server(first, second) as server:
        await captions(server.url, Frames([b"abcd", b"ef"]))
    assert heard == [b"abcdef"]


async def test_nobody_there_is_said_at_once() -> None:
    with pytest.raises(Unavailable, match=r"does not answer .*Check --url"):
        await captions("http://127.0.0.1:9", Frames([b"ab"]))


async def test_a_server_that_goes_away_for_good_is_given_up() -> None:
    async def script(talk: Talk) -> None:
        await greet(talk)
        server.refusal = (503, "")
        talk.break_off()

    async with live_server(script) as server:
        with pytest.raises(Unavailable, match="503"):
            await captions(server.url, Frames([b"ab"]), away=0.0)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, json.dumps({"error": {"message": "No key.", "code": "invalid_api_key"}}), Unauthorized),
        (404, "Not Found", Unavailable),
        (503, json.dumps({"error": {"message": "Starting.", "code": "unavailable"}}), Unavailable),
    ],
)
async def test_what_the_server_refuses_is_one_of_our_errors(status: int, body: str, error: type[Exception]) -> None:
    async with live_server(refusal=(status, body)) as server:
        with pytest.raises(error):
            await captions(server.url, Frames([b"ab"]))


async def test_a_start_that_is_refused_ends_it() -> None:
    async def script(talk: Talk) -> None:
        await talk.next_message()
        await talk.say("error", code="model_not_found", message="The model 'x' does not exist here.")
        await talk.say("ended")
        await talk.socket.wait_closed()

    async with live_server(script) as server:
        with pytest.raises(ModelNotFound, match="'x' does not exist"):
            await captions(server.url, Frames([b"ab"]))


async def test_a_server_that_closes_without_a_word_is_not_tried_for_ever() -> None:
    async def script(talk: Talk) -> None:
        await talk.socket.close(1008, "No thanks.")

    async with live_server(script) as server:
        with pytest.raises(Unavailable, match="No thanks"):
            await captions(server.url, Frames([b"ab"]))


@pytest.mark.parametrize("frame", ["welcome", "[]", '{"type":"ack"}', '{"type":"final","text":"x","start":[]}'])
async def test_what_is_no_kikitori_server_is_said(frame: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.socket.send(frame)
        await talk.socket.wait_closed()

    async with live_server(script) as server:
        with pytest.raises(Unavailable, match="no Kikitori server"):
            await captions(server.url, Frames([b"ab"]))


async def test_sound_that_breaks_off_is_heard_as_far_as_it_came() -> None:
    async def script(talk: Talk) -> None:
        await greet(talk)
        await talk.rest()
        await talk.say("final", utterance=1, text="so far", start=0.0, end=1.0)
        await talk.say("ended")
        await talk.socket.wait_closed()

    got: list[Caption] = []
    async with live_server(script) as server:
        with pytest.raises(InvalidMedia):
            async for caption in RemoteSource(server.url, "", {}).captions(Frames([b"ab"], failing=True)):
                got.append(caption)
    assert got == [Said(text="so far", start=0.0, end=1.0)]


def test_a_wrong_address_is_a_wrong_flag() -> None:
    with pytest.raises(InvalidOption):
        RemoteSource("ftp://x", "", {})
