"""A task from its claim to its end, also when nodes die: one contract, on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.clock import Clock
from tests.integration.stored_tasks import NOBODY, advance, new, row_counts, run, said, started, statuses

from kikitori.errors import Conflict, NotFound
from kikitori.store import task_steps
from kikitori.store.callbacks import CallbackStore
from kikitori.store.database import Database
from kikitori.store.task_queries import TaskQuery
from kikitori.store.task_records import Checkpoint, TaskStatus
from kikitori.store.tasks import LostTask, TaskStore
from kikitori.types import Segment, Word


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
    assert not await advance(store, task, [second], language=("ja", 0.5))
    clock.go(seconds=5)
    task = await store.finish(task, TaskStatus.SUCCEEDED)
    assert (task.status, task.finished_at, task.progress) == (TaskStatus.SUCCEEDED, clock.time, 100.0)
    assert (task.language, task.language_probability) == ("ja", 0.5)
    assert (task.duration, task.seconds_done) == (10.0, 10.0)
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
