"""Figures for charts on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.clock import Clock

from kikitori.store import stats as stats_module
from kikitori.store.database import Database
from kikitori.store.nodes import NodeStore
from kikitori.store.stats import StatsStore
from kikitori.store.task_records import NewTask, Node, TaskError, TaskStatus, new_id
from kikitori.store.tasks import TaskStore
from kikitori.tasks.stats import HOURS, MINUTES, StatsDesk, Step

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


class Hands(Clock):
    """A wall clock, and the same as seconds."""

    def seconds(self) -> float:
        return self.time.timestamp()


@pytest.fixture
def hands() -> Hands:
    return Hands(NOON)


@pytest.fixture
def store(database: Database, hands: Hands) -> TaskStore:
    return TaskStore(database, now=hands)


@pytest.fixture
def desk(database: Database, hands: Hands) -> StatsDesk:
    return StatsDesk(StatsStore(database), NodeStore(database), now=hands, clock=hands.seconds)


async def make(store: TaskStore, owner: str = "ann") -> None:
    await store.create([NewTask(id=new_id("task"), owner=owner, url="https://example.org/a.mp3")])


async def end(store: TaskStore, status: TaskStatus, seconds: float = 60.0, owner: str = "ann") -> None:
    await make(store, owner)
    [task] = await store.claim("node_1", 1)
    task = await store.started(task, duration=seconds, model="tiny", engine="whisper", mode="windowed")
    error = TaskError(code="x", message="X.") if status is TaskStatus.FAILED else None
    await store.finish(task, status, error=error)


async def test_what_ended_is_counted_by_minute_and_hour(store: TaskStore, desk: StatsDesk, hands: Hands) -> None:
    await end(store, TaskStatus.SUCCEEDED, 90.5)
    hands.go(hours=1, minutes=29)
    await end(store, TaskStatus.SUCCEEDED, 30)
    await end(store, TaskStatus.SUCCEEDED, 15)
    hands.go(seconds=31)
    await end(store, TaskStatus.FAILED)
    await end(store, TaskStatus.CANCELLED)
    await make(store)
    hands.go(minutes=2)
    stats = await desk.read("ann")
    assert {status.value: count for status, count in stats.counts.items() if count} == {
        "queued": 1, "succeeded": 3, "failed": 1, "cancelled": 1,
    }  # fmt: skip
    assert stats.is_exact
    assert (len(stats.minutes), len(stats.hours)) == (MINUTES, HOURS)
    assert [step for step in stats.minutes if step != Step(at=step.at)] == [
        Step(at=datetime(2026, 3, 1, 13, 29, tzinfo=UTC), succeeded=2, audio_seconds=45.0),
        Step(at=datetime(2026, 3, 1, 13, 30, tzinfo=UTC), failed=1, cancelled=1),
    ]
    assert stats.minutes[-1].at == datetime(2026, 3, 1, 13, 32, tzinfo=UTC)
    assert stats.hours[-2:] == [
        Step(at=datetime(2026, 3, 1, 12, tzinfo=UTC), succeeded=1, audio_seconds=90.5),
        Step(at=datetime(2026, 3, 1, 13, tzinfo=UTC), succeeded=2, failed=1, cancelled=1, audio_seconds=45.0),
    ]
    hands.go(days=1, hours=1)
    assert all(step == Step(at=step.at) for step in (await desk.read("ann")).hours)


async def test_an_owner_sees_its_own_and_an_administrator_all(store: TaskStore, desk: StatsDesk) -> None:
    await end(store, TaskStatus.SUCCEEDED)
    await end(store, TaskStatus.SUCCEEDED, owner="bob")
    await make(store, "bob")
    found = [(await desk.read(owner)) for owner in ("ann", "bob", "nobody", None)]
    assert [each.counts[TaskStatus.SUCCEEDED] for each in found] == [1, 1, 0, 2]
    assert [each.counts[TaskStatus.QUEUED] for each in found] == [0, 1, 0, 1]
    assert [each.minutes[-1].succeeded for each in found] == [1, 1, 0, 2]


async def test_figures_are_given_out_again_for_a_moment(store: TaskStore, desk: StatsDesk, hands: Hands) -> None:
    first = await desk.read(None)
    await make(store)
    assert await desk.read(None) is first
    hands.go(seconds=4)
    assert (await desk.read(None)).counts[TaskStatus.QUEUED] == 1


async def test_counting_stops_at_a_bound(store: TaskStore, desk: StatsDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_module, "MOST_COUNTED", 2)
    monkeypatch.setattr("kikitori.tasks.stats.MOST_COUNTED", 2)
    for _ in range(3):
        await make(store)
    stats = await desk.read(None)
    assert (stats.counts[TaskStatus.QUEUED], stats.is_exact) == (2, False)


async def test_nodes_that_live_are_shown_with_what_they_do(
    store: TaskStore, database: Database, desk: StatsDesk, hands: Hands
) -> None:
    for id, silence in (("node_1", 5), ("node_2", 31)):
        beat = hands.time - timedelta(seconds=silence)
        node = Node(id=id, host="h", pid=1, version="1", slots=4, media_url="", started_at=beat, heartbeat_at=beat)
        await NodeStore(database).register(node)
    await make(store)
    await store.claim("node_1", 1)
    [worker] = (await desk.read(None)).workers
    assert (worker.node.id, worker.tasks) == ("node_1", 1)
