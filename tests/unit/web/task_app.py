"""An application whose tasks are real, in SQLite; the test plays the node that works on them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from tests.databases import migrated_sqlite

from kikitori.media.store import MediaStore
from kikitori.services.parts import Services
from kikitori.store.answers import AnswerStore
from kikitori.store.database import Database
from kikitori.store.keys import ApiKey, Scope
from kikitori.store.task_records import Checkpoint, TaskError, TaskRecord, TaskStatus
from kikitori.store.tasks import TaskStore
from kikitori.tasks.desk import TaskDesk
from kikitori.testing import FakeTranscriber, fake_segments
from kikitori.types import Segment
from kikitori.web.app import create_app

LINK = "https://example.org/talk.mp3"
NODE = "node_1"
RESULT_TEXTS = (" The birch canoe", " slid on", " the smooth planks.")


class OwnersByKey:
    """A key is called like its owner: ``ann``, ``bob``; ``root`` may do everything, ``models`` nothing with tasks."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()

    scopes: Mapping[str, Scope] = {"root": Scope.ADMIN, "models": Scope.MODELS}

    async def any(self) -> bool:
        return True

    async def verify(self, secret: str) -> ApiKey | None:
        if secret not in ("ann", "bob", *self.scopes) or secret in self.revoked:
            return None
        scope = self.scopes.get(secret, Scope.TRANSCRIBE)
        made = datetime(2026, 1, 1, tzinfo=UTC)
        return ApiKey(id=1, name=secret, owner=secret, scopes=frozenset({scope}), prefix="kk_", created_at=made)


@dataclass(slots=True, kw_only=True)
class TaskApp:
    services: Services
    store: TaskStore
    client: httpx.AsyncClient

    @property
    def desk(self) -> TaskDesk:
        return self.services.tasks

    @property
    def transcriber(self) -> FakeTranscriber:
        assert isinstance(self.services.transcriber, FakeTranscriber)
        return self.services.transcriber

    @property
    def data_dir(self) -> Path:
        return self.services.settings.data_dir

    def media(self) -> list[Path]:
        """Recordings in the media store."""
        return [path for path in (self.data_dir / "media").glob("*/*") if path.is_file()]

    def arriving(self) -> list[Path]:
        """Uploads that are still where they were received."""
        return [path for path in (self.data_dir / "tmp").glob("*") if path.is_file()]

    async def make(self, **fields: Any) -> dict[str, Any]:
        """A task of the client's owner."""
        answer = await self.client.post("/api/tasks", json={"url": LINK, **fields})
        assert answer.status_code == 201, answer.text
        task: dict[str, Any] = answer.json()
        return task

    # As a node

    async def begin(self, *, duration: float = 3.0) -> TaskRecord:
        """Claim the next task and start to decode it."""
        [task] = await self.store.claim(NODE, 1)
        return await self.store.started(task, duration=duration, model="fake", engine="fake", mode="windowed")

    async def say(self, task: TaskRecord, segments: Sequence[Segment], *, checkpoint: bool = True) -> None:
        done = segments[-1].end if segments else task.seconds_done
        point = Checkpoint(seconds=done, segments=segments[-1].id + 1) if checkpoint and segments else None
        await self.store.advance(
            task,
            segments=segments,
            seconds_done=done,
            duration=task.duration,
            checkpoint=point,
            language=("en", 0.9),
        )
        self.desk.changes.tell(task.id)

    async def end(
        self, task: TaskRecord, status: TaskStatus = TaskStatus.SUCCEEDED, error: TaskError | None = None
    ) -> None:
        await self.store.finish(task, status, error=error)
        self.desk.changes.tell(task.id)

    async def run(self, *texts: str) -> TaskRecord:
        """The next task, from its beginning to its end."""
        segments = fake_segments(*(texts or RESULT_TEXTS))
        task = await self.begin(duration=float(len(segments)))
        await self.say(task, segments)
        await self.end(task)
        return task


@asynccontextmanager
async def task_app(
    make_services: Callable[..., Services], data_dir: Path, *, key: str = "", max_queued: int = 0, **settings: Any
) -> AsyncGenerator[TaskApp, None]:
    """``key``: whose client it is; without one the server has no keys."""
    async with Database(await migrated_sqlite(data_dir / "tasks.db")) as database:
        store = TaskStore(database)
        desk = TaskDesk(store, MediaStore("", data_dir), max_queued=max_queued)
        services = make_services(
            keys=OwnersByKey() if key else None, parts={"tasks": desk, "answers": AnswerStore(database)}, **settings
        )
        transport = httpx.ASGITransport(app=create_app(services))
        headers = {"x-api-key": key} if key else {}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            yield TaskApp(services=services, store=store, client=client)
