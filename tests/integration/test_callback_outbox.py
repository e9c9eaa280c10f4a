"""Senders on real databases: SQLite, PostgreSQL, MariaDB."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from kikitori.store.callbacks import CallbackStore
from kikitori.store.database import Database
from kikitori.store.secrets import SecretStore
from kikitori.store.task_records import Callback, CallbackStatus, NewTask, new_id
from kikitori.store.tasks import TaskStore
from kikitori.tasks.callbacks import CallbackSender
from kikitori.tasks.signing import Signer, make_secret, open_signer
from kikitori.testing import Hold, until

SIGNER = Signer(make_secret())


class Clock:
    """The real time, moved; or stopped, so that nothing is due too early however busy the machine is."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.stopped: datetime | None = None

    def stop(self) -> None:
        self.stopped = datetime.now(UTC)

    def __call__(self) -> datetime:
        return (self.stopped or datetime.now(UTC)) + self.ahead


class Watched(CallbackStore):
    """Counts how often a sender has looked for work."""

    def __init__(self, database: Database, world: World) -> None:
        super().__init__(database)
        self._world = world

    async def due(self, *arguments: Any, **options: Any) -> list[Callback]:
        found = await super().due(*arguments, **options)
        self._world.looks += 1
        return found


class World:
    def __init__(self, url: str) -> None:
        self.url = url
        self.looks = 0
        self.clock = Clock()
        self.received: list[tuple[str, str]] = []
        """Host and webhook id."""
        self.status = 204
        self.hold: Hold | None = None
        self.stack = AsyncExitStack()

    async def store(self) -> tuple[CallbackStore, TaskStore]:
        """As a node of its own has them."""
        database = await self.stack.enter_async_context(Database(self.url))
        return CallbackStore(database), TaskStore(database)

    async def end_tasks(self, count: int) -> list[str]:
        _, tasks = await self.store()
        made = await tasks.create(
            [
                NewTask(
                    id=new_id("task"),
                    owner="ann",
                    url="https://example.org/a.mp3",
                    callback_url=f"https://host{number % 7}.example.org/hook",
                )
                for number in range(count)
            ]
        )
        for task in made:
            await tasks.request_cancel(task.id, "ann")
        return [task.id for task in made]

    async def look(self) -> None:
        """Until each of two senders has looked again from now on; one look of each may be under way."""
        enough = self.looks + 4
        await until(lambda: self.looks >= enough)

    @asynccontextmanager
    async def sender(self, node_id: str) -> AsyncIterator[CallbackSender]:
        database = await self.stack.enter_async_context(Database(self.url))
        outbox, tasks = Watched(database, self), TaskStore(database)
        transport = httpx.MockTransport(self._receive)
        async with CallbackSender(
            outbox,
            tasks,
            SIGNER,
            node_id=node_id,
            open_client=lambda: httpx.AsyncClient(transport=transport),
            poll_seconds=0.05,
            now=self.clock,
            at_once=8,
            at_once_per_host=2,
        ) as sender:
            yield sender

    async def statuses(self, ids: list[str]) -> list[CallbackStatus]:
        outbox, _ = await self.store()
        return [callback.status for id in ids for callback, _ in await outbox.attempts(id)]

    async def _receive(self, request: httpx.Request) -> httpx.Response:
        self.received.append((request.url.host, request.headers["webhook-id"]))
        if self.hold:
            await self.hold.wait()

        async def body() -> AsyncIterator[bytes]:
            yield b"ok"

        return httpx.Response(self.status, content=body())


@pytest.fixture
async def world(url: str, database: Database) -> AsyncIterator[World]:
    made = World(url)
    async with made.stack:
        yield made


async def test_two_senders_send_each_callback_once(world: World) -> None:
    ids = await world.end_tasks(60)
    async with world.sender("node_1"), world.sender("node_2"):
        await until(lambda: len(world.received) >= 60)
        await world.look()
    assert Counter(Counter(id for _, id in world.received).values()) == {1: 60}
    assert await world.statuses(ids) == [CallbackStatus.DELIVERED] * 60


async def test_a_sender_that_was_killed_leaves_its_callbacks_to_the_other_under_their_ids(world: World) -> None:
    ids = await world.end_tasks(3)
    world.hold = Hold()
    outbox, tasks = await world.store()
    dying = CallbackSender(
        outbox,
        tasks,
        SIGNER,
        node_id="node_1",
        open_client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(world._receive)),
        now=world.clock,
    )
    loop = asyncio.create_task(dying.run())
    await until(lambda: len(world.received) >= 3)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    world.hold = None
    async with world.sender("node_2"):
        await world.look()
        assert len(world.received) == 3, "still leased"
        world.clock.ahead = timedelta(minutes=1)
        await until(lambda: len(world.received) >= 6)
    assert Counter(Counter(id for _, id in world.received).values()) == {2: 3}
    assert await world.statuses(ids) == [CallbackStatus.DELIVERED] * 3


async def test_attempts_stay_and_a_callback_can_be_sent_again(world: World) -> None:
    [id] = await world.end_tasks(1)
    world.status = 410
    async with world.sender("node_1"):
        await until(lambda: world.received)
    outbox, _ = await world.store()
    [(callback, attempts)] = await outbox.attempts(id)
    assert (callback.status, callback.attempts, callback.next_attempt_at) == (CallbackStatus.FAILED, 1, None)
    [attempt] = attempts
    assert (attempt.number, attempt.status_code, attempt.response) == (1, 410, "ok")
    world.status = 204
    again = await outbox.resend(id)
    assert (again.id, again.status) == (callback.id, CallbackStatus.PENDING)
    async with world.sender("node_2"):
        await until(lambda: len(world.received) >= 2)
    [(callback, attempts)] = await outbox.attempts(id)
    assert (callback.status, [attempt.number for attempt in attempts]) == (CallbackStatus.DELIVERED, [1, 2])
    assert callback.delivered_at is not None


async def test_a_failed_callback_is_due_by_the_schedule_after_a_restart_too(world: World) -> None:
    await world.end_tasks(1)
    world.clock.stop()
    world.status = 500
    async with world.sender("node_1"):
        await until(lambda: world.received)
    outbox, _ = await world.store()
    due = await outbox.next_due()
    assert due is not None
    assert timedelta(seconds=3) < due - world.clock() <= timedelta(seconds=6)
    world.status = 204
    async with world.sender("node_2"):
        await world.look()
        assert len(world.received) == 1
        world.clock.ahead = timedelta(seconds=7)
        await until(lambda: len(world.received) >= 2)
    assert await outbox.next_due() is None


async def test_all_nodes_sign_with_the_secret_of_the_database(world: World) -> None:
    async with Database(world.url) as one, Database(world.url) as two:
        signers = await asyncio.gather(open_signer("", SecretStore(one)), open_signer("", SecretStore(two)))
    assert len({signer.secret("ann") for signer in signers}) == 1
