"""Messages that no client should send, on real sockets, beside one that behaves."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tests.realtime_sdk import listening, speech
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from tests.conftest import Sample
    from tests.servers import Server

Samples = Mapping[str, "Sample"]

SEED = 20_260_301
SOCKETS, FRAMES = 8, 60
NOISE = base64.b64encode(random.Random(SEED).randbytes(9_601)).decode()
DETECTION: Any = {"type": "server_vad", "silence_duration_ms": 200}
FRAMES_THAT_MAKE_SENSE: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "transcription", "audio": {"input": {"turn_detection": None}}}},
    {"type": "session.update", "session": {"type": "transcription", "audio": {"input": {"turn_detection": DETECTION}}}},
    {
        "type": "session.update",
        "session": {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}},
    },
    {"type": "input_audio_buffer.append", "audio": NOISE},
    {"type": "input_audio_buffer.append", "audio": NOISE},
    {"type": "input_audio_buffer.commit", "event_id": "e1"},
    {"type": "input_audio_buffer.clear"},
    {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {"id": "mine", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    },
    {"type": "conversation.item.retrieve", "item_id": "mine"},
    {"type": "conversation.item.delete", "item_id": "mine"},
    {"type": "conversation.item.truncate", "item_id": "mine", "content_index": 0, "audio_end_ms": 1},
    {"type": "response.create", "response": {}},
    {"type": "response.cancel"},
]
ODD: list[Any] = [None, True, -1, 2**70, 1e308, "", "\x00", "\ud800", [], {}, [[[]]], {"type": "message"}, "é" * 1_000]


def spoilt(frame: Any, chance: random.Random) -> Any:
    """The frame with something odd in one place of it."""
    if chance.random() < 0.2 or not isinstance(frame, dict | list) or not frame:
        return chance.choice(ODD)
    if isinstance(frame, list):
        at = chance.randrange(len(frame))
        return [spoilt(part, chance) if number == at else part for number, part in enumerate(frame)]
    name = chance.choice(list(frame))
    return {**frame, name: spoilt(frame[name], chance)}


def written(chance: random.Random) -> str | bytes:
    """A frame: as it should be, spoilt, cut off, or nothing like it."""
    frame = chance.choice(FRAMES_THAT_MAKE_SENSE)
    kind = chance.random()
    if kind < 0.4:
        return json.dumps(frame)
    if kind < 0.8:
        return json.dumps(spoilt(frame, chance))
    text = json.dumps(frame)
    return text[: chance.randrange(len(text))] if kind < 0.9 else chance.randbytes(chance.randrange(2_000))


async def misbehave(url: str, chance: random.Random) -> None:
    intent = chance.choice(("?intent=transcription", "?model=whisper-1", "?model=gpt-realtime"))
    async with connect(f"{url.replace('http', 'ws')}/v1/realtime{intent}") as socket:
        reading = asyncio.create_task(answers(socket))
        for _ in range(FRAMES):
            await socket.send(written(chance))
        if chance.random() < 0.5:
            socket.transport.abort()
        else:
            # What this asks is answered after everything before it.
            await socket.send('{"type": "last", "event_id": "last"}')
        await reading


async def answers(socket: ClientConnection) -> None:
    """Every frame is an event; until the last one is answered, or the connection is cut."""
    try:
        async for frame in socket:
            event = json.loads(frame)
            assert event["type"]
            assert event["event_id"]
            if event["type"] == "error" and event["error"]["event_id"] == "last":
                return
    except ConnectionClosed:
        return


async def test_nothing_that_is_sent_hurts_the_server_or_others(
    server: Server, samples: Samples, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    logged = len(server.log.read_text())
    async with listening(server.url) as talk:
        chance = random.Random(SEED)
        async with asyncio.TaskGroup() as group:
            for _ in range(SOCKETS):
                group.create_task(misbehave(server.url, random.Random(chance.random())))
        await talk.say(speech(samples["en_01"].path))
        await talk.commit()
        assert await talk.transcript() == samples["en_01"].text
        eventually(lambda: server.metric("kikitori_live_sessions") == 1)
    eventually(lambda: server.metric("kikitori_live_sessions") == 0)
    log = server.log.read_text()[logged:]
    assert "Traceback" not in log
    assert "socket failed" not in log
