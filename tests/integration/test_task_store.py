"""The durable tasks on SQLite, PostgreSQL and MariaDB: one contract, three databases."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text
from tests.integration.test_store import Clock, fresh_database

from kikitori.errors import Busy, Conflict, InvalidOption, NotFound
from kikitori.store import task_steps
from kikitori.store.answers import AnswerKind, AnswerStore
from kikitori.store.callbacks import CallbackStore
from kikitori.store.cleaning import Cleaning
from kikitori.store.database import Database
from kikitori.store.nodes import NodeStore
from kikitori.store.secrets import SecretStore
from kikitori.store.tables import metadata, nodes, secrets, tasks
from kikitori.store.task_queries import TaskQuery
from kikitori.store.task_records import (
    CallbackAttempt,
    CallbackStatus,
    Checkpoint,
    NewTask,
    Node,
    TaskError,
    TaskPriority,
    TaskRecord,
    TaskStatus,
    new_id,
)
from kikitori.store.tasks import LostTask, TaskStore
from kikitori.types import Segment, Task, Word

NOBODY = TaskError(code="no_answer", message="Nobody answered.", remedy="Try again.")
HIGH, NORMAL, LOW = TaskPriority.HIGH, TaskPriority.NORMAL, TaskPriority.LOW


@pytest.fixture(
    scope="module",
    params=["sqlite", *(pytest.param(name, marks=pytest.mark.service) for name in ("postgresql", "mysql"))],
)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One database for all tests of this file."""
    with fresh_database(request.param, Path(tmp_path_factory.mktemp("store"))) as made:
        asyncio.run(_upgrade(made))
        yield made


async def _upgrade(url: str) -> None:
    async with Database(url) as database:
        await database.upgrade()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as opened:
        async with opened.write() as connection:
            for table in (tasks, nodes, secrets):
                await connection.execute(delete(table))
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> TaskStore:
    return TaskStore(database, now=clock)


@pytest.fixture
async def stores(url: str, database: Database, clock: Clock) -> AsyncIterator[list[TaskStore]]:
    """As four nodes have them: each with connections of its own."""
    async with AsyncExitStack() as stack:
        yield [TaskStore(await stack.enter_async_context(Database(url)), now=clock) for _ in range(4)]


def new(owner: str = "ann", **more: Any) -> NewTask:
    return NewTask(**({"id": new_id("task"), "owner": owner, "url": "https://example.org/a.mp3"} | more))


def said(*texts: str, first: int = 0) -> list[Segment]:
    return [Segment(id=first + at, start=first + at, end=first + at + 1, text=text) for at, text in enumerate(texts)]


async def run(store: TaskStore, node: str = "node_1") -> TaskRecord:
    """Claim one task and begin it."""
    [task] = await store.claim(node, 1)
    return await started(store, task)


async def started(store: TaskStore, task: TaskRecord, **more: Any) -> TaskRecord:
    facts: dict[str, Any] = {"duration": 10.0, "model": "tiny", "engine": "whisper", "mode": "windowed"} | more
    return await store.started(task, **facts)


async def advance(
    store: TaskStore, task: TaskRecord, segments: Sequence[Segment], *, checkpoint: bool = True, attempt: int = 0
) -> bool:
    end = segments[-1].id + 1
    point = Checkpoint(seconds=float(end), segments=end, attempt=attempt) if checkpoint else None
    return await store.advance(task, segments=segments, seconds_done=float(end), duration=None, checkpoint=point)


async def statuses(store: TaskStore, id: str) -> list[str]:
    return [event.data["status"] for event in await store.events(id) if event.type == "status"]


async def row_counts(database: Database) -> dict[str, int]:
    async with database.read() as connection:
        return {
            table.name: (await connection.scalar(select(func.count()).select_from(table))) or 0
            for table in metadata.sorted_tables
        }


# Creating -------------------------------------------------------------------------------------------------------------


