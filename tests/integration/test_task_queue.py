"""Who is next, and who waits where: one contract, on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.clock import Clock
from tests.integration.stored_tasks import HIGH, LOW, NORMAL, new, statuses

from kikitori.errors import Conflict
from kikitori.store.callbacks import CallbackStore
from kikitori.store.database import Database
from kikitori.store.task_records import TaskRecord, TaskStatus
from kikitori.store.tasks import TaskStore


async def test_two_nodes_never_get_the_same_task(stores: list[TaskStore]) -> None:
    made = await stores[0].create([new(f"owner {at % 7}", priority=(HIGH, NORMAL, LOW)[at % 3]) for at in range(200)])

    async def drain(number: int) -> list[TaskRecord]:
        found: list[TaskRecord] = []
        empty = 0
        while empty < 3:
            some = await stores[number].claim(f"node_{number}", 3)
            empty = 0 if some else empty + 1
            found += some
        return found

    claimed = [task for some in await asyncio.gather(*map(drain, range(4))) for task in some]
    assert sorted(task.id for task in claimed) == sorted(task.id for task in made)
    assert {task.attempts for task in claimed} == {1}
    assert Counter(task.status for task in claimed) == {TaskStatus.FETCHING: 200}


async def test_owners_take_turns(store: TaskStore) -> None:
    await store.create([new("ann") for _ in range(10_000)])
    await store.claim("node_1", 500)
    [bobs] = await store.create([new("bob")])
    assert (await store.queue_positions([bobs.id]))[bobs.id] <= 3
    assert [task.owner for task in await store.claim("node_1", 3)].count("bob") == 1
    made = await store.create([new(owner) for owner in ("bob", "cai", "dan") for _ in range(3)])
    owners = [task.owner for task in await store.claim("node_1", 13)]
    assert Counter(owners) == {"ann": 4, "bob": 3, "cai": 3, "dan": 3}
    assert [set(owners[at : at + 4]) for at in (1, 5, 9)] == [{"ann", "bob", "cai", "dan"}] * 3
    assert len(made) == 9


async def test_an_owners_tasks_keep_their_order(store: TaskStore) -> None:
    made = [task.id for task in await store.create([new() for _ in range(5)])]
    made += [(await store.create([new()]))[0].id for _ in range(3)]
    assert [task.id for task in await store.claim("node_1", 100)] == made


async def test_high_goes_first_and_waiting_makes_up_for_it(store: TaskStore, clock: Clock) -> None:
    [low, normal, high] = await store.create([new(priority=LOW), new(priority=NORMAL), new(priority=HIGH)])
    assert [task.id for task in await store.claim("node_1", 3)] == [high.id, normal.id, low.id]

    [low] = await store.create([new(priority=LOW)])
    clock.go(minutes=49)
    [early_normal] = await store.create([new(priority=NORMAL)])
    clock.go(minutes=2)
    [normal, late_high] = await store.create([new("bob", priority=NORMAL), new(priority=HIGH)])
    claimed = [task.id for task in await store.claim("node_1", 3)]
    assert claimed == [late_high.id, early_normal.id, low.id], "normal was 2 minutes old, low 51"
    clock.go(minutes=9)
    [high] = await store.create([new(priority=HIGH)])
    clock.go(minutes=2)
    [late_high] = await store.create([new("bob", priority=HIGH)])
    claimed = [task.id for task in await store.claim("node_1", 3)]
    assert claimed == [high.id, normal.id, late_high.id] or claimed == [high.id, late_high.id, normal.id]


async def test_a_low_task_is_not_passed_by_for_ever(store: TaskStore, clock: Clock) -> None:
    [low] = await store.create([new(priority=LOW)])
    for _ in range(59):
        clock.go(minutes=1)
        await store.create([new(priority=HIGH), new(priority=HIGH)])
        assert [task.priority for task in await store.claim("node_1", 2)] == [HIGH, HIGH]
    clock.go(minutes=2)
    await store.create([new(priority=HIGH)])
    assert [task.id for task in await store.claim("node_1", 1)] == [low.id]


async def test_a_retried_task_is_as_young_as_a_new_one(store: TaskStore, clock: Clock) -> None:
    [low] = await store.create([new(priority=LOW)])
    await store.request_cancel(low.id, None)
    clock.go(hours=5)
    await store.retry(low.id, None)
    [high] = await store.create([new(priority=HIGH)])
    assert [task.id for task in await store.claim("node_1", 1)] == [high.id]


async def test_fetched_and_unfetched_tasks_can_be_claimed_apart(store: TaskStore) -> None:
    [link, upload] = await store.create([new(), new(url=None, media_key="a.wav")])
    assert await store.claim("node_1", 0) == []
    assert [task.id for task in await store.claim("node_1", 5, fetched=True)] == [upload.id]
    assert await store.claim("node_1", 5, fetched=True) == []
    [claimed] = await store.claim("node_1", 5, fetched=False)
    assert claimed.id == link.id
    claimed = await store.fetched(claimed, media_key="b.mp4", media_bytes=7, file_name="b.mp4", details={"title": "B"})
    assert (claimed.media_key, claimed.media_bytes, claimed.details) == ("b.mp4", 7, {"title": "B"})
    await store.release(claimed)
    assert [task.id for task in await store.claim("node_1", 5, fetched=True)] == [link.id]


async def test_positions_are_the_order_of_claiming(store: TaskStore) -> None:
    made = await store.create(
        [new(f"owner {at % 3}", priority=(HIGH, NORMAL)[at % 2], url=None, media_key="x") for at in range(20)]
        + [new("owner 9", priority=NORMAL)]
    )
    ids = [task.id for task in made]
    positions = await store.queue_positions([*ids, "task_unknown"])
    assert sorted(positions.values()) == list(range(1, 22))
    claimed = [task.id for task in await store.claim("node_1", 100)]
    assert claimed == sorted(ids, key=positions.__getitem__)
    assert await store.queue_positions(ids) == {}
    assert await store.queue_positions([]) == {}


async def test_a_priority_can_be_changed_while_it_waits(store: TaskStore) -> None:
    first, second = await store.create([new(priority=LOW), new(priority=NORMAL)])
    changed = await store.set_priority(first.id, "ann", HIGH)
    assert changed.priority is HIGH
    assert await store.set_priority(first.id, "ann", HIGH) == changed
    assert [task.id for task in await store.claim("node_1", 2)] == [first.id, second.id]
    assert [event.data for event in await store.events(first.id) if event.type == "priority"] == [{"priority": "high"}]
    with pytest.raises(Conflict, match="fetching"):
        await store.set_priority(first.id, "ann", LOW)


async def test_many_expire_in_several_transactions(
    store: TaskStore, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One long transaction would keep everybody else from writing."""
    monkeypatch.setattr("kikitori.store.task_claims.EXPIRED_BATCH", 2)
    late = await store.create([new(expires_at=clock.time + timedelta(seconds=1)) for _ in range(5)])
    [other] = await store.create([new()])
    clock.go(seconds=2)
    transactions, write = 0, database.write

    def counted() -> Any:
        nonlocal transactions
        transactions += 1
        return write()

    monkeypatch.setattr(database, "write", counted)
    assert [task.id for task in await store.claim("node_1", 9)] == [other.id]
    assert transactions == 4
    assert [(await store.get(task.id, None)).status for task in late] == [TaskStatus.EXPIRED] * 5


async def test_a_task_that_nobody_began_in_time_expires(store: TaskStore, clock: Clock) -> None:
    soon = clock.time + timedelta(minutes=1)
    late, stays, begun = await store.create(
        [
            new(expires_at=soon, callback_url="https://example.org/hook"),
            new(expires_at=soon + timedelta(hours=1)),
            new(expires_at=soon, priority=HIGH),
        ]
    )
    await store.claim("node_1", 1)
    assert await store.expire() == []
    clock.go(minutes=1)
    assert [task.id for task in await store.claim("node_1", 5)] == [stays.id]
    expired = await store.get(late.id, None)
    assert (expired.status, expired.finished_at) == (TaskStatus.EXPIRED, clock.time)
    assert await statuses(store, late.id) == ["queued", "expired"]
    assert len(await CallbackStore(store._database).attempts(late.id)) == 1
    assert (await store.get(begun.id, None)).status is TaskStatus.FETCHING

    many = await store.create([new(expires_at=clock.time) for _ in range(450)])
    assert sorted(await store.expire()) == sorted(task.id for task in many)
    again = await store.retry(late.id, None)
    assert (again.status, again.expires_at) == (TaskStatus.QUEUED, None)
