"""A node's parts on a real SQLite database; only the transcriber and the fetching of links are played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from tests.databases import migrated_sqlite

from kikitori.errors import KikitoriError
from kikitori.media.fetch import Fetcher
from kikitori.media.sites import Fetched, Playlist
from kikitori.media.store import MediaStore
from kikitori.pipeline.events import Progress, ResumePoint, SegmentDone
from kikitori.store.cleaning import Cleaning
from kikitori.store.database import Database
from kikitori.store.nodes import NodeStore
from kikitori.store.task_records import NewTask, TaskRecord, new_id
from kikitori.store.tasks import TaskStore
from kikitori.tasks.changes import Changes
from kikitori.tasks.cluster import HEARTBEAT_SECONDS, this_node
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.execution import Workplace
from kikitori.tasks.retention import Retention
from kikitori.tasks.runner import TaskRunner
from kikitori.testing import FakeTranscriber, Step, fake_transcript, script_of

MARK = "0123abcd"
TEXTS = (" The birch canoe", " slid on", " the smooth planks.")


def progress(segments: int, *, of: int = len(TEXTS)) -> Progress:
    """``segments`` of one second each are done, and the run can be resumed there."""
    point = ResumePoint(seconds=float(segments), segments=segments, language="en", language_probability=1.0)
    return Progress(seconds_done=float(segments), duration=float(of), resume=point)


def script(*texts: str) -> list[Step]:
    """Begun, Started, each segment with its progress, Finished."""
    steps: list[Step] = []
    for step in script_of(fake_transcript(*(texts or TEXTS))):
        if isinstance(step, Progress):
            continue
        steps.append(step)
        if isinstance(step, SegmentDone):
            steps.append(progress(step.segment.id + 1))
    return steps


class FakeFetcher:
    """Links lead to what the test says: bytes, a playlist, or an error."""

    def __init__(self) -> None:
        self.finds: dict[str, bytes | Playlist | KikitoriError] = {}
        self.fails: list[KikitoriError] = []
        """Raised by the next calls, one each."""
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, text: str, folder: Path) -> Fetched | Playlist:
        await self.gate.wait()
        if self.fails:
            raise self.fails.pop()
        found = self.finds.get(text, b"sound")
        if isinstance(found, KikitoriError):
            raise found
        if isinstance(found, Playlist):
            return found
        path = folder / f"fetched-{new_id('f')}.mp3"
        await asyncio.to_thread(_write, path, found)
        return Fetched(path=path, size_bytes=len(found), file_name="talk.mp3", details={"title": "A talk"})


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@dataclass(slots=True)
class Workshop:
    database: Database
    store: TaskStore
    nodes: NodeStore
    cleaning: Cleaning
    media: MediaStore
    fetcher: FakeFetcher
    transcriber: FakeTranscriber
    changes: Changes
    desk: TaskDesk
    folder: Path
    ended: list[str] = field(default_factory=list)

    def workplace(self, *, slots: int = 2, transcriber: object = None, max_queued: int = 0) -> Workplace:
        return Workplace(
            store=self.store,
            media=self.media,
            fetcher=cast(Fetcher, self.fetcher),
            transcriber=cast(Any, transcriber or self.transcriber),
            changes=self.changes,
            folder=self.media.temporary,
            places=asyncio.Semaphore(slots),
            max_queued=max_queued,
            on_end=lambda: self.ended.append("end"),
        )

    def runner(
        self, *, slots: int = 2, transcriber: object = None, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> TaskRunner:
        """A test that waits for heartbeats has quick ones; in any other no busy machine shall miss one."""
        node = this_node(slots=slots, media_url="here")
        place = self.workplace(slots=slots, transcriber=transcriber)
        runner = TaskRunner(node, place, self.nodes, heartbeat_seconds=heartbeat_seconds)
        self.desk = TaskDesk(self.store, self.media, changes=self.changes, on_new=runner.wake, on_cancel=runner.cancel)
        return runner

    async def upload(self, **fields: Any) -> TaskRecord:
        """A task with a recording in the store."""
        id = new_id("task")
        path = self.folder / id
        await asyncio.to_thread(_write, path, b"sound")
        key = await self.media.save(path, task_id=id, suffix=".wav")
        (task,) = await self.desk.submit([NewTask(id=id, media_key=key, **fields)])
        return task

    async def link(self, url: str = "https://example.org/talk.mp3", **fields: Any) -> TaskRecord:
        (task,) = await self.desk.submit([NewTask(id=new_id("task"), url=url, **fields)])
        return task

    def retention(self, *, media_days: float = 0.0, task_days: float = 0.0, now: Callable[[], datetime]) -> Retention:
        return Retention(self.cleaning, self.media, self.nodes, media_days=media_days, task_days=task_days, now=now)

    async def claim(self) -> TaskRecord:
        (task,) = await self.store.claim("node_1", 1)
        return task

    async def until(self, task: TaskRecord, condition: Callable[[TaskRecord], object]) -> TaskRecord:
        """The task as soon as ``condition`` holds for it."""
        async with asyncio.timeout(60):
            while not condition(found := await self.store.get(task.id, None)):
                await self.changes.wait(task.id, 0.02)
        return found

    async def ended_task(self, task: TaskRecord) -> TaskRecord:
        return await self.until(task, lambda found: found.status.is_final)

    async def text(self, task: TaskRecord) -> str:
        result = await self.store.result(task.id, None)
        assert [segment.id for segment in result.segments] == list(range(len(result.segments)))
        return "".join(segment.text for segment in result.segments)


@asynccontextmanager
async def open_workshop(folder: Path, *steps: Step) -> AsyncIterator[Workshop]:
    async with Database(await migrated_sqlite(folder / "tasks.db")) as database:
        store, media, changes = TaskStore(database), MediaStore("", folder, mark=MARK), Changes()
        yield Workshop(
            database=database,
            store=store,
            nodes=NodeStore(database),
            cleaning=Cleaning(database),
            media=media,
            fetcher=FakeFetcher(),
            transcriber=FakeTranscriber(steps or script()),
            changes=changes,
            desk=TaskDesk(store, media, changes=changes),
            folder=folder,
        )


def at_point(segments: int) -> list[Step]:
    """What is left of the script when it is resumed after ``segments``."""
    steps = script()
    first, last = steps[0], steps[-1]
    rest = [step for step in steps[1:-1] if not _is_before(step, segments)]
    return [first, *rest, last]


def _is_before(step: Step, segments: int) -> bool:
    if isinstance(step, SegmentDone):
        return step.segment.id < segments
    return isinstance(step, Progress) and step.resume is not None and step.resume.segments <= segments