async def test_a_task_comes_back_as_it_was_asked_for(store: TaskStore, clock: Clock) -> None:
    asked = new(
        owner="미카",
        priority=HIGH,
        task_type=Task.TRANSLATE,
        url=None,
        media_key="2026/a 🎙.wav",
        media_bytes=5_000_000_000,
        file_name="会議 1.wav",
        model="small",
        options={"beam_size": 5, "prompt": "日本語\x00", "hotwords": None, "temperature": [0.0, 0.2]},
        formats=("srt", "vtt"),
        tags=("Ümlaut", "重要"),
        platform="tiktok",
        callback_url="https://example.org/hook?a=b",
        idempotency_key="k1",
        expires_at=clock.time + timedelta(hours=1),
        details={"title": "タイトル 🎬", "author": {"name": "x"}},
        parent="task_0",
    )
    [made] = await store.create([asked])
    assert made == await store.get(made.id, "미카")
    assert made.status is TaskStatus.QUEUED
    assert made.created_at == clock.time
    for name in ("owner", "priority", "task_type", "options", "formats", "tags", "details", "expires_at", "parent"):
        assert getattr(made, name) == getattr(asked, name)
    assert await statuses(store, made.id) == ["queued"]


async def test_many_tasks_are_created_in_order_in_one_go(store: TaskStore) -> None:
    asked = [new(tags=("a", "b", "a")) for _ in range(1_200)]
    made = await store.create(asked)
    assert [task.id for task in made] == [task.id for task in asked]
    assert await store.create([]) == []
    page = await store.list(TaskQuery(tag="a", limit=200))
    assert [task.id for task in page.tasks] == [task.id for task in reversed(asked)][:200]
    assert page.total == 1_200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", "x" * 201),
        ("platform", "x" * 101),
        ("model", "a\x00b"),
        ("tags", ("ok", "x" * 101)),
        ("url", "\ud800"),
    ],
)
async def test_what_no_row_can_hold_is_refused_with_its_name(store: TaskStore, field: str, value: Any) -> None:
    with pytest.raises(InvalidOption) as caught:
        await store.create([new(), new(**{field: value})])
    assert caught.value.field == field
    assert (await store.list(TaskQuery())).total == 0


async def test_names_of_files_are_stored_as_far_as_they_can_be(store: TaskStore) -> None:
    [task] = await store.create([new(file_name="a\x00b\ud800" + "本" * 600)])
    assert task.file_name == "ab?" + "本" * 497
    assert await store.get(task.id, None) == task


async def test_a_full_queue_refuses_all_or_none(store: TaskStore) -> None:
    await store.create([new() for _ in range(8)], max_queued=10)
    with pytest.raises(Busy, match="8 tasks wait"):
        await store.create([new() for _ in range(3)], max_queued=10)
    assert (await store.list(TaskQuery())).total == 8
    await store.create([new() for _ in range(2)], max_queued=10)
    await store.claim("node_1", 1)
    await store.create([new()], max_queued=10)


async def test_an_idempotency_key_gives_the_task_it_made_before(store: TaskStore) -> None:
    [first] = await store.create([new(idempotency_key="k")])
    again, other, fresh = await store.create(
        [new(idempotency_key="k", priority=LOW), new("bob", idempotency_key="k"), new(idempotency_key="K")],
        max_queued=3,
    )
    assert again == first
    assert len({first.id, other.id, fresh.id}) == 3
    one, two = await store.create([new(idempotency_key="twice"), new(idempotency_key="twice")])
    assert one == two
    with pytest.raises(Conflict, match=first.id):
        await store.create([new(idempotency_key="fresh"), new(idempotency_key="k", options={"beam_size": 3})])
    assert (await store.list(TaskQuery())).total == 4, "all or none"
    await store.delete(first.id, "ann")
    assert (await store.create([new(idempotency_key="k")]))[0].id != first.id


async def test_one_key_makes_one_task_however_many_ask_at_once(stores: list[TaskStore]) -> None:
    asked = [
        store.create([new(idempotency_key=f"key {number}"), new(idempotency_key=f"key {number + 1}")])
        for number in range(6)
        for store in stores
    ]
    made = [task for tasks in await asyncio.gather(*asked) for task in tasks]
    assert len({task.id for task in made}) == 7
    assert all(len({task.id for task in made if task.idempotency_key == f"key {number}"}) == 1 for number in range(7))
    assert (await stores[0].list(TaskQuery())).total == 7


