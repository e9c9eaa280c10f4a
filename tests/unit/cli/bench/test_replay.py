from __future__ import annotations

import json

import numpy as np
from tests.unit.cli.listen.live_server import Talk, live_server
from websockets.asyncio.server import ServerConnection

from kikitori.cli.bench.replay import Target, replay_all
from kikitori.cli.bench.truth import Speech, TrueWord
from kikitori.types import SAMPLE_RATE

SPEECH = Speech(
    audio=np.full(SAMPLE_RATE // 4, 0.5, np.float32),
    words=(TrueWord(word="hi", start=0.1, end=0.2),),
    language="en",
)


async def hear_all(talk: Talk) -> None:
    await talk.next_message()
    await talk.say("system", message="started")
    audio = await talk.rest()
    await talk.say("final", utterance=1, text=f"{len(audio)} bytes", start=0.0, end=0.25, reason="end")
    await talk.say("ended")
    await talk.socket.wait_closed()


async def test_every_client_speaks_and_notes_what_comes_back() -> None:
    async with live_server(hear_all, hear_all) as server:
        journals = await replay_all(Target(url=server.url), [SPEECH, SPEECH])
    assert [journal.client for journal in journals] == [0, 1]
    for journal in journals:
        assert journal.sessions == 2
        assert [seen.kind for seen in journal.seen] == ["final", "ended"]
        assert journal.seen[0].text == f"{SAMPLE_RATE // 4 * 2} bytes"
        assert journal.ended
        assert journal.problem == ""
        assert len(journal.sent) == 7, "six frames of 40 ms and a rest"
        assert journal.seen[0].at >= journal.sent[-1] >= 0.24, "not faster than it was spoken"


async def test_the_start_says_how_to_listen() -> None:
    starts = []

    async def script(talk: Talk) -> None:
        starts.append(await talk.next_message())
        await talk.say("error", message="No such model.")

    async with live_server(script) as server:
        (journal,) = await replay_all(
            Target(url=server.url, api_key="k", start={"model": "x"}, endpoint_seconds=0.3), [SPEECH]
        )
    assert starts == [{"type": "start", "model": "x", "lang": "en", "endpoint_ms": 300, "sample_rate": 16_000}]
    assert server.requests[0].headers["Authorization"] == "Bearer k"
    assert journal.problem == "No such model."
    assert journal.sent == ()
    assert not journal.ended


async def test_a_busy_server_is_asked_again_when_it_says() -> None:
    async def busy(talk: Talk) -> None:
        await talk.next_message()
        await talk.say("error", message="The server is busy.", retry_after=0.05)
        await talk.socket.close(1013)

    async with live_server(busy, busy, hear_all) as server:
        (journal,) = await replay_all(Target(url=server.url), [SPEECH])
    assert len(server.requests) == 3
    assert journal.ended
    assert journal.problem == ""


async def test_a_server_that_stays_busy_too_long_is_a_problem() -> None:
    async def busy(talk: Talk) -> None:
        await talk.next_message()
        await talk.say("error", message="The server is busy.", retry_after=3600)

    async with live_server(busy) as server:
        (journal,) = await replay_all(Target(url=server.url), [SPEECH])
    assert journal.problem == "The server is busy."
    assert journal.sent == ()


async def test_a_client_that_is_cut_off_keeps_nobody_waiting() -> None:
    async def cut(talk: Talk) -> None:
        talk.break_off()

    async def cut_later(talk: Talk) -> None:
        await talk.next_message()
        await talk.say("system", message="started")
        await talk.audio(1)
        talk.break_off()

    async with live_server(cut, cut_later, hear_all) as server:
        journals = await replay_all(Target(url=server.url), [SPEECH] * 3)
    assert sorted(journal.ended for journal in journals) == [False, False, True]
    assert sum(bool(journal.problem) for journal in journals) == 2


async def test_a_server_that_is_not_there_is_a_problem_of_each() -> None:
    journals = await replay_all(Target(url="http://127.0.0.1:9"), [SPEECH, SPEECH])
    assert all(journal.problem for journal in journals)


async def test_messages_that_are_no_json_end_the_session() -> None:
    async def script(talk: Talk) -> None:
        await greet_badly(talk.socket)

    async def greet_badly(socket: ServerConnection) -> None:
        await socket.send(json.dumps({"type": "system"}))
        await socket.send("what?")
        await socket.wait_closed()

    async with live_server(script) as server:
        (journal,) = await replay_all(Target(url=server.url), [SPEECH])
    assert "JSON" in journal.problem
