"""Nodes, secrets, answers and callbacks: one contract, on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.clock import Clock
from tests.integration.stored_tasks import new

from kikitori.errors import NotFound
from kikitori.store.answers import AnswerKind, AnswerStore
from kikitori.store.callbacks import CallbackStore
from kikitori.store.database import Database
from kikitori.store.nodes import NodeStore
from kikitori.store.secrets import SecretStore
from kikitori.store.task_records import CallbackAttempt, CallbackStatus, Node
from kikitori.store.tasks import TaskStore


async def test_nodes_are_alive_as_long_as_they_beat(database: Database, clock: Clock) -> None:
    store = NodeStore(database)

    def node(id: str) -> Node:
        return Node(
            id=id, host="h", pid=1, version="0", slots=2, started_at=clock.time, heartbeat_at=clock.time, media_url="m"
        )

    for id in ("a", "b", "c"):
        await store.register(node(id))
        clock.go(seconds=1)
    assert [entry.id for entry in await store.list()] == ["a", "b", "c"]
    clock.go(seconds=30)
    assert await store.beat("a", clock.time)
    await store.stop("b", clock.time)
    silent = [entry.id for entry in await store.list() if entry.heartbeat_at < clock.time and not entry.stopped_at]
    assert silent == ["c"]
    await store.stop("c", clock.time)
    assert await store.beat("c", clock.time), "it was not dead after all"
    assert [entry.id for entry in await store.list() if entry.stopped_at] == ["b"]
    await store.register(node("b"))
    assert all(entry.stopped_at is None for entry in await store.list())
    await store.stop("b", clock.time)
    assert await store.forget(clock.time) == 0
    assert await store.forget(clock.time + timedelta(seconds=1)) == 1
    assert not await store.beat("b", clock.time)


async def test_a_secret_is_made_once_whoever_asks_first(url: str, database: Database) -> None:
    made = iter(f"secret {number}" for number in range(100))
    async with Database(url) as other:
        both = [SecretStore(database), SecretStore(other)] * 5
        values = await asyncio.gather(*(store.get_or_create("name", lambda: next(made)) for store in both))
        assert len(set(values)) == 1
        assert await both[0].get_or_create("other", lambda: "x") == "x"
        assert await both[1].get_or_create("name", lambda: "y") == values[0]


async def test_answers_stay_in_order(store: TaskStore, database: Database, clock: Clock) -> None:
    [task, other] = await store.create([new(), new()])
    answers = AnswerStore(database, now=clock)
    first = await answers.add(task.id, kind="chat", question="何?", text="答え" * 30_000, model="m", language="ja")
    second = await answers.add(task.id, kind="summary", text="s")
    await answers.add(other.id, kind="translation", text="t")
    assert await answers.list(task.id) == [first, second]
    assert await answers.list(task.id, limit=1) == [first]
    assert await answers.list(task.id, after=first.id, limit=1) == [second]
    assert await answers.list(task.id, after=second.id) == []
    german = await answers.add(task.id, kind="translation", text="{}", language="de")
    assert await answers.translations(task.id) == {german.id: "de"}
    assert await answers.get(task.id, german.id) == german
    with pytest.raises(NotFound):
        await answers.get(other.id, german.id)
    assert (first.kind, first.created_at) == (AnswerKind.CHAT, clock.time)
    with pytest.raises(ValueError, match="poem"):
        await answers.add(task.id, kind="poem", text="p")


async def test_callbacks_of_some_owners_can_wait(store: TaskStore, database: Database, clock: Clock) -> None:
    for owner in ("ann", "bob", "ann"):
        [task] = await store.create([new(owner, callback_url="https://a.example/hook")])
        await store.request_cancel(task.id, None)
    outbox = CallbackStore(database, now=clock)
    assert await outbox.due("node_1", clock.time, 10, 60, skip_owners=["ann", "bob"]) == []
    assert [found.owner for found in await outbox.due("node_1", clock.time, 10, 60, skip_owners=["ann"])] == ["bob"]
    assert [found.owner for found in await outbox.due("node_1", clock.time, 10, 60)] == ["ann", "ann"]


async def test_a_due_callback_is_leased_to_one_node(store: TaskStore, database: Database, clock: Clock) -> None:
    hosts = ["a.example", "b.example", "b.example"]
    for host in hosts:
        [task] = await store.create([new(callback_url=f"https://{host}/hook")])
        await store.request_cancel(task.id, None)
        clock.go(seconds=1)
    outbox = CallbackStore(database, now=clock)
    assert await outbox.next_due() == clock.time - timedelta(seconds=3)
    found = await outbox.due("node_1", clock.time, 10, 60, skip_hosts=["a.example"])
    assert [callback.url for callback in found] == ["https://b.example/hook"] * 2
    assert len(await outbox.due("node_2", clock.time, 10, 120)) == 1
    assert await outbox.due("node_3", clock.time, 10, 60) == []
    assert await outbox.next_due() == clock.time + timedelta(seconds=60)
    attempt = CallbackAttempt(number=1, at=clock.time, status_code=204, response="x" * 600, seconds=0.5)
    done = await outbox.record(found[0], attempt, status=CallbackStatus.DELIVERED, next_attempt_at=None)
    assert done is not None
    assert (done.status, done.attempts, done.delivered_at) == (CallbackStatus.DELIVERED, 1, clock.time)
    late = CallbackAttempt(number=1, at=clock.time, status_code=None, error="no answer")
    again = await outbox.record(found[0], late, status=CallbackStatus.PENDING, next_attempt_at=clock.time)
    assert again is not None
    assert (again.status, again.attempts) == (CallbackStatus.DELIVERED, 2), "an answer of 2xx is the end"
    [(_, attempts)] = await outbox.attempts(found[0].task_id)
    assert [(entry.number, entry.status_code) for entry in attempts] == [(1, 204), (2, None)]
    assert len(attempts[0].response) == 512
    resent = await outbox.resend(found[0].task_id)
    assert (resent.id, resent.status, resent.next_attempt_at) == (found[0].id, CallbackStatus.PENDING, clock.time)
    types = [event.type for event in await store.events(found[0].task_id)]
    assert types == ["status", "status", "callback", "callback", "callback"]
    clock.go(seconds=60)
    assert len(await outbox.due("node_3", clock.time, 10, 60)) == 2