# Owners ---------------------------------------------------------------------------------------------------------------


async def test_another_owners_task_does_not_exist(store: TaskStore) -> None:
    [task] = await store.create([new("ann", tags=("x",))])
    for verb in (store.get, store.result, store.request_cancel, store.retry, store.delete):
        with pytest.raises(NotFound):
            await verb(task.id, "bob")
    with pytest.raises(NotFound):
        await store.set_priority(task.id, "bob", HIGH)
    for owner in ("bob", "", "Ann", "an", "%"):
        for query in (TaskQuery(owner=owner), TaskQuery(owner=owner, tag="x")):
            page = await store.list(query)
            assert (page.tasks, page.total) == ((), 0), owner
    assert (await store.get(task.id, None)) == await store.get(task.id, "ann") == task


@pytest.mark.parametrize("id", ["", "task_", "%", "x" * 5_000, "task_1' OR '1'='1", "日本語"])
async def test_an_id_that_is_none_is_not_found(store: TaskStore, id: str) -> None:
    with pytest.raises(NotFound) as caught:
        await store.get(id, None)
    assert len(str(caught.value)) < 200
    assert await store.segments(id) == []
    assert await store.events(id) == []


# The queue ------------------------------------------------------------------------------------------------------------


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


async def test_counts_are_by_status_and_priority(store: TaskStore) -> None:
    await store.create([new(priority=LOW), new(priority=LOW), new(priority=HIGH), new()])
    await run(store)
    await store.claim("node_1", 1)
    assert await store.queue_counts() == {
        (TaskStatus.RUNNING, HIGH): 1,
        (TaskStatus.FETCHING, NORMAL): 1,
        (TaskStatus.QUEUED, LOW): 2,
    }


