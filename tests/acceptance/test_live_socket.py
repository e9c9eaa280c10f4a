"""Plain live sockets on a real server: speech, lost connections, those who vanish, those who flood, the end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import websockets
from tests.conftest import MINI
from tests.servers import Server, running_server
from websockets.asyncio.client import ClientConnection, connect

from kikitori.testing import until

SAMPLE, HEARD = MINI / "samples" / "en_01.wav", "The doctor goes to the bank on Friday."
PIECE = 1_280
"""Bytes of 40 ms."""
START = {"type": "start", "lang": "en-US"}
END = {"type": "end"}
VANISHING, FEW = 100, 15
FLOOD = 60
"""Sentences."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("live") / "data", "--model", str(MINI / "model")) as started:
        yield started


@pytest.fixture(scope="module")
def speech() -> bytes:
    return read(SAMPLE)


def read(path: Path) -> bytes:
    with wave.open(str(path)) as sample:
        frames: bytes = sample.readframes(sample.getnframes())
        return frames


@asynccontextmanager
async def socket(server: Server, **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(f"{server.url.replace('http', 'ws')}/stt/websocket", **options) as opened:
        yield opened


async def tell(opened: ClientConnection, message: dict[str, Any]) -> None:
    await opened.send(json.dumps(message))


async def is_taken(server: Server) -> bool:
    """Whether a session that begins now is taken."""
    async with socket(server) as opened:
        await tell(opened, START)
        return bool((await heard(opened, "system", "error"))[-1]["type"] == "system")


async def until_taken(server: Server) -> None:
    """A busy machine takes no new session for a while after many have spoken."""
    async with asyncio.timeout(120):
        while not await is_taken(server):  # noqa: ASYNC110 - the server tells nobody that it has room again
            await asyncio.sleep(0.2)


@pytest.fixture(autouse=True)
async def room(server: Server) -> None:
    await until_taken(server)


async def say(opened: ClientConnection, audio: bytes, *, size: int = PIECE, pace: float = 0.0) -> None:
    for start in range(0, len(audio), size):
        await opened.send(audio[start : start + size])
        await asyncio.sleep(pace)


async def heard(opened: ClientConnection, *last: str) -> list[dict[str, Any]]:
    """Everything up to the first message of one of these types."""
    messages = []
    async with asyncio.timeout(60):
        async for frame in opened:
            messages.append(json.loads(frame))
            if messages[-1]["type"] in last:
                return messages
    pytest.fail(f"No {last!r} came, but {messages}, then {opened.close_code} {opened.close_reason}")


async def listen_all(opened: ClientConnection, told: list[dict[str, Any]]) -> None:
    """Until it is cancelled."""
    async for frame in opened:
        told.append(json.loads(frame))


def texts(messages: list[dict[str, Any]], kind: str = "final") -> list[str]:
    return [message["text"] for message in messages if message["type"] == kind]


async def test_two_rounds_on_one_socket(server: Server, speech: bytes) -> None:
    async with socket(server) as opened:
        for _ in range(2):
            await tell(opened, START)
            await say(opened, speech, size=777)
            await tell(opened, END)
            messages = await heard(opened, "ended")
            assert messages[0]["type"] == "system"
            assert texts(messages) == [HEARD]


async def test_interims_come_while_somebody_speaks(server: Server) -> None:
    """However busy the machine is: they come at some time before the end of a long speech."""
    async with socket(server) as opened:
        await tell(opened, START)
        speaking = asyncio.create_task(say(opened, read(MINI / "samples" / "en_multi_80s.wav"), pace=0.04))
        interim = (await heard(opened, "interim"))[-1]
        assert interim["text"]
        assert not speaking.done()
        speaking.cancel()


async def test_many_at_once_do_not_mix(server: Server) -> None:
    samples = ["en_01", "en_02", "en_04", "ja_01", "ko_03"]
    known = {entry["file"]: entry for entry in json.loads((MINI / "samples" / "samples.json").read_text())}

    async def listen(name: str) -> tuple[str, list[str]]:
        audio = read(MINI / "samples" / f"{name}.wav")
        async with socket(server) as opened:
            language = known[f"{name}.wav"]["language"]
            await tell(opened, {"type": "start", "lang": language, "interim": False})
            await say(opened, audio, pace=0.005)
            await tell(opened, END)
            return name, texts(await heard(opened, "ended"))

    together = await asyncio.gather(*(listen(name) for name in samples * 3))
    for name in samples:
        await until_taken(server)
        alone = (await listen(name))[1]
        assert [finals for other, finals in together if other == name] == [alone] * 3, name


async def test_a_lost_connection_is_taken_up_without_a_word_lost(server: Server, speech: bytes) -> None:
    audio = speech + bytes(32_000) + speech
    async with socket(server) as opened:
        await tell(opened, START | {"resumable": True})
        token = (await heard(opened, "session"))[-1]["token"]
        await say(opened, audio[: len(audio) // 2])
        await heard(opened, "ack")
        assert opened.transport is not None
        opened.transport.abort()
    async with socket(server) as opened:
        await tell(opened, {"type": "resume", "token": token})
        safe = (await heard(opened, "resumed"))[-1]["samples"]
        assert 0 < 2 * safe <= len(audio) // 2
        await say(opened, audio[2 * safe :])
        await tell(opened, END)
        messages = await heard(opened, "ended")
        assert texts(messages) == [HEARD, HEARD]
    async with socket(server) as opened:  # its last words may have got lost
        await tell(opened, {"type": "resume", "token": token})
        assert texts(await heard(opened, "ended")) == [HEARD, HEARD]
        await tell(opened, {"type": "resume", "token": "wrong"})
        assert (await heard(opened, "error"))[-1]["message"]


async def test_a_session_that_is_kept_is_found_among_the_tasks(server: Server, speech: bytes) -> None:
    async with socket(server) as opened, httpx.AsyncClient(base_url=server.url) as api:
        await tell(opened, START | {"record": True})
        await say(opened, speech)
        await tell(opened, END)
        await heard(opened, "ended")

        async def kept() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (await api.get("/api/tasks", params={"platform": "live"})).json()["tasks"]
            return found

        async with asyncio.timeout(60):
            while not (tasks := await kept()):  # noqa: ASYNC110  # it is stored behind the socket's back
                await asyncio.sleep(0.1)
        subtitles = await api.get(f"/api/tasks/{tasks[0]['id']}/subtitles", params={"format": "txt"})
        assert subtitles.text.strip() == HEARD


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("no json", ""),
        ('{"type":"dance"}', "type"),
        ('{"type":"start","lang":"klingon-on-and-on"}', "lang"),
        ('{"type":"start","model":"no such model"}', "model"),
        ('{"type":"start","encoding":"mp3"}', "encoding"),
        ('{"type":"start","sample_rate":1}', "sample_rate"),
    ],
)
async def test_what_is_wrong_is_said_and_the_socket_goes_on(
    server: Server, speech: bytes, message: str, field: str
) -> None:
    async with socket(server) as opened:
        await opened.send(message)
        error = (await heard(opened, "error"))[-1]
        assert field in error["message"]
        await tell(opened, START)
        await say(opened, speech)
        await tell(opened, END)
        assert texts(await heard(opened, "final")) == [HEARD]


async def test_a_frame_that_is_too_large_closes_the_socket(server: Server) -> None:
    async with socket(server) as opened:
        await tell(opened, START)
        await opened.send(bytes(1024 * 1024 + 1))
        await heard(opened, "error")
        await opened.wait_closed()
        assert opened.close_code == 1009


VANISH = """
import json, os, signal, sys
from websockets.sync.client import connect
sockets = []
for _ in range(int(sys.argv[2])):
    socket = connect(sys.argv[1])
    socket.send(json.dumps({"type": "start", "lang": "en-US"}))
    socket.send(os.urandom(32_000))
    sockets.append(socket)
print("there", flush=True)
signal.pause()
"""


def footprint(server: Server) -> tuple[int, int]:
    process = psutil.Process(server.process.pid)
    return process.num_threads(), process.num_fds()


async def gone(server: Server) -> None:
    await until(lambda: not server.metric("kikitori_live_sessions"), seconds=60)


def vanish(server: Server, count: int) -> None:
    """Clients that are killed while they speak."""
    command = [sys.executable, "-c", VANISH, f"{server.url.replace('http', 'ws')}/stt/websocket", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdout
        assert clients.stdout.readline() == "there\n"
        clients.send_signal(signal.SIGKILL)
        clients.wait()


async def test_killed_clients_leave_nothing_behind(server: Server) -> None:
    await asyncio.to_thread(vanish, server, VANISHING)  # once, so that threads and buffers are there
    await gone(server)
    before = footprint(server)
    await asyncio.to_thread(vanish, server, VANISHING)
    await gone(server)
    # Pools of threads may still grow by a few, but not with the clients. Their sockets close a moment after them.
    await until(lambda: all(now <= then + FEW for now, then in zip(footprint(server), before, strict=True)), seconds=60)


async def test_one_who_floods_holds_up_nobody(server: Server, speech: bytes) -> None:
    async with socket(server) as flooding, socket(server) as speaking:
        await tell(flooding, START)
        flood = asyncio.create_task(say(flooding, (speech + bytes(32_000)) * FLOOD, size=320_000))
        told: list[dict[str, Any]] = []
        listening = asyncio.create_task(listen_all(flooding, told))
        await until(lambda: texts(told))  # it is heard, and goes on
        await tell(speaking, START)
        await say(speaking, speech, pace=0.04)
        await tell(speaking, END)
        assert texts(await heard(speaking, "ended")) == [HEARD]
        assert len(texts(told)) < FLOOD, "the flood is not over"
        for task in (flood, listening):
            task.cancel()
        await asyncio.gather(flood, listening, return_exceptions=True)


async def test_garbage_never_stops_the_others(server: Server, speech: bytes) -> None:
    async with socket(server) as garbage, socket(server) as speaking:
        await tell(garbage, START | {"encoding": "webm-opus"})
        await tell(speaking, START)
        await garbage.send(bytes(range(256)) * 100)
        assert (await heard(garbage, "error"))[-1]["message"]
        await say(speaking, speech)
        await tell(speaking, END)
        assert texts(await heard(speaking, "ended")) == [HEARD]
        await tell(garbage, START)
        await say(garbage, speech)
        await tell(garbage, END)
        assert texts(await heard(garbage, "final")) == [HEARD]


async def test_idle_sockets_are_closed_and_finals_come_before_the_end_of_the_server(
    tmp_path: Path, speech: bytes
) -> None:
    with running_server(tmp_path / "data", "--model", str(MINI / "model"), live_idle_seconds="4") as server:
        async with socket(server) as idle:
            await heard(idle, "system")
            await idle.wait_closed()
            assert idle.close_code == 1000
        async with socket(server) as speaking:
            await tell(speaking, START)
            await heard(speaking, "system")
            await say(speaking, speech)
            server.process.send_signal(signal.SIGTERM)
            messages = await heard(speaking, "final")
            assert texts(messages) == [HEARD]
            await speaking.wait_closed()
            assert speaking.close_code == 1012
        server.process.wait(120)


async def test_only_so_many_at_once(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", "--model", str(MINI / "model"), live_max_sessions="1") as server:
        async with socket(server) as first, socket(server) as second:
            await tell(first, START)
            await heard(first, "system")
            await tell(second, START)
            assert (await heard(second, "error"))[-1]["code"] == "rate_limit_exceeded"
            await second.wait_closed()
            assert second.close_code == 1013


def made_key(data_dir: Path) -> str:
    command = [sys.executable, "-m", "kikitori", "keys", "create", "--owner", "ann", "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


async def test_a_key_opens_the_socket_in_every_way(tmp_path: Path, speech: bytes) -> None:
    key = made_key(tmp_path / "data")
    with running_server(tmp_path / "data", "--model", str(MINI / "model")) as server:
        ways: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
            ({"additional_headers": {"Authorization": f"Bearer {key}"}}, None),
            ({"subprotocols": [websockets.Subprotocol(f"kikitori-api-key.{key}")]}, None),
            ({}, {"type": "auth", "api_key": key}),
        ]
        for options, first in ways:
            async with socket(server, **options) as opened:
                if first:
                    await tell(opened, first)
                await tell(opened, START)
                await heard(opened, "system")
        for wrong in ({"type": "auth", "api_key": "wrong"}, START):
            async with socket(server) as opened:
                await tell(opened, wrong)
                assert (await heard(opened, "error"))[-1]["code"] == "invalid_api_key"
                await opened.wait_closed()
                assert opened.close_code == 1008
