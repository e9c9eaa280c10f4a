"""Lists of tasks on SQLite, PostgreSQL and MariaDB, compared with plain Python."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from tests.clock import Clock
from tests.databases import fresh_database
from tests.integration.stored_tasks import advance, new, said, started

from kikitori.errors import InvalidOption
from kikitori.store import task_listing
from kikitori.store.database import Database
from kikitori.store.task_queries import MAX_LIMIT, TaskQuery, TaskSort
from kikitori.store.task_records import TaskError, TaskPriority, TaskRecord, TaskStatus
from kikitori.store.tasks import TaskStore

OWNERS, LANGUAGES, ENGINES = ("ann", "bob", "미카"), ("en", "ja", "ko"), ("whisper", "pocketsphinx")
MODELS, PLATFORMS, TAGS = ("tiny", "small"), ("", "tiktok"), ("a", "b", "重要")
TEXTS = ("hello world", "東京都に行く", "안녕하세요 세계", "")
FAILED = TaskError(code="x", message="y")


@dataclass(frozen=True, slots=True)
class World:
    """Tasks of all kinds, created half a minute apart."""

    tasks: list[TaskRecord]
    """In the order they were created."""
    texts: dict[str, str]
    start: datetime


@pytest.fixture(scope="module")
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, World]]:
    """A database that tests only read from."""
    with fresh_database(request.param, tmp_path_factory.mktemp("lists")) as made:
        yield made, asyncio.run(_fill(made))


@pytest.fixture
async def lists(filled: tuple[str, World]) -> AsyncIterator[TaskStore]:
    async with Database(filled[0]) as opened:
        yield TaskStore(opened)


@pytest.fixture
def world(filled: tuple[str, World]) -> World:
    return filled[1]


async def _fill(url: str) -> World:
    clock = Clock()
    async with Database(url) as opened:
        await opened.upgrade()
        return await fill(TaskStore(opened, now=clock), clock)


async def fill(store: TaskStore, clock: Clock) -> World:
    chance = random.Random(7)
    start, texts, made = clock.time, {}, []
    for _ in range(40):
        clock.go(seconds=30)
        asked = [
            new(
                chance.choice(OWNERS),
                priority=chance.choice(list(TaskPriority)),
                platform=chance.choice(PLATFORMS),
                tags=tuple(chance.sample(TAGS, chance.randrange(3))),
                model=chance.choice(MODELS),
            )
            for _ in range(3)
        ]
        made += [task.id for task in await store.create(asked)]
    for task in await store.claim("node_1", 100):
        clock.go(seconds=20)
        language = chance.choice(LANGUAGES)
        task = await started(
            store,
            task,
            engine=chance.choice(ENGINES),
            model=task.model,
            duration=chance.choice([None, 5.0, 10.5, 1 / 3]),
        )
        await store.advance(
            task, segments=(), seconds_done=0.0, duration=None, checkpoint=None, language=(language, 0.9)
        )
        status = chance.choice([TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED, None])
        text = chance.choice(TEXTS)
        if text:
            await advance(store, task, said(text))
        if status is not None:
            texts[task.id] = text
            await store.finish(task, status, error=FAILED if status is TaskStatus.FAILED else None)
    return World(tasks=[await store.get(id, None) for id in made], texts=texts, start=start)


on_every_database = pytest.mark.parametrize(
    "filled",
    ["sqlite", *(pytest.param(name, marks=pytest.mark.service) for name in ("postgresql", "mysql"))],
    indirect=True,
    scope="module",
)

ways = pytest.mark.parametrize(
    ("bound", "max_tested"),
    [(10_000, 6_000), (0, 6_000), (0, 0)],
    ids=["counted", "too many to count", "words only looked up"],
)

FILTERS: dict[str, list[Any]] = {
    "owner": ["ann", "미카", "nobody"],
    "statuses": [(TaskStatus.QUEUED,), (TaskStatus.FAILED, TaskStatus.SUCCEEDED), tuple(TaskStatus)],
    "priorities": [(TaskPriority.HIGH,), (TaskPriority.LOW, TaskPriority.NORMAL)],
    "language": ["ja", "xx"],
    "engine": ["whisper"],
    "model": ["tiny"],
    "platform": ["tiktok"],
    "tag": ["a", "重要", "none"],
    "has_error": [True, False],
    "text": ["hello", "京都", "안녕", "hello world", "absent", "!?"],
    "created_after": [5, 15],
    "created_before": [5, 15],
    "finished_after": [25, 40],
    "finished_before": [25, 40],
}
"""Times are minutes after the start."""


def query(world: World, **filters: Any) -> TaskQuery:
    timed = {name: world.start + timedelta(minutes=value) for name, value in filters.items() if "ed_" in name}
    return TaskQuery(**{**filters, **timed})


def expected(world: World, asked: TaskQuery) -> list[str]:
    found = [task for task in world.tasks if all(test(task) for test in conditions(asked, world))]
    statuses = list(TaskStatus)
    priorities = [TaskPriority.LOW, TaskPriority.NORMAL, TaskPriority.HIGH]
    keys: dict[TaskSort, Callable[[TaskRecord], Any]] = {
        TaskSort.CREATED_AT: lambda task: 0,
        TaskSort.FINISHED_AT: lambda task: task.finished_at.timestamp() if task.finished_at else 0.0,
        TaskSort.DURATION: lambda task: -1.0 if task.duration is None else task.duration,
        TaskSort.PRIORITY: lambda task: priorities.index(task.priority),
        TaskSort.STATUS: lambda task: statuses.index(task.status),
    }
    order = [task.id for task in world.tasks]
    found.sort(key=lambda task: (keys[asked.sort](task), order.index(task.id)), reverse=asked.descending)
    return [task.id for task in found]


def conditions(asked: TaskQuery, world: World) -> list[Callable[[TaskRecord], bool]]:
    found: list[Callable[[TaskRecord], bool]] = []
    for name in ("owner", "language", "engine", "model", "platform"):
        if (value := getattr(asked, name)) is not None:
            found.append(partial(_is, name, value))
    for name in ("created", "finished"):
        after, before = getattr(asked, f"{name}_after"), getattr(asked, f"{name}_before")
        if after is not None or before is not None:
            found.append(partial(_is_between, f"{name}_at", after, before))
    if asked.statuses:
        found.append(lambda task: task.status in asked.statuses)
    if asked.priorities:
        found.append(lambda task: task.priority in asked.priorities)
    if asked.tag is not None:
        found.append(lambda task: asked.tag in task.tags)
    if asked.has_error is not None:
        found.append(lambda task: (task.error is not None) is asked.has_error)
    if asked.text:
        found.append(lambda task: asked.text in world.texts.get(task.id, ""))
    return found


def _is(name: str, value: object, task: TaskRecord) -> bool:
    return bool(getattr(task, name) == value)


def _is_between(name: str, after: datetime | None, before: datetime | None, task: TaskRecord) -> bool:
    time: datetime | None = getattr(task, name)
    return time is not None and (after is None or time >= after) and (before is None or time < before)


async def pages(store: TaskStore, asked: TaskQuery) -> list[str]:
    """All tasks of a list, page by page."""
    found: list[str] = []
    while True:
        page = await store.list(asked)
        found += [task.id for task in page.tasks]
        assert page.has_more == (page.next is not None)
        if page.next is None:
            return found
        assert len(page.tasks) == asked.limit
        asked = replace(asked, cursor=page.next)


@on_every_database
@ways
async def test_every_filter_and_order_is_what_python_says(
    lists: TaskStore, world: World, bound: int, max_tested: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_listing, "TOTAL_BOUND", bound)
    monkeypatch.setattr(task_listing, "MAX_TESTED", max_tested)
    monkeypatch.setattr(task_listing, "CLOCK_SKEW", timedelta(minutes=1))
    chance = random.Random(3)
    alone = [{name: value} for name, values in FILTERS.items() for value in values]
    names = sorted(FILTERS)
    several = [{name: chance.choice(FILTERS[name]) for name in chance.sample(names, 3)} for _ in range(15)]
    for filters in [{}, *alone, *several]:
        for sort in TaskSort if not filters else chance.sample(list(TaskSort), 2):
            asked = query(world, **filters, sort=sort, descending=chance.random() < 0.6, limit=100)
            ids = expected(world, asked)
            page = await lists.list(asked)
            assert [task.id for task in page.tasks] == ids[:100], asked
            assert page.total == min(bound, len(ids))
            assert page.total_is_exact == (len(ids) <= bound)
            assert page.has_more == (len(ids) > 100)
            assert page.tasks == tuple(task for id in ids[:100] for task in world.tasks if task.id == id)


@on_every_database
@ways
@pytest.mark.parametrize("descending", [True, False])
async def test_pages_by_cursor_and_by_offset_are_the_same(
    lists: TaskStore, world: World, descending: bool, bound: int, max_tested: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_listing, "TOTAL_BOUND", bound)
    monkeypatch.setattr(task_listing, "MAX_TESTED", max_tested)
    some: list[dict[str, Any]] = [{}, {"owner": "ann", "tag": "a"}, {"text": "hello"}, {"has_error": False}]
    for filters in some:
        for sort in TaskSort:
            asked = query(world, **filters, sort=sort, descending=descending, limit=17)
            ids = expected(world, asked)
            assert await pages(lists, asked) == ids
            for offset in (3, 119):
                page = await lists.list(replace(asked, offset=offset))
                assert [task.id for task in page.tasks] == ids[offset : offset + 17], (asked, offset)
                if page.next is not None:
                    after = await lists.list(replace(asked, cursor=page.next))
                    assert [task.id for task in after.tasks] == ids[offset + 17 : offset + 34]


@pytest.mark.parametrize(
    "filled", [pytest.param("postgresql", marks=pytest.mark.service)], indirect=True, scope="module"
)
async def test_a_search_of_postgresql_stops_counting_sooner_and_still_shows_all(
    lists: TaskStore, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for filters in ({}, {"owner": "ann"}, {"tag": "a", "sort": TaskSort.DURATION}):
        asked = query(world, text="hello", limit=3, **filters)
        ids = expected(world, asked)
        for bound in (len(ids), len(ids) - 1):
            monkeypatch.setattr(task_listing, "SEARCH_BOUND", bound)
            page = await lists.list(asked)
            assert (page.total, page.total_is_exact) == (bound, bound == len(ids))
            assert await pages(lists, asked) == ids


@pytest.mark.parametrize("sort", TaskSort)
@pytest.mark.parametrize("descending", [True, False])
async def test_each_task_is_seen_once_while_others_are_added_and_removed(
    store: TaskStore, sort: TaskSort, descending: bool, clock: Clock
) -> None:
    made = await store.create([new(priority=chosen) for chosen in TaskPriority for _ in range(9)])
    for task in await store.claim("node_1", 12):
        clock.go(seconds=1)
        await store.finish(await started(store, task, duration=1.0), TaskStatus.SUCCEEDED)
    asked = TaskQuery(sort=sort, descending=descending, limit=5)
    before = {task.id for task in made}
    seen: list[str] = []
    while True:
        page = await store.list(asked)
        seen += [task.id for task in page.tasks]
        await store.create([new(priority=TaskPriority.HIGH), new(priority=TaskPriority.LOW)])
        removed = page.tasks[0]
        await store.delete(removed.id, None)
        clock.go(seconds=1)
        if page.next is None or len(seen) > 200:
            break
        asked = replace(asked, cursor=page.next)
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


async def test_a_wrong_cursor_names_itself(store: TaskStore) -> None:
    await store.create([new() for _ in range(5)])
    asked = TaskQuery(limit=2)
    right = (await store.list(asked)).next
    assert right is not None
    wrong = ["", "x", "日本", right[:-4], right + "x", "W10", "e30", "W1tdXQ", "bnVsbA", "A" * 2_000, "===="]
    for cursor in wrong:
        with pytest.raises(InvalidOption) as caught:
            await store.list(replace(asked, cursor=cursor))
        assert caught.value.field == "cursor"
    for other in (
        replace(asked, owner="ann"),
        replace(asked, sort=TaskSort.DURATION),
        replace(asked, descending=False),
    ):
        with pytest.raises(InvalidOption):
            await store.list(replace(other, cursor=right))
    assert (await store.list(replace(asked, limit=5, cursor=right))).tasks


async def test_limits_are_kept(store: TaskStore) -> None:
    for field, asked in (
        ("limit", TaskQuery(limit=0)),
        ("limit", TaskQuery(limit=MAX_LIMIT + 1)),
        ("offset", TaskQuery(offset=-1)),
        ("offset", TaskQuery(offset=2_000_000)),
        ("text", TaskQuery(text="x" * 1_000)),
    ):
        with pytest.raises(InvalidOption) as caught:
            await store.list(asked)
        assert caught.value.field == field


async def test_an_empty_store_has_an_empty_page(store: TaskStore) -> None:
    for sort in TaskSort:
        page = await store.list(TaskQuery(sort=sort))
        assert (page.tasks, page.total, page.total_is_exact, page.has_more, page.next) == ((), 0, True, False, None)


# Words ----------------------------------------------------------------------------------------------------------------

SENTENCES = (
    "The Straße, naïve Café: don't stop!",
    "東京都の天気は晴れです。",
    "오늘 서울에서 회의가 있습니다",
    "我们今天去北京图书馆。",
    "สวัสดีครับ ยินดีต้อนรับ",
    "हिन्दी में बात करते हैं",
    "Привет, Ёлка и мир",
    "ｶﾀｶﾅ　ＡＢＣ １２３",
    "مرحبا بالعالم",
    "the about com http x" + " word" * 3,
)


@pytest.fixture
async def spoken(store: TaskStore) -> AsyncIterator[Callable[[str], Any]]:
    for sentence in SENTENCES:
        await store.create([new()])
        [task] = await store.claim("node_1", 1)
        task = await started(store, task)
        await advance(store, task, said(*sentence.split("|")))
        await store.finish(task, TaskStatus.SUCCEEDED)

    async def find(words: str, owner: str | None = "ann") -> list[int]:
        page = await store.list(TaskQuery(text=words, owner=owner, descending=False))
        texts = [(await store.result(task.id, None)).segments[0].text for task in page.tasks]
        assert page.total == len(texts)
        return [SENTENCES.index(text) for text in texts]

    yield find


WORDS: Sequence[tuple[str, Sequence[int]]] = (
    ("strasse", [0]),
    ("CAFE", [0]),
    ("cafe\u0301 naive", [0]),
    ("café absent", []),
    ("don't", [0]),
    ("caf", []),
    ("caf*", [0]),
    ("the", [0, 9]),
    ("about com", [9]),
    ("x", [9]),
    ("東京", [1]),
    ("京都", [1]),
    ("東京都の天気", [1]),
    ("天", [1, 3]),
    ("天気 晴れ", [1]),
    ("京", [1, 3]),
    ("東気", []),
    ("서울", [2]),
    ("회의", [2]),
    ("의가", [2]),
    ("图书馆", [3]),
    ("北京图书", [3]),
    ("สวัสดี", [4]),
    ("ต้อนรับ", [4]),
    ("हिन्दी", [5]),
    ("мир привет", [6]),
    ("елка", [6]),
    ("カタカナ", [7]),
    ("abc 123", [7]),
    ("بالعالم", [8]),
    ("*", []),
    ("'\"\\%_() AND | & ! : +-<>~@", []),
    ('" OR 1=1 --', []),
    ("NOT the", []),
    ("\ue000", []),
)
"""What is looked for, and the sentences that have it."""


async def test_words_of_any_script_are_found(spoken: Callable[..., Any]) -> None:
    for words, found in WORDS:
        assert await spoken(words) == list(found), words
        assert await spoken(words, None) == list(found), words
        assert await spoken(words, "bob") == [], words


async def test_a_very_long_transcript_is_stored_and_found(store: TaskStore) -> None:
    chance = random.Random(1)
    letters = [chr(0x4E00 + at) for at in range(8_000)]
    pieces = ["".join(chance.choices(letters, k=1_000)) for _ in range(200)]
    await store.create([new()])
    [task] = await store.claim("node_1", 1)
    task = await started(store, task)
    await advance(store, task, said(*pieces))
    await store.finish(task, TaskStatus.SUCCEEDED)
    assert (await store.list(TaskQuery(text=pieces[0][:30]))).total == 1
    assert len((await store.result(task.id, None)).segments) == 200
    await store.delete(task.id, None)
