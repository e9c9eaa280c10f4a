"""The database alone: how fast tasks are stored, and how long a page of a list takes among a million."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import psycopg
from sqlalchemy import insert, text

from benchmarks import machine
from benchmarks.report import Table
from benchmarks.setup import Setup
from benchmarks.tasks import database_of
from kikitori.store.database import Database
from kikitori.store.search import owner_term, terms_of
from kikitori.store.tables import task_tags, tasks
from kikitori.store.task_queries import TaskQuery, TaskSort
from kikitori.store.task_records import NewTask, TaskPriority, TaskStatus, new_id
from kikitori.store.task_rows import new_row
from kikitori.store.tasks import TaskStore
from kikitori.tasks.gathering import Gatherer

DATABASES = ("SQLite", "PostgreSQL")
CREATED = 5_000
CALLERS = 64
STORED = 1_000_000
BATCH = 5_000
PAGES = 40
TEXTS = 2_000
WORDS = 40
INSERT_HEARD = "INSERT INTO transcripts (task, text, terms) VALUES (:task, :text"
START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=5)

OWNERS = [f"owner {number}" for number in range(20)]
STATUSES = {
    TaskStatus.SUCCEEDED: 92.0,
    TaskStatus.FAILED: 4.0,
    TaskStatus.CANCELLED: 2.5,
    TaskStatus.QUEUED: 1.0,
    TaskStatus.EXPIRED: 0.5,
}
PRIORITIES = {TaskPriority.NORMAL: 90.0, TaskPriority.LOW: 9.0, TaskPriority.HIGH: 1.0}
LANGUAGES = {"en": 60.0, "ja": 30.0, "ko": 9.9, "is": 0.1}
ENGINES = {"whisper": 99.0, "pocketsphinx": 1.0}
MODELS = {"small": 80.0, "large-v3": 19.9, "tiny": 0.1}
PLATFORMS = {"": 90.0, "tiktok": 9.9, "douyin": 0.1}
TAGS = {"meeting": 70.0, "interview": 29.9, "court": 0.1}


def measure(setup: Setup) -> list[Table]:
    about = machine.describe(setup.model_name, setup.device)
    created: list[tuple[str, ...]] = []
    listed: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in DATABASES:
            with database_of(kind) as url:
                rates = asyncio.run(_creation(url or f"sqlite:///{folder}/created.db"))
                created += [(how, kind, f"{rate:,.0f}") for how, rate in rates.items()]
            with database_of(kind) as url:
                for what, seconds in asyncio.run(_lists(url or f"sqlite:///{folder}/filled.db")).items():
                    listed.setdefault(what, {})[kind] = seconds
    command = "python -m benchmarks store"
    return [
        Table(
            name="store-creation",
            title="Storing tasks",
            command=command,
            machine=about,
            columns=("how", "database", "tasks a second"),
            rows=created,
            notes=["One process, without HTTP. Every task is committed before its caller goes on."],
        ),
        Table(
            name="store-lists",
            title=f"A page of a list among {STORED:,} tasks",
            command=command,
            machine=about,
            columns=("filter", *(f"{kind}, p95" for kind in DATABASES)),
            rows=[(what, *(f"{1_000 * found[kind]:.1f} ms" for kind in DATABASES)) for what, found in listed.items()],
            notes=[
                f"Pages of 50 with their total (exact up to 10,000; of words in PostgreSQL, up to 1,000). p95 of "
                f"{PAGES} pages: of all owners and of one, first pages and later ones.",
                f"{len(OWNERS)} owners; rare values are in 0.1 to 1 of 100 tasks; {WORDS} words a transcript.",
            ],
        ),
    ]


async def _creation(url: str) -> dict[str, float]:
    async with Database(url) as database:
        await database.upgrade()
        store = TaskStore(database)
        gather = Gatherer(store.create)
        left = iter(range(CREATED))

        async def caller(number: int) -> None:
            for _ in left:
                await gather([_new(OWNERS[number % len(OWNERS)])])

        started = time.perf_counter()
        await asyncio.gather(*map(caller, range(CALLERS)))
        one_by_one = CREATED / (time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(CREATED // 500):
            await store.create([_new(OWNERS[0]) for _ in range(500)])
        return {
            f"one by one, {CALLERS} callers at once": one_by_one,
            "500 at a time": CREATED / (time.perf_counter() - started),
        }


def _new(owner: str) -> NewTask:
    return NewTask(id=new_id("task"), owner=owner, url="https://example.org/talk.mp3", tags=("benchmark",))


async def _lists(url: str) -> dict[str, float]:
    async with Database(url) as database:
        await database.upgrade()
        await _fill(database)
        if url.startswith("postgresql"):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")  # as the server does by itself within minutes
        store = TaskStore(database)
        return {what: await _p95(store, filters) for what, filters in _filters().items()}


def _filters() -> dict[str, dict[str, Any]]:
    late, early = START + STEP * (STORED * 99 // 100), START + STEP * (STORED // 100)
    found: dict[str, dict[str, Any]] = {
        "none": {},
        "status, most": {"statuses": (TaskStatus.SUCCEEDED,)},
        "status, two rare ones": {"statuses": (TaskStatus.FAILED, TaskStatus.EXPIRED)},
        "priority, most": {"priorities": (TaskPriority.NORMAL,)},
        "priority, rare": {"priorities": (TaskPriority.HIGH,)},
        "language, rare": {"language": "is"},
        "engine, rare": {"engine": "pocketsphinx"},
        "model, rare": {"model": "tiny"},
        "platform, rare": {"platform": "douyin"},
        "tag, most": {"tag": "meeting"},
        "tag, rare": {"tag": "court"},
        "with an error": {"has_error": True},
        "without an error": {"has_error": False},
        "created lately": {"created_after": late},
        "created long ago": {"created_before": early},
        "finished lately": {"finished_after": late},
        "finished long ago": {"finished_before": early},
        "finished, but for the first ones": {"finished_after": early},
        "a word of most transcripts": {"text": "the"},
        "a word of few": {"text": "w1987"},
        "a stretch of Japanese": {"text": "会議"},
    }
    return found | {f"none, by {sort.replace('_', ' ')}": {"sort": sort} for sort in TaskSort if sort != "created_at"}


async def _p95(store: TaskStore, filters: dict[str, Any]) -> float:
    times: list[float] = []
    for owner in (None, OWNERS[0]):
        cursor: str | None = None
        for _ in range(PAGES // 2):
            started = time.perf_counter()
            page = await store.list(TaskQuery(owner=owner, cursor=cursor, **filters))
            times.append(time.perf_counter() - started)
            cursor = page.next
    return sorted(times)[int(0.95 * len(times))]


async def _fill(database: Database) -> None:
    """Rows as tasks would have left them, without taking each through its life."""
    chance = random.Random(1)
    spoken = [_spoken(chance) for _ in range(TEXTS)]
    for first in range(0, STORED, BATCH):
        rows = [_row(number, chance) for number in range(first + 1, first + BATCH + 1)]
        tags = [{"tag": _one_of(TAGS, chance), "task": row["number"], "owner": row["owner"]} for row in rows]
        words = [{"task": row["number"], **_heard(row["owner"], chance.choice(spoken))} for row in rows]
        async with database.write() as connection:
            await connection.execute(insert(tasks), rows)
            await connection.execute(insert(task_tags), tags)
            if connection.dialect.name == "postgresql":
                await connection.execute(text(f"{INSERT_HEARD}, array_to_tsvector(:terms))"), words)
            else:
                joined = [{**entry, "terms": " ".join(entry["terms"])} for entry in words]
                await connection.execute(text(f"{INSERT_HEARD}, :terms)"), joined)


def _row(number: int, chance: random.Random) -> dict[str, Any]:
    created = START + STEP * number
    status = _one_of(STATUSES, chance)
    rank = number if status is TaskStatus.QUEUED else None
    row = new_row(
        NewTask(
            id=new_id("task", seconds=created.timestamp()),
            owner=chance.choice(OWNERS),
            priority=_one_of(PRIORITIES, chance),
            url="https://example.org/talk.mp3",
            model=_one_of(MODELS, chance),
            platform=_one_of(PLATFORMS, chance),
        ),
        now=created,
        rank=0,
    )
    ended = created + timedelta(seconds=chance.uniform(1, 7_200))
    return row | {
        "number": number,
        "status": status.value,
        "rank": rank,
        "language": _one_of(LANGUAGES, chance),
        "engine": _one_of(ENGINES, chance),
        "finished_at": None if rank else ended,
        "duration": None if rank else chance.uniform(1, 3_600),
    }


def _spoken(chance: random.Random) -> str:
    """Words as often as in languages: a few in most texts, most in a few."""
    words = [f"w{int(chance.paretovariate(0.4)) % 2_000}" for _ in range(WORDS)]
    return " ".join(["the", *words, chance.choice(["会議を始めます", "天気は晴れです", "東京都の図書館"])])


def _heard(owner: str, spoken: str) -> dict[str, Any]:
    return {"text": spoken, "terms": [owner_term(owner), *_terms(spoken)]}


@cache
def _terms(spoken: str) -> list[str]:
    return terms_of(spoken, "")[1:]


def _one_of(shares: dict[Any, float], chance: random.Random) -> Any:
    return chance.choices(list(shares), weights=list(shares.values()))[0]
