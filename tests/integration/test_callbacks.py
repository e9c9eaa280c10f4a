"""Callbacks to real receivers on loopback, good ones and bad ones."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from tests.clock import Clock
from tests.unit.tasks.memory import MemoryOutbox, MemoryTasks, finished_task

from kikitori.media.guard import Guard, guarded_client
from kikitori.store.task_records import CallbackAttempt, CallbackStatus
from kikitori.tasks.callbacks import CallbackSender
from kikitori.tasks.signing import Signer, make_secret
from kikitori.testing import fake_segments, until

SIGNER = Signer(make_secret())

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    """An HTTP server of one answer. ``behave`` has the connection after the request was read."""

    behave: Behave
    url: str = ""
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def verified(self, owner: str = "ann") -> list[dict[str, object]]:
        """What was received, when all of it is rightly signed."""
        webhook = Webhook(SIGNER.secret(owner))
        return [webhook.verify(body, headers) for headers, body in self.received]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                headers = dict(_header(line) for line in head.split("\r\n")[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.append((headers, body))
                await self.behave(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return ""


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name.lower(), value


@asynccontextmanager
async def receiving(behave: Behave, *, host: str = "127.0.0.1") -> AsyncGenerator[Receiver, None]:
    receiver = Receiver(behave)
    open_ones: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await receiver.serve(reader, writer)
        except asyncio.CancelledError:
            pass

    server = await asyncio.start_server(connected, host, 0)
    receiver.url = f"http://{host}:{server.sockets[0].getsockname()[1]}/hook?token=1"
    try:
        yield receiver
    finally:
        server.close()
        for connection in open_ones:
            connection.cancel()
        await asyncio.gather(*open_ones)


def saying(status: int, body: bytes = b"", *headers: str) -> Behave:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
        if status == 204:
            lines.remove("Content-Length: 0")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return behave


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    raise ConnectionAbortedError


async def slow_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")
    await writer.drain()
    await asyncio.Event().wait()


@dataclass(slots=True)
class Huge:
    """Says yes, and then talks until nobody listens."""

    sent: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            self.sent += 65_536


class World:
    def __init__(self) -> None:
        self.outbox, self.tasks = MemoryOutbox(), MemoryTasks()
        self.clock = Clock(datetime.now(UTC))
        self.networks: Sequence[str] = ["127.0.0.0/8"]

    def finish(self, receiver: Receiver, id: str = "task_1") -> None:
        task = finished_task(id, url=receiver.url)
        self.tasks.add(task, fake_segments(" Hello", " there."))
        self.outbox.add(task, at=self.clock())

    def sender(self, *, timeout: float = 60.0) -> CallbackSender:
        guard = Guard.allowing(self.networks)
        return CallbackSender(
            self.outbox,
            self.tasks,
            SIGNER,
            node_id="node_1",
            open_client=lambda: guarded_client(guard, param="callback_url"),
            timeout=timeout,
            now=self.clock,
        )

    async def try_once(self, receiver: Receiver, *, timeout: float = 60.0) -> tuple[CallbackStatus, CallbackAttempt]:
        self.finish(receiver)
        async with self.sender(timeout=timeout):
            await until(lambda: self.outbox.tried["whk_task_1"])
        return self.outbox.status("task_1"), self.outbox.tried["whk_task_1"][0]


@pytest.fixture
def world() -> World:
    return World()


async def test_a_callback_verifies_with_the_library_of_the_specification(world: World) -> None:
    async with receiving(saying(204)) as receiver:
        status, attempt = await world.try_once(receiver)
        [told] = receiver.verified()
    assert (status, attempt.status_code, attempt.error) == (CallbackStatus.DELIVERED, 204, "")
    assert told["type"] == "task.succeeded"
    [(headers, _)] = receiver.received
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("Kikitori/")
    assert attempt.seconds > 0


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_any_2xx_is_enough(world: World, code: int) -> None:
    async with receiving(saying(code)) as receiver:
        status, _ = await world.try_once(receiver)
    assert status is CallbackStatus.DELIVERED


@pytest.mark.parametrize("code", [400, 401, 404, 429, 500, 503])
async def test_a_receiver_that_refuses_is_asked_again_later(world: World, code: int) -> None:
    async with receiving(saying(code, b'{"why": "no"}')) as receiver:
        status, attempt = await world.try_once(receiver)
    assert (status, attempt.status_code) == (CallbackStatus.PENDING, code)
    assert (attempt.response, attempt.error) == ('{"why": "no"}', f"The answer was {code}.")


async def test_a_receiver_may_say_when_to_come_again(world: World) -> None:
    async with receiving(saying(503, b"", "Retry-After: 900")) as receiver:
        await world.try_once(receiver)
    due = world.outbox.rows["whk_task_1"].next_attempt_at
    assert due is not None
    assert (due - world.clock()).total_seconds() == 900


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_redirects_are_not_followed(world: World, code: int) -> None:
    async with (
        receiving(saying(204)) as inner,
        receiving(saying(code, b"", f"Location: {inner.url}")) as receiver,
    ):
        status, attempt = await world.try_once(receiver)
        assert inner.received == []
    assert (status, attempt.status_code) == (CallbackStatus.PENDING, code)
    assert "redirects are not followed" in attempt.error


async def test_a_receiver_that_is_gone_is_not_asked_again(world: World) -> None:
    async with receiving(saying(410)) as receiver:
        status, attempt = await world.try_once(receiver)
    assert (status, attempt.status_code) == (CallbackStatus.FAILED, 410)


async def test_a_receiver_that_never_answers_is_left_in_time(world: World) -> None:
    async with receiving(never) as receiver:
        status, attempt = await world.try_once(receiver, timeout=0.2)
    assert (status, attempt.status_code) == (CallbackStatus.PENDING, None)
    assert attempt.error == "There was no answer within 0.2 s."


async def test_a_slow_body_does_not_matter_once_the_status_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kikitori.tasks.delivery.SHOW_SECONDS", 1.0)
    async with receiving(slow_body) as receiver:
        status, attempt = await world.try_once(receiver)
    assert (status, attempt.response) == (CallbackStatus.DELIVERED, "begun")


async def test_of_a_huge_body_only_the_beginning_is_read(world: World) -> None:
    huge = Huge()
    async with receiving(huge) as receiver:
        status, attempt = await world.try_once(receiver)
    assert (status, len(attempt.response)) == (CallbackStatus.DELIVERED, 512)
    assert huge.sent < 50_000_000


async def test_a_connection_that_breaks_is_tried_again(world: World) -> None:
    async with receiving(cut) as receiver:
        status, attempt = await world.try_once(receiver)
    assert (status, attempt.status_code) == (CallbackStatus.PENDING, None)
    assert attempt.error and "token" not in attempt.error


async def test_nobody_at_the_address_is_tried_again(world: World) -> None:
    async with receiving(saying(204)) as receiver:
        pass
    status, attempt = await world.try_once(receiver)
    assert (status, attempt.status_code) == (CallbackStatus.PENDING, None)
    assert "nobody answers there" in attempt.error


async def test_what_a_receiver_answers_is_made_fit_for_people(world: World) -> None:
    async with receiving(saying(500, b"\x00\x1b[31mno\xff" + "é".encode() * 300)) as receiver:
        _, attempt = await world.try_once(receiver)
    assert attempt.response.startswith("��[31mno�é")
    assert attempt.response.isprintable()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_private_address_is_never_asked(world: World, host: str) -> None:
    world.networks = []
    async with receiving(saying(204)) as receiver:
        receiver.url = receiver.url.replace("127.0.0.1", host)
        status, attempt = await world.try_once(receiver)
    assert (status, receiver.received) == (CallbackStatus.FAILED, [])
    assert "private address" in attempt.error


async def test_a_restart_in_the_middle_keeps_the_webhook_id(world: World) -> None:
    async with receiving(never) as receiver:
        world.finish(receiver)
        first = asyncio.create_task(world.sender().run())
        await until(lambda: receiver.received)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        receiver.behave = saying(204)
        world.clock.go(600)  # its lease is over
        async with world.sender():
            await until(lambda: world.outbox.tried["whk_task_1"])
    assert [headers["webhook-id"] for headers, _ in receiver.received] == ["whk_task_1"] * 2
    assert world.outbox.status("task_1") is CallbackStatus.DELIVERED


async def test_one_slow_receiver_beside_fifty_quick_ones(world: World) -> None:
    async with receiving(never) as slow, receiving(saying(204), host="127.0.0.2") as quick:
        for number in range(50):
            world.finish(slow, f"slow_{number}")
        for number in range(50):
            world.finish(quick, f"quick_{number}")
        async with world.sender(timeout=600.0):  # longer than anything here is waited for
            await until(lambda: all(world.outbox.tried[f"whk_quick_{number}"] for number in range(50)))
            assert not any(world.outbox.tried[f"whk_slow_{number}"] for number in range(50))
            await until(lambda: len(slow.received) >= 10)  # as many as it may have at once
            for task in [task for task in asyncio.all_tasks() if task.get_name() == "kikitori-callbacks"]:
                task.cancel()
    assert {json.loads(body)["data"]["id"] for _, body in quick.received} == {f"quick_{n}" for n in range(50)}
    assert len(slow.received) == 10


async def test_a_test_event_shows_what_came_back(world: World) -> None:
    async with receiving(saying(200, b"thank you")) as receiver:
        reply = await world.sender().test(receiver.url, "bob")
        [told] = receiver.verified("bob")
    assert (reply.delivered, reply.status_code, reply.response) == (True, 200, "thank you")
    assert told["type"] == "callback.test"


async def test_the_guarded_client_is_closed_with_the_sender(world: World) -> None:
    opened: list[httpx.AsyncClient] = []

    def open_client() -> httpx.AsyncClient:
        opened.append(guarded_client(Guard.allowing(["127.0.0.0/8"])))
        return opened[-1]

    sender = CallbackSender(world.outbox, world.tasks, SIGNER, node_id="node_1", open_client=open_client)
    async with sender:
        await until(lambda: opened)
    assert [client.is_closed for client in opened] == [True]


async def test_the_receiver_of_the_documentation_takes_ours_and_only_ours(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(from fastapi import .*?)```", page, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace("whsec_…", SIGNER.secret("ann")), names)
    task = finished_task(url="https://example.org/hook")
    world.tasks.add(task, fake_segments(" Hello", " there."))
    world.outbox.add(task, at=world.clock())

    def client() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=names["app"]))

    sender = CallbackSender(
        world.outbox, world.tasks, SIGNER, node_id="node_1", open_client=client, now=world.clock, poll_seconds=0.01
    )
    async with sender:
        await until(lambda: world.outbox.tried["whk_task_1"])
        await world.outbox.resend("task_1")
        await until(lambda: len(world.outbox.tried["whk_task_1"]) >= 2)
        assert (await sender.test("https://example.org/hook", "bob")).status_code == 401
    assert [attempt.status_code for attempt in world.outbox.tried["whk_task_1"]] == [204, 204]
    assert capsys.readouterr().out == "Hello there.\n"
