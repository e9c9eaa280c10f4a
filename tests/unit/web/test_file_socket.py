"""Files over a socket, on a real server with a transcriber that plays a script."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from kikitori.errors import Busy, InvalidMedia, ModelLoadFailed, ModelNotFound, NoSpace, StoreFailed
from kikitori.media import disk
from kikitori.services.parts import Services
from kikitori.testing import FakeTranscriber, Hold, Step, fake_transcript, script_of, until
from kikitori.web.sockets import file_socket
from kikitori.web.state import WebState, state_of_app

from .conftest import TEXTS
from .test_server import Running, serving

MakeServices: TypeAlias = Callable[..., Services]
CONTENT = bytes(range(256)) * 40
AUDIO = {"type": "transcribe", "audio": base64.b64encode(CONTENT).decode()}
STOP = {"type": "stop"}
SCRIPT = script_of(fake_transcript(*TEXTS))
TEXT = "".join(TEXTS).strip()


class Served:
    """A server and what is left on its disk."""

    def __init__(self, running: Running, services: Services) -> None:
        self.running, self.services = running, services

    @property
    def state(self) -> WebState:
        app = self.running.server.config.app
        return state_of_app(app)  # type: ignore[arg-type]

    @property
    def transcriber(self) -> FakeTranscriber:
        assert isinstance(self.services.transcriber, FakeTranscriber)
        return self.services.transcriber

    def leftovers(self) -> list[Path]:
        folder = self.state.uploads.folder
        return list(folder.iterdir()) if folder.is_dir() else []

    async def nothing_left(self) -> None:
        await until(lambda: not self.leftovers())
        await until(lambda: all(call.closed.is_set() for call in self.transcriber.calls))
        room = self.state.sockets.file_room
        await until(lambda: (room.running, room.waiting) == (0, 0))

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[Client]:
        async with connect(f"ws://127.0.0.1:{self.running.port}/ws") as opened:
            yield Client(opened)


class Client:
    def __init__(self, opened: ClientConnection) -> None:
        self.opened = opened

    async def send(self, **message: Any) -> None:
        await self.opened.send(json.dumps(message))

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """Messages up to the first of this type."""
        messages: list[dict[str, Any]] = []
        async with asyncio.timeout(60):
            while not messages or messages[-1]["type"] != kind:
                messages.append(json.loads(await self.opened.recv()))
        return messages

    async def closed(self) -> int | None:
        async with asyncio.timeout(60):
            await self.opened.wait_closed()
        return self.opened.close_code


@asynccontextmanager
async def served(make_services: MakeServices, *script: Step, **settings: Any) -> AsyncIterator[Served]:
    services = make_services(*script, **settings)
    async with serving(services) as running:
        now = Served(running, services)
        yield now
        await now.nothing_left()


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


async def test_one_file_after_the_other_on_one_socket(make_services: MakeServices) -> None:
    async with served(make_services) as server, server.socket() as client:
        for _ in range(2):
            await client.send(**AUDIO, beam_size=3, model="fake")
            messages = await client.until("final")
            assert kinds(messages) == ["info", "segment", "segment", "segment", "final"]
            assert messages[-1]["data"] == {"result": TEXT}
            assert [message["done"] for message in messages] == [False] * 4 + [True]
            assert [message["progress"] for message in messages[1:-1]] == [33, 66, 100]
            assert server.leftovers() == []
        for call in server.transcriber.calls:
            assert (call.content, call.options.beam_size, call.model) == (CONTENT, 3, "fake")


async def test_a_large_file_in_binary_frames(make_services: MakeServices) -> None:
    content = CONTENT * 300  # more than is gathered before it is written
    async with served(make_services) as server, server.socket() as client:
        await client.send(type="transcribe", size=len(content))
        for at in range(0, len(content), 100_000):
            await client.opened.send(content[at : at + 100_000])
        assert (await client.until("final"))[-1]["data"] == {"result": TEXT}
        assert server.transcriber.calls[0].content == content


async def test_stop_is_seen_while_it_is_heard_and_frees_everything(make_services: MakeServices) -> None:
    hold = Hold()
    async with served(make_services, *SCRIPT[:5], hold, *SCRIPT[5:]) as server, server.socket() as client:
        await client.send(**AUDIO)
        await hold.reached.wait()
        await client.send(**STOP)
        messages = await client.until("stopped")
        assert kinds(messages) == ["info", "segment", "segment", "stopped"]
        assert server.transcriber.calls[0].closed.is_set()
        assert not server.transcriber.calls[0].finished
        assert server.leftovers() == []
        server.transcriber.script = tuple(SCRIPT)
        await client.send(**AUDIO)
        assert (await client.until("final"))[-1]["data"] == {"result": TEXT}


async def test_a_stop_right_behind_the_file_is_not_lost(make_services: MakeServices) -> None:
    async with served(make_services, Hold()) as server, server.socket() as client:
        for _ in range(5):
            await asyncio.gather(client.send(**AUDIO), client.send(**STOP))
            assert kinds(await client.until("stopped")) == ["stopped"]


async def test_stop_while_the_file_comes(make_services: MakeServices) -> None:
    async with served(make_services) as server, server.socket() as client:
        await client.send(type="transcribe", size=2_000_000)
        await client.opened.send(bytes(1_200_000))
        await until(server.leftovers)
        await client.send(**STOP)
        await client.opened.send(bytes(800_000))  # was on its way
        assert kinds(await client.until("stopped")) == ["stopped"]
        assert server.leftovers() == []
        await client.send(**AUDIO)
        assert kinds(await client.until("final"))[-1] == "final"
        assert len(server.transcriber.calls) == 1


@pytest.mark.parametrize("stage", ["upload", "waiting", "hearing"])
async def test_closing_the_socket_means_stop(make_services: MakeServices, stage: str) -> None:
    hold = Hold()
    async with served(make_services, *SCRIPT[:3], hold, parts={"file_places": 1}) as server:
        async with server.socket() as first, server.socket() as client:
            if stage != "upload":
                await first.send(**AUDIO)
                await hold.reached.wait()
            if stage == "upload":
                await client.send(type="transcribe", size=4_000_000)
                await client.opened.send(bytes(3_000_000))
                await until(server.leftovers)
            if stage == "waiting":
                await client.send(**AUDIO)
                assert (await client.until("queued"))[-1]["position"] == 1
            leaving = first if stage == "hearing" else client
            leaving.opened.transport.abort()
            count = 0 if stage != "waiting" else 1
            await until(lambda: len(server.leftovers()) == server.state.sockets.file_room.running == count)


async def test_a_second_file_is_refused_while_one_runs(make_services: MakeServices) -> None:
    hold = Hold()
    async with served(make_services, *SCRIPT[:2], hold, *SCRIPT[2:]) as server, server.socket() as client:
        await client.send(**AUDIO)
        await hold.reached.wait()
        await client.send(**AUDIO)
        error = (await client.until("error"))[-1]
        assert (error["code"], error["done"]) == ("conflict", False)
        hold.release.set()
        assert (await client.until("final"))[-1]["data"] == {"result": TEXT}
        assert len(server.transcriber.calls) == 1


async def test_files_wait_for_their_place_and_know_where_they_stand(make_services: MakeServices) -> None:
    hold = Hold()
    async with served(make_services, hold, *SCRIPT, parts={"file_places": 1}) as server:
        async with server.socket() as one, server.socket() as two, server.socket() as three:
            await one.send(**AUDIO)
            await hold.reached.wait()
            await two.send(**AUDIO)
            assert (await two.until("queued"))[-1] == {"type": "queued", "position": 1, "done": False}
            await three.send(**AUDIO)
            assert (await three.until("queued"))[-1]["position"] == 2
            await two.send(**STOP)
            await two.until("stopped")
            assert (await three.until("queued"))[-1]["position"] == 1
            hold.release.set()
            await one.until("final")
            assert kinds(await three.until("final"))[-1] == "final"


async def test_a_full_waiting_room_refuses_and_closes(make_services: MakeServices) -> None:
    hold = Hold()
    async with served(make_services, hold, *SCRIPT, parts={"file_places": 1}, max_queue=1) as server:
        async with server.socket() as one, server.socket() as two, server.socket() as three:
            await one.send(**AUDIO)
            await hold.reached.wait()
            await two.send(**AUDIO)
            await two.until("queued")
            await three.send(type="transcribe", size=1_000_000)
            error = (await three.until("error"))[-1]
            assert (error["code"], error["done"]) == ("rate_limit_exceeded", True)
            assert await three.closed() == 1013
            hold.release.set()
            await one.until("final")
            await two.until("final")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidMedia("It is no audio."), "invalid_value"),
        (ModelLoadFailed("/models/x is broken.", model="x", place="/models/x"), "model_load_failed"),
        (RuntimeError("a secret of ours"), "internal_error"),
    ],
)
async def test_what_goes_wrong_is_said_and_the_socket_goes_on(
    make_services: MakeServices, error: Exception, code: str
) -> None:
    async with served(make_services, *SCRIPT[:3], error) as server, server.socket() as client:
        await client.send(**AUDIO)
        messages = await client.until("error")
        assert kinds(messages) == ["info", "segment", "error"]
        assert (messages[-1]["code"], messages[-1]["done"]) == (code, True)
        assert "secret" not in messages[-1]["message"]
        assert "/models" not in messages[-1]["message"]
        server.transcriber.script = tuple(SCRIPT)
        await client.send(**AUDIO)
        assert kinds(await client.until("final"))[-1] == "final"


async def test_a_busy_pool_closes_the_socket(make_services: MakeServices) -> None:
    async with served(make_services, Busy("Too many.")) as server, server.socket() as client:
        await client.send(**AUDIO)
        await client.until("error")
        assert await client.closed() == 1013


async def test_a_wrong_model_is_said_before_the_file_has_come(make_services: MakeServices) -> None:
    async with served(make_services) as server, server.socket() as client:
        await client.send(type="transcribe", size=1_000_000, model="no such model")
        assert (await client.until("error"))[-1]["code"] == ModelNotFound.code
        await client.opened.send(bytes(1_000_000))  # was on its way
        await client.send(**AUDIO)
        assert kinds(await client.until("final"))[-1] == "final"


@pytest.mark.parametrize("audio", ["not base64!", "", "AAAAA"])
async def test_wrong_base64(make_services: MakeServices, audio: str) -> None:
    async with served(make_services) as server, server.socket() as client:
        await client.send(type="transcribe", audio=audio)
        error = (await client.until("error"))[-1]
        assert (error["param"], error["done"]) == ("audio", True)
        assert server.transcriber.calls == []
        await client.send(**AUDIO)
        assert kinds(await client.until("final"))[-1] == "final"


async def test_more_bytes_than_announced(make_services: MakeServices) -> None:
    async with served(make_services) as server, server.socket() as client:
        await client.send(type="transcribe", size=10)
        await client.opened.send(bytes(11))
        error = (await client.until("error"))[-1]
        assert (error["param"], error["done"]) == ("size", True)
        await client.send(**AUDIO)
        assert kinds(await client.until("final"))[-1] == "final"


@pytest.mark.parametrize("file", [{"audio": base64.b64encode(bytes(1_100)).decode()}, {"size": 1_100}])
async def test_a_file_over_the_limit_closes_the_socket_after_an_error(
    make_services: MakeServices, file: dict[str, Any]
) -> None:
    async with served(make_services, max_upload_bytes=1_024) as server, server.socket() as client:
        await client.send(type="transcribe", **file)
        error = (await client.until("error"))[-1]
        assert (error["code"], error["done"]) == ("too_large", True)
        assert await client.closed() == 1009


async def test_a_full_disk_is_said(make_services: MakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, data: object) -> None:
        raise OSError(28, "No space left on device")

    async with served(make_services) as server, server.socket() as client:
        monkeypatch.setattr(disk, "write_all", full)
        for message in ({"type": "transcribe", "size": 10}, AUDIO):
            await client.send(**message)
            if "size" in message:
                await client.opened.send(bytes(10))
            assert (await client.until("error"))[-1]["code"] == NoSpace.code
        monkeypatch.undo()
        await client.send(**AUDIO)
        assert kinds(await client.until("final"))[-1] == "final"


class BrokenTexts:
    async def keep(self, task: object, outcome: object) -> None:
        raise StoreFailed("postgresql://user:password@host is away.")


async def test_a_recording_that_cannot_be_kept_does_not_cost_its_text(make_services: MakeServices) -> None:
    async with served(make_services, parts={"kept": BrokenTexts()}) as server, server.socket() as client:
        await client.send(**AUDIO, save_audio=True)
        final = (await client.until("final"))[-1]
        assert final["data"] == {"result": TEXT}
        assert "could not keep" in final["warning"]
        assert "password" not in final["warning"]
        assert "task_id" not in final
        assert await server.services.tasks.media.keys() == []


async def test_a_shutdown_ends_files_and_asks_their_clients_to_come_back(make_services: MakeServices) -> None:
    hold = Hold()
    async with served(make_services, *SCRIPT[:3], hold) as server:
        async with server.socket() as client, server.socket() as idle, server.socket() as sending:
            await client.send(**AUDIO)
            await hold.reached.wait()
            await sending.send(type="transcribe", size=100)
            await until(lambda: idle.opened.state is websockets.State.OPEN)
            await server.running.stop()
            messages = await client.until("error")
            assert kinds(messages)[-2:] == ["segment", "error"]
            assert (messages[-1]["code"], messages[-1]["done"]) == ("shutting_down", True)
            assert (await sending.until("error"))[-1]["code"] == "shutting_down"
            assert [await each.closed() for each in (client, idle, sending)] == [1012] * 3


async def test_sockets_without_a_file_are_closed_in_the_end(
    make_services: MakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_socket, "TICK_SECONDS", 0.01)
    hold = Hold()
    async with served(make_services, hold, *SCRIPT, live_idle_seconds=3.0) as server:
        async with server.socket() as idle, server.socket() as busy, server.socket() as stuck:
            await busy.send(**AUDIO)
            await hold.reached.wait()
            await stuck.send(type="transcribe", size=100)
            await stuck.opened.send(bytes(40))
            assert (await idle.until("system"))[-1]["done"] is True
            assert await idle.closed() == 1000
            messages = await stuck.until("system")
            assert kinds(messages) == ["error", "system"]
            assert "40 of 100 bytes" in messages[0]["message"]
            assert await stuck.closed() == 1000
            hold.release.set()
            assert kinds(await busy.until("final"))[-1] == "final"  # however long it took


async def test_a_reader_that_takes_nothing_is_too_slow(
    make_services: MakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kikitori.web.sockets.writer.MOST_CHARACTERS", 1_000)
    transcript = fake_transcript(*[f" {'long ' * 50}" for _ in range(50)])
    async with served(make_services, *script_of(transcript)[:-1], Hold()) as server, server.socket() as client:
        await client.send(**AUDIO)
        assert await client.closed() == 1008
