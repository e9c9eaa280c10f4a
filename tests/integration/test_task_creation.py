"""Tasks are created, and belong to their owners: one contract, on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.clock import Clock
from tests.integration.stored_tasks import HIGH, LOW, new, statuses

from kikitori.errors import Busy, Conflict, InvalidOption, NotFound
from kikitori.store.task_queries import TaskQuery
from kikitori.store.task_records import NewTask, TaskStatus
from kikitori.store.tasks import TaskStore
from kikitori.types import Task


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


async def test_an_idempotency_key_stands_for_the_content_of_an_upload(store: TaskStore) -> None:
    def upload(content_hash: str | None, size: int = 3) -> NewTask:
        key = f"{content_hash}.wav"
        return new(url=None, media_key=key, media_bytes=size, media_hash=content_hash, idempotency_key="k")

    [first] = await store.create([upload("a" * 64)])
    assert (await store.get(first.id, None)).media_hash == "a" * 64
    assert await store.create([upload("a" * 64)]) == [first]
    with pytest.raises(Conflict, match=first.id):
        await store.create([upload("b" * 64)])
    await store.delete(first.id, None)
    [without] = await store.create([upload(None)])
    assert (await store.create([upload("a" * 64)]))[0].id == without.id, "nothing else is known of it"
    with pytest.raises(Conflict, match=without.id):
        await store.create([upload("a" * 64, size=4)])


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