async def test_many_expire_in_several_transactions(
    store: TaskStore, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One long transaction would keep everybody else from writing."""
    monkeypatch.setattr("kikitori.store.tasks.EXPIRED_BATCH", 2)
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


# A task's life --------------------------------------------------------------------------------------------------------


async def test_a_task_from_its_claim_to_its_end(store: TaskStore, clock: Clock) -> None:
    await store.create([new()])
    clock.go(seconds=2)
    [task] = await store.claim("node_1", 1)
    assert (task.status, task.node, task.attempts, task.started_at) == (TaskStatus.FETCHING, "node_1", 1, clock.time)
    task = await started(store, task)
    assert (task.status, task.model, task.engine, task.mode) == (TaskStatus.RUNNING, "tiny", "whisper", "windowed")
    words = (
        Word(word=" Hello", start=0.0, end=0.5, probability=0.25),
        Word(word=" 日本", start=0.5, end=1, probability=1),
    )
    first = Segment(id=0, start=0.0, end=1.5, text=" Hello 日本 🎙", words=words, tokens=(1, 2), speaker="left")
    second = Segment(id=1, start=1.5, end=3.0, text=" again", avg_logprob=-0.5, temperature=0.2, no_speech_prob=0.1)
    assert not await advance(store, task, [first])
    assert (await store.get(task.id, None)).progress == 10.0
    assert not await advance(store, task, [second])
    clock.go(seconds=5)
    task = await store.finish(task, TaskStatus.SUCCEEDED, language="ja", language_probability=0.5, duration=9.5)
    assert (task.status, task.finished_at, task.progress) == (TaskStatus.SUCCEEDED, clock.time, 100.0)
    assert (task.language, task.duration, task.seconds_done) == ("ja", 9.5, 9.5)
    result = await store.result(task.id, "ann")
    assert (result.task, result.segments) == (task, (first, second))
    assert await store.segments(task.id) == [first, second]
    assert await store.segments(task.id, after=1) == [second]
    assert await store.segments(task.id, limit=1) == [first]
    events = await store.events(task.id)
    assert [event.data["status"] for event in events] == ["queued", "fetching", "running", "succeeded"]
    assert [event.id for event in events] == sorted(event.id for event in events)
    assert await store.events(task.id, after=events[1].id) == events[2:]


async def test_segments_after_the_checkpoint_are_forgotten(store: TaskStore) -> None:
    await store.create([new()])
    task = await run(store)
    await advance(store, task, said("a", "b"))
    await advance(store, task, said("c", "d", first=2), checkpoint=False)
    await store.recover(["node_1"], max_attempts=5)
    [task] = await store.claim("node_2", 1)
    assert task.checkpoint == Checkpoint(seconds=2.0, segments=2)
    assert (task.attempts, task.seconds_done) == (2, 4.0)
    assert await store.rewind(task) == 2
    rewound = await store.get(task.id, None)
    assert rewound.seconds_done == 2.0
    assert rewound.checkpoint == Checkpoint(seconds=2.0, segments=2, from_seconds=2.0)
    task = await started(store, task)
    await advance(store, task, said("C", "D", first=2))
    await store.finish(task, TaskStatus.SUCCEEDED)
    assert "".join(segment.text for segment in (await store.result(task.id, None)).segments) == "abCD"
    kept = [event.data["segments"] for event in await store.events(task.id) if "segments" in event.data]
    assert kept == [2]


async def test_a_corrected_text_is_found_and_the_old_one_is_not(store: TaskStore) -> None:
    await store.create([new()])
    task = await run(store)
    await advance(store, task, said(" The birch", " can you"))
    right = Segment(id=1, start=1.0, end=2.0, text=" canoe 日本")
    with pytest.raises(Conflict, match="running"):
        await store.replace_segment(task.id, "ann", right, was=" can you")
    await store.finish(task, TaskStatus.SUCCEEDED)
    with pytest.raises(NotFound):
        await store.replace_segment(task.id, "bob", right, was=" can you")
    assert not await store.replace_segment(task.id, "ann", right, was=" can you ")
    assert not await store.replace_segment(task.id, "ann", replace(right, id=7), was=" can you")
    assert await store.replace_segment(task.id, "ann", right, was=" can you")
    assert await store.segments(task.id) == [*said(" The birch"), right]
    for words, count in (("canoe", 1), ("日本", 1), ("birch", 1), ("you", 0)):
        page = await store.list(TaskQuery(owner="ann", text=words))
        assert len(page.tasks) == count, words
    assert [event.data for event in await store.events(task.id) if event.type == "corrected"] == [{"segment": 1}]


async def test_of_two_who_correct_at_once_one_is_told(stores: list[TaskStore]) -> None:
    await stores[0].create([new()])
    task = await run(stores[0])
    await advance(stores[0], task, said("old"))
    await stores[0].finish(task, TaskStatus.SUCCEEDED)
    texts = [replace(each, text=f"new {number}") for number, each in enumerate(said("old") * len(stores))]
    won = await asyncio.gather(
        *(store.replace_segment(task.id, None, text, was="old") for store, text in zip(stores, texts, strict=True))
    )
    assert sum(won) == 1
    assert await stores[0].segments(task.id) == [texts[won.index(True)]]


async def test_without_a_checkpoint_all_segments_are_forgotten(store: TaskStore) -> None:
    await store.create([new()])
    task = await run(store)
    await advance(store, task, said("a"), checkpoint=False)
    assert await store.rewind(task) == 0
    assert await store.segments(task.id) == []
    assert await store.rewind(task) == 0


async def test_a_write_whose_end_nobody_saw_can_be_repeated(store: TaskStore, database: Database) -> None:
    [created] = await store.create([new(callback_url="https://example.org/hook")])
    task = await run(store)
    for _ in range(2):
        await advance(store, task, said("a", "b"))
    await advance(store, task, said("b", "c", first=1))
    ended = await store.finish(task, TaskStatus.SUCCEEDED)
    assert await store.finish(task, TaskStatus.SUCCEEDED) == ended
    with pytest.raises(LostTask):
        await store.finish(task, TaskStatus.CANCELLED)
    assert [segment.text for segment in await store.segments(created.id)] == ["a", "b", "c"]
    counts = await row_counts(database)
    assert (counts["callbacks"], counts["transcripts"], counts["segments"]) == (1, 1, 3)
    assert (await statuses(store, created.id)).count("succeeded") == 1


async def test_the_end_is_one_transaction(
    store: TaskStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create([new(callback_url="https://example.org/hook")])
    task = await run(store)
    await advance(store, task, said("a"))
    before = await row_counts(database)

    async def broken(*args: object, **more: object) -> None:
        raise ZeroDivisionError

    for step in ("_store_text", "_store_callback", "add_status"):
        with monkeypatch.context() as patch:
            patch.setattr(task_steps, step, broken)
            with pytest.raises(ZeroDivisionError):
                await store.finish(task, TaskStatus.SUCCEEDED)
        assert await row_counts(database) == before
        assert (await store.get(task.id, None)).status is TaskStatus.RUNNING
    await store.finish(task, TaskStatus.SUCCEEDED)
    after = await row_counts(database)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"transcripts", "callbacks", "task_events"}


async def test_a_failure_keeps_its_reason_and_the_text_so_far(store: TaskStore) -> None:
    await store.create([new()])
    task = await run(store)
    await advance(store, task, said("so far"))
    failed = await store.finish(task, TaskStatus.FAILED, error=NOBODY)
    assert failed.error == NOBODY
    assert failed.progress == 10.0
    assert (await store.events(task.id))[-1].data == {
        "status": "failed",
        "error": {"code": "no_answer", "message": "Nobody answered.", "remedy": "Try again."},
    }
    assert [segment.text for segment in await store.segments(task.id)] == ["so far"]
    for status, error in ((TaskStatus.FAILED, None), (TaskStatus.SUCCEEDED, NOBODY), (TaskStatus.QUEUED, None)):
        with pytest.raises(ValueError, match="cannot end"):
            await store.finish(task, status, error=error)


async def test_a_node_that_was_taken_for_dead_writes_nothing_more(store: TaskStore) -> None:
    await store.create([new()])
    stale = await run(store, "node_1")
    await advance(store, stale, said("a"))
    assert await store.recover(["node_1"], max_attempts=5) == [stale.id]
    for node in ("node_2", "node_1"):
        [task] = await store.claim(node, 1)
        refused = [
            store.fetched(stale, media_key="x"),
            started(store, stale),
            advance(store, stale, said("b", first=1)),
            store.rewind(stale),
            store.finish(stale, TaskStatus.SUCCEEDED),
            store.release(stale),
            store.expand(stale, [new()]),
        ]
        for write in refused:
            with pytest.raises(LostTask):
                await write
        assert await store.get(task.id, None) == task
        assert [segment.text for segment in await store.segments(task.id)] == ["a"]
        await store.recover([node], max_attempts=5)
    assert (await store.list(TaskQuery())).total == 1


async def test_tasks_of_dead_nodes_go_to_the_front_once(stores: list[TaskStore]) -> None:
    store = stores[0]
    made = await store.create([new() for _ in range(6)])
    await store.claim("dead", 2)
    await store.claim("alive", 1)
    recovered = await asyncio.gather(*(each.recover(["dead", "gone"], max_attempts=3) for each in stores))
    assert sorted(id for some in recovered for id in some) == sorted(task.id for task in made[:2])
    claimed = await store.claim("alive", 10)
    assert [task.id for task in claimed] == [task.id for task in (*made[:2], *made[3:])]
    assert [task.attempts for task in claimed] == [2, 2, 1, 1, 1]
    assert await store.recover(["dead"], max_attempts=3) == await store.recover([], max_attempts=3) == []
    assert await store.holders() == {"alive"}


async def test_a_task_that_kills_its_nodes_fails_in_the_end(store: TaskStore) -> None:
    [created] = await store.create([new(callback_url="https://example.org/hook")])
    for attempt in range(1, 4):
        await run(store, f"node_{attempt}")
        assert await store.recover([f"node_{attempt}"], max_attempts=3) == [created.id]
    failed = await store.get(created.id, None)
    assert failed.status is TaskStatus.FAILED
    assert failed.error is not None
    assert (failed.error.code, failed.attempts) == ("crashed", 3)
    assert len(await CallbackStore(store._database).attempts(created.id)) == 1


async def test_attempts_that_got_on_with_a_task_do_not_count(store: TaskStore) -> None:
    [created] = await store.create([new()])
    for attempt in range(1, 8):
        task = await run(store, f"node_{attempt}")
        if attempt <= 5:  # then it stands still
            await advance(store, task, said("a", first=attempt - 1), attempt=attempt)
        await store.recover([f"node_{attempt}"], max_attempts=2)
    failed = await store.get(created.id, None)
    assert (failed.status, failed.attempts) == (TaskStatus.FAILED, 7)


async def test_what_a_node_still_works_on_is_not_recovered(store: TaskStore) -> None:
    made = await store.create([new(), new()])
    await store.claim("node_1", 2)
    assert await store.recover(["node_1"], max_attempts=5, except_ids=[made[0].id]) == [made[1].id]


async def test_a_released_task_is_as_if_nobody_had_begun_it(store: TaskStore) -> None:
    made = await store.create([new(), new()])
    task = await run(store)
    await advance(store, task, said("a"))
    await store.release(task)
    waiting = await store.get(task.id, None)
    assert (waiting.status, waiting.attempts, waiting.node) == (TaskStatus.QUEUED, 0, None)
    assert waiting.checkpoint is not None
    with pytest.raises(LostTask):
        await store.release(task)
    assert [task.id for task in await store.claim("node_2", 2)] == [task.id for task in made]


# Control --------------------------------------------------------------------------------------------------------------


async def test_a_queued_task_is_cancelled_at_once(store: TaskStore, clock: Clock) -> None:
    [created] = await store.create([new(callback_url="https://example.org/hook")])
    cancelled = await store.request_cancel(created.id, "ann")
    assert (cancelled.status, cancelled.finished_at) == (TaskStatus.CANCELLED, clock.time)
    assert await store.claim("node_1", 1) == []
    assert await statuses(store, created.id) == ["queued", "cancelled"]
    assert len(await CallbackStore(store._database).attempts(created.id)) == 1
    with pytest.raises(Conflict, match="cancelled"):
        await store.request_cancel(created.id, "ann")


async def test_a_running_task_is_asked_to_end_and_keeps_its_text(store: TaskStore) -> None:
    [_, other] = await store.create([new(), new()])
    task = await run(store)
    assert not await advance(store, task, said("a"))
    asked = await store.request_cancel(task.id, None)
    assert (asked.status, asked.cancel_requested) == (TaskStatus.RUNNING, True)
    assert await store.request_cancel(task.id, None) == asked
    assert await store.cancel_requested([task.id, other.id, "task_gone"]) == {task.id, "task_gone"}
    assert await store.cancel_requested([]) == set()
    assert await advance(store, task, said("b", first=1))
    await store.finish(task, TaskStatus.CANCELLED)
    assert [segment.text for segment in (await store.result(task.id, None)).segments] == ["a", "b"]
    assert (await store.list(TaskQuery(text="ab"))).total == 1


@pytest.mark.parametrize("way", ["recover", "release"])
async def test_a_task_that_shall_end_is_not_queued_again(store: TaskStore, way: str) -> None:
    await store.create([new()])
    task = await run(store)
    await store.request_cancel(task.id, None)
    if way == "recover":
        await store.recover(["node_1"], max_attempts=5)
    else:
        await store.release(task)
    assert (await store.get(task.id, None)).status is TaskStatus.CANCELLED


async def test_a_cancelled_task_is_not_begun_and_a_begun_one_hears_of_it(stores: list[TaskStore]) -> None:
    made = await stores[0].create([new() for _ in range(40)])
    claims = [stores[1].claim("node_1", 10) for _ in range(4)]
    cancels = [store.request_cancel(task.id, None) for store, task in zip(stores * 10, made, strict=True)]
    await asyncio.gather(*claims, *cancels)
    for task in [await stores[0].get(task.id, None) for task in made]:
        if task.status is TaskStatus.CANCELLED:
            assert (task.node, task.attempts) == (None, 0)
        else:
            assert (task.status, task.cancel_requested) == (TaskStatus.FETCHING, True)


async def test_a_retry_begins_from_nothing(store: TaskStore, database: Database) -> None:
    await store.create([new()])
    task = await run(store)
    await advance(store, task, said("hello"))
    for verb in (store.retry, store.retry):
        with pytest.raises(Conflict, match="running"):
            await verb(task.id, None)
    failed = await store.finish(task, TaskStatus.FAILED, error=NOBODY)
    again = await store.retry(failed.id, "ann")
    assert (again.status, again.attempts, again.node, again.error) == (TaskStatus.QUEUED, 0, None, None)
    assert (again.started_at, again.finished_at, again.checkpoint, again.progress) == (None, None, None, 0.0)
    counts = await row_counts(database)
    assert (counts["segments"], counts["transcripts"]) == (0, 0)
    assert (await store.list(TaskQuery(text="hello"))).total == 0
    task = await run(store)
    await advance(store, task, said("bye"))
    await store.finish(task, TaskStatus.SUCCEEDED)
    assert (await store.list(TaskQuery(text="bye"))).total == 1
    with pytest.raises(Conflict, match="succeeded"):
        await store.retry(task.id, None)


async def test_a_retry_runs_on_the_model_that_was_asked_for(store: TaskStore) -> None:
    made = await store.create([new(model="small", options={"beam_size": 2}), new()])
    assert [(task.model, task.asked_model) for task in made] == [("small", "small"), ("", "")]
    for task in await store.claim("node_1", 2):
        task = await started(store, task, model="tiny")
        assert (task.model, task.asked_model) == ("tiny", made[task.id != made[0].id].model)
        await store.finish(task, TaskStatus.FAILED, error=NOBODY)
        again = await store.retry(task.id, None)
        assert again.model == again.asked_model == task.asked_model
        assert dict(again.options) == dict(task.options)
    assert dict((await store.get(made[0].id, None)).options) == {"beam_size": 2}


async def test_a_retry_needs_a_recording_and_room_in_the_queue(store: TaskStore, database: Database) -> None:
    made = await store.create([new(url=None, media_key="a.wav"), new(), new()])
    for task in made[:2]:
        await store.request_cancel(task.id, None)
    with pytest.raises(Busy, match="full"):
        await store.retry(made[1].id, None, max_queued=1)
    assert (await store.retry(made[1].id, None, max_queued=2)).status is TaskStatus.QUEUED
    ended = (await store.get(made[0].id, None)).finished_at
    assert ended is not None
    await Cleaning(database).forget_media(made[0].id, ended_before=ended + timedelta(seconds=1))
    with pytest.raises(Conflict, match="removed"):
        await store.retry(made[0].id, None)


async def test_a_deleted_task_leaves_no_row_anywhere(store: TaskStore, database: Database, clock: Clock) -> None:
    assert set((await row_counts(database)).values()) == {0}
    [created] = await store.create([new(tags=("a", "b"), callback_url="https://example.org/hook")])
    task = await run(store)
    await advance(store, task, said("秘密の話", "secret"))
    await store.finish(task, TaskStatus.SUCCEEDED)
    outbox = CallbackStore(database, now=clock)
    [callback] = await outbox.due("node_1", clock.time, 10, 60)
    attempt = CallbackAttempt(number=1, at=clock.time, status_code=500)
    await outbox.record(callback, attempt, status=CallbackStatus.PENDING, next_attempt_at=clock.time)
    await AnswerStore(database).add(task.id, kind=AnswerKind.SUMMARY, text="in short", model="m", language="en")
    counts = await row_counts(database)
    of_others = {"api_keys", "client_secrets", "nodes", "secrets"}
    assert {name for name, count in counts.items() if count == 0} == of_others
    assert (await store.list(TaskQuery(text="秘密"))).total == 1

    assert (await store.delete(created.id, "ann")).id == created.id
    assert set((await row_counts(database)).values()) == {0}
    assert (await store.list(TaskQuery(text="秘密"))).total == 0
    if database.shown.startswith("sqlite"):
        async with database.write() as connection:
            await connection.execute(
                text("INSERT INTO transcript_search (transcript_search) VALUES ('integrity-check')")
            )
    with pytest.raises(NotFound):
        await store.delete(created.id, None)
    with pytest.raises(NotFound):
        await AnswerStore(database).add(task.id, kind=AnswerKind.CHAT, text="late")
    assert await outbox.record(callback, attempt, status=CallbackStatus.DELIVERED, next_attempt_at=None) is None


async def test_a_deleted_task_is_lost_for_its_node(store: TaskStore, database: Database) -> None:
    await store.create([new()])
    task = await run(store)
    await store.delete(task.id, None)
    with pytest.raises(LostTask):
        await advance(store, task, said("a"))
    assert set((await row_counts(database)).values()) == {0}


async def test_a_playlist_becomes_tasks(store: TaskStore) -> None:
    [created] = await store.create([new(details={"page": "p"}, callback_url="https://example.org/hook")])
    [task] = await store.claim("node_1", 1)
    children = [new(parent=task.id, file_name=f"part {at}") for at in range(3)]
    made = await store.expand(task, children, details={"title": "A list"})
    assert [child.parent for child in made] == [created.id] * 3
    assert await store.expand(task, children) == made
    parent = await store.get(created.id, None)
    assert (parent.status, parent.details) == (TaskStatus.SUCCEEDED, {"page": "p", "title": "A list"})
    assert [child.id for child in await store.claim("node_1", 9)] == [child.id for child in children]


async def test_what_ended_long_ago_is_found_for_removal(store: TaskStore, database: Database, clock: Clock) -> None:
    cleaning = Cleaning(database)
    made = await store.create([new(media_key=None if at == 1 else f"{at}.wav") for at in range(4)])
    for task in made[:3]:
        await store.request_cancel(task.id, None)
        clock.go(days=1)
    now = clock.time
    assert await cleaning.ended_before(now - timedelta(days=4), 10) == []
    assert await cleaning.ended_before(now, 2) == [made[0].id, made[1].id]
    assert await cleaning.ended_before(now - timedelta(days=1), 10, with_media=True) == [made[0].id]
    assert await cleaning.forget_media(made[0].id, ended_before=now) == "0.wav"
    assert (await store.get(made[0].id, None)).media_key is None
    assert await cleaning.ended_before(now - timedelta(days=1), 10, with_media=True) == []
    assert await cleaning.forget_media(made[3].id, ended_before=now) is None
    assert (await store.get(made[3].id, None)).media_key == "3.wav", "it has not ended"
    assert await cleaning.media_keys(task.id for task in made) == {"2.wav", "3.wav"}


async def test_what_was_begun_anew_meanwhile_is_not_removed(store: TaskStore, database: Database, clock: Clock) -> None:
    cleaning = Cleaning(database)
    [task, young] = await store.create([new(media_key="old.wav"), new(media_key="young.wav")])
    await store.request_cancel(task.id, None)
    clock.go(days=2)
    await store.request_cancel(young.id, None)
    before = clock.time - timedelta(days=1)
    [id] = await cleaning.ended_before(before, 10)
    await store.retry(id, None)
    assert await cleaning.remove(id, ended_before=before) is None
    assert await cleaning.forget_media(id, ended_before=before) is None
    assert (await store.get(id, None)).media_key == "old.wav"
    assert await cleaning.remove(young.id, ended_before=before) is None, "it ended only now"
    assert await cleaning.remove(young.id, ended_before=clock.time + timedelta(seconds=1)) == "young.wav"
    with pytest.raises(NotFound):
        await store.get(young.id, None)


# Beside tasks ---------------------------------------------------------------------------------------------------------


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
    assert [entry.id for entry in await store.dead(clock.time - timedelta(seconds=30))] == ["c"]
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
