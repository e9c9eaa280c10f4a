"""Messages that no client should send on the plain live socket, beside a client that behaves."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.acceptance.test_live_socket import END, START, heard, read, say, tell, texts
from tests.acceptance.test_realtime_fuzz import SEED, spoilt
from tests.servers import Server, running_server
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from tests.conftest import Sample

SOCKETS, FRAMES = 8, 60
NOISE = random.Random(SEED).randbytes(3_201)
CONTENT = base64.b64encode(NOISE).decode()
FRAMES_THAT_MAKE_SENSE: list[dict[str, Any]] = [
    START,
    {"type": "start", "lang": "auto", "encoding": "f32le", "sample_rate": 48_000, "turns": "manual"},
    {"type": "start", "lang": "ja", "encoding": "webm-opus", "interim": False},
    {"type": "start", "lang": "ko-KR", "audio_id": "b", "resumable": True, "endpoint_ms": 100},
    {"type": "audio", "audio_id": "a", "content": CONTENT},
    {"type": "audio", "audio_id": "b", "content": CONTENT},
    {"type": "audio", "content": CONTENT},
    {"type": "audio_end", "audio_id": "a"},
    {"type": "commit", "id": "c1"},
    {"type": "clear"},
    {"type": "resume", "token": "nobody's"},
    {"type": "ping", "id": 7},
    {"type": "auth", "api_key": "any"},
    END,
]


def written(chance: random.Random) -> str | bytes:
    """A frame: audio, or a message as it should be, spoilt, cut off, or nothing like it."""
    text = json.dumps(frame := chance.choice(FRAMES_THAT_MAKE_SENSE))
    kind = chance.random()
    if kind < 0.3:
        return NOISE[chance.randrange(len(NOISE)) :]
    if kind < 0.6:
        return text
    if kind < 0.9:
        return json.dumps(spoilt(frame, chance))
    return text[: chance.randrange(len(text))]


async def misbehave(url: str, chance: random.Random) -> None:
    async with connect(f"{url.replace('http', 'ws')}/stt/websocket") as socket:
        reading = asyncio.create_task(answers(socket))
        for _ in range(FRAMES):
            await socket.send(written(chance))
        if chance.random() < 0.5:
            socket.transport.abort()
        else:
            await tell(socket, {"type": "ping", "id": "last"})
        await reading


async def answers(socket: ClientConnection) -> None:
    """Every frame is a message; until the last one is answered, or the connection is cut."""
    try:
        async for frame in socket:
            message = json.loads(frame)
            assert isinstance(message["type"], str)
            if message["type"] == "pong" and message.get("id") == "last":
                return
    except ConnectionClosed:
        return


@pytest.fixture
def server(tmp_path: Path, mini_model: Path) -> Iterator[Server]:
    """Sessions that lost their socket are not kept for long."""
    with running_server(tmp_path / "data", model=str(mini_model), live_resume_seconds="1") as started:
        yield started


async def test_nothing_that_is_sent_hurts_the_server_or_others(
    server: Server, samples: Mapping[str, Sample], eventually: Callable[[Callable[[], bool]], None]
) -> None:
    async with connect(f"{server.url.replace('http', 'ws')}/stt/websocket") as behaving:
        await tell(behaving, START)
        await heard(behaving, "system")
        chance = random.Random(SEED)
        async with asyncio.TaskGroup() as group:
            for _ in range(SOCKETS):
                group.create_task(misbehave(server.url, random.Random(chance.random())))
        await say(behaving, read(samples["en_01"].path))
        await tell(behaving, END)
        assert texts(await heard(behaving, "ended")) == [samples["en_01"].text]
    eventually(lambda: server.metric("kikitori_live_sessions") == 0)
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "socket failed" not in log
