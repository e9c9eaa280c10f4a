"""Tasks are cancelled, retried, deleted, and removed by their age: one contract, on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from tests.clock import Clock
from tests.integration.stored_tasks import NOBODY, advance, new, row_counts, run, said, started, statuses

from kikitori.errors import Busy, Conflict, NotFound
from kikitori.store.answers import AnswerKind, AnswerStore
from kikitori.store.callbacks import CallbackStore
from kikitori.store.cleaning import Cleaning
from kikitori.store.database import Database
from kikitori.store.task_queries import TaskQuery
from kikitori.store.task_records import CallbackAttempt, CallbackStatus, TaskStatus
from kikitori.store.tasks import LostTask, TaskStore


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
