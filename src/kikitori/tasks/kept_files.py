"""Recordings that were transcribed while somebody looked on, kept as tasks that have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

from kikitori.errors import KikitoriError
from kikitori.media.store import MediaStore
from kikitori.store.kept import KeptTexts, Outcome
from kikitori.store.task_records import NewTask, TaskStatus, new_id
from kikitori.tasks.failures import failure
from kikitori.types import DecodeMode, Segment, Task

PLATFORM = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardFile:
    """A recording and what is known of it in the end."""

    path: Path
    size_bytes: int
    file_name: str
    task_type: Task
    options: Mapping[str, Any]
    """The decode options that were asked for, as JSON values."""
    model: str
    engine: str = ""
    mode: str = DecodeMode.WINDOWED.value
    began: datetime
    status: TaskStatus
    error: KikitoriError | None = None
    segments: Sequence[Segment] = ()
    duration: float = 0.0
    """Seconds."""
    seconds_done: float = 0.0
    language: str = ""
    language_probability: float = 0.0


class FileKeeper:
    """Moves recordings to the media store, and writes what was heard as a task."""

    def __init__(self, texts: KeptTexts, media: MediaStore) -> None:
        self._texts, self._media = texts, media

    async def keep(self, heard: HeardFile, *, owner: str) -> str:
        """The id of the task; the file is no longer where it was. Raises NoSpace, Unavailable, InvalidOption."""
        task_id = new_id("task")
        key = await self._media.save(heard.path, task_id=task_id, suffix=PurePath(heard.file_name).suffix)
        try:
            await self._texts.keep(
                NewTask(
                    id=task_id,
                    owner=owner,
                    task_type=heard.task_type,
                    media_key=key,
                    media_bytes=heard.size_bytes,
                    file_name=heard.file_name,
                    model=heard.model,
                    options=heard.options,
                    platform=PLATFORM,
                ),
                Outcome(
                    segments=heard.segments,
                    duration=heard.duration,
                    language=heard.language,
                    language_probability=heard.language_probability,
                    engine=heard.engine,
                    mode=heard.mode,
                    started_at=heard.began,
                    status=heard.status,
                    error=failure(heard.error) if heard.error else None,
                    seconds_done=heard.seconds_done,
                ),
            )
        except BaseException:  # also a cancellation: no task holds the recording then
            await self._media.delete(key)
            raise
        return task_id
