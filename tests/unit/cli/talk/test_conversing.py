"""Push-to-talk with keys and a microphone of a test's own, against a server that does what the test says."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from kikitori.cli.talk.conversing import Talk, connected
from kikitori.cli.talk.dialogue import Problem, Replied, Shown
from kikitori.cli.talk.keys import Key
from kikitori.errors import InvalidInput, Unavailable
from kikitori.testing import until

FRAME = bytes(2 * 480)


@dataclass
class Server:
    """Keeps what it is told, and says what a test wants."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    socket: ServerConnection | None = None

    async def serve(self, socket: ServerConnection) -> None:
        self.socket = socket
        async for frame in socket:
            self.events.append(json.loads(frame))

    async def say(self, *events: dict[str, Any]) -> None:
        assert self.socket
        for event in events:
            await self.socket.send(json.dumps(event))

    def was_told(self, kind: str, times: int = 1) -> Callable[[], bool]:
        return lambda: self.kinds.count(kind) >= times

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]


@dataclass
class Microphone:
    """Sound that a test makes."""

    encoding: str = "s16le"
    rate: int = 24_000
    lost_seconds: float = 0.0
    sound: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)

    async def frames(self) -> AsyncGenerator[bytes, None]:
        while (data := await self.sound.get()) is not None:
            yield data

    def stop(self) -> None:
        self.sound.put_nowait(None)

    def hear(self, frames: int) -> None:
        for _ in range(frames):
            self.sound.put_nowait(FRAME)


class Player:
    def __init__(self) -> None:
        self.sound = b""
        self.stops = 0
        self.left_seconds = 0.0

    def play(self, pcm: bytes) -> None:
        self.sound += pcm

    def stop(self) -> int:
        self.stops += 1
        return 7

    def close(self) -> None:
        pass

    def plays(self) -> bool:
        return bool(self.sound)


class Display:
    def __init__(self) -> None:
        self.outcomes: list[Shown | Replied | Problem] = []

    def show(self, outcome: Shown | Replied | Problem) -> None:
        self.outcomes.append(outcome)


@dataclass
class Scene:
    server: Server
    microphone: Microphone
    player: Player
    keys: asyncio.Queue[Key]
    running: asyncio.Task[None]


@asynccontextmanager
async def talking() -> AsyncGenerator[Scene, None]:
    server, microphone, player = Server(), Microphone(), Player()
    keys: asyncio.Queue[Key] = asyncio.Queue()

    async def pressed() -> AsyncGenerator[Key, None]:
        while True:
            yield await keys.get()

    async with serve(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
        async with connected(server.url, "key", "gpt-realtime") as socket:
            talk = Talk(socket, player, Display())
            turns = asyncio.create_task(talk.by_keys(pressed(), microphone))
            running = asyncio.create_task(talk.run(until=turns))
            await until(lambda: server.socket, seconds=60)
            yield Scene(server, microphone, player, keys, running)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_push_is_a_turn_and_its_reply_is_heard() -> None:
    async with talking() as scene:
        scene.keys.put_nowait(Key.PRESS)
        scene.keys.put_nowait(Key.PRESS)
        await until(scene.server.was_told("input_audio_buffer.clear"), seconds=60)
        scene.microphone.hear(10)
        await until(scene.server.was_told("input_audio_buffer.append", 10), seconds=60)
        scene.keys.put_nowait(Key.RELEASE)
        await until(scene.server.was_told("response.create"), seconds=60)
        assert scene.server.kinds.count("input_audio_buffer.commit") == 1
        assert scene.server.kinds[-2:] == ["input_audio_buffer.commit", "response.create"]
        delta = base64.b64encode(b"\1\2").decode()
        await scene.server.say(
            {"type": "response.created", "response": {"id": "r"}},
            {"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": delta},
        )
        await until(scene.player.plays, seconds=60)
        scene.keys.put_nowait(Key.PRESS)
        await until(scene.server.was_told("response.cancel"), seconds=60)
        assert scene.player.stops == 2
        scene.keys.put_nowait(Key.QUIT)
        await scene.running


async def test_a_slip_sends_nothing() -> None:
    async with talking() as scene:
        scene.keys.put_nowait(Key.PRESS)
        await until(scene.server.was_told("input_audio_buffer.clear"), seconds=60)
        scene.microphone.hear(3)
        await until(scene.microphone.sound.empty, seconds=60)
        scene.keys.put_nowait(Key.RELEASE)
        await until(scene.keys.empty, seconds=60)
        scene.keys.put_nowait(Key.QUIT)
        await scene.running
        assert scene.server.kinds == ["input_audio_buffer.clear"]


async def test_a_connection_that_is_lost_is_said() -> None:
    async with talking() as scene:
        assert scene.server.socket
        await scene.server.socket.close(1012, "restarting")
        with pytest.raises(Unavailable, match="restarting"):
            await scene.running


async def test_a_recording_that_is_no_turn_is_refused() -> None:
    async with talking() as scene:
        async with connected(scene.server.url, "", "x") as socket:
            short = Microphone()
            short.hear(2)
            short.stop()
            talk = Talk(socket, Player(), Display())
            with pytest.raises(InvalidInput, match="too short"):
                await talk.run(until=asyncio.create_task(talk.by_files([short])))


async def test_a_server_that_is_not_there() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        async with connected("http://127.0.0.1:9", "", "x"):
            pass
