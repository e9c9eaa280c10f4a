"""Recordings of file sockets that are kept are tasks like any other."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kikitori.errors import InvalidMedia, InvalidOption, KikitoriError, ModelLoadFailed
from kikitori.media.store import MediaStore
from kikitori.store.database import Database
from kikitori.store.kept import KeptTexts
from kikitori.store.task_queries import TaskQuery
from kikitori.store.task_records import TaskStatus
from kikitori.store.tasks import TaskStore
from kikitori.tasks.kept_files import FileKeeper, HeardFile
from kikitori.testing import fake_segments
from kikitori.types import Task


def heard(tmp_path: Path, status: TaskStatus, *, model: str = "small", error: KikitoriError | None = None) -> HeardFile:
    path = tmp_path / "upload"
    path.write_bytes(b"RIFF")
    return HeardFile(
        path=path,
        size_bytes=4,
        file_name="会議.WAV",
        task_type=Task.TRANSLATE,
        options={"beam_size": 3},
        model=model,
        engine="whisper",
        began=datetime(2026, 1, 1, tzinfo=UTC),
        status=status,
        error=error,
        segments=fake_segments(" The birch canoe", " slid on."),
        duration=10.0,
        seconds_done=2.0 if status is not TaskStatus.SUCCEEDED else 10.0,
        language="en",
        language_probability=0.9,
    )


async def test_text_and_recording_are_found_among_the_tasks(
    store: TaskStore, database: Database, tmp_path: Path
) -> None:
    media = MediaStore("", tmp_path / "data")
    task_id = await FileKeeper(KeptTexts(database), media).keep(heard(tmp_path, TaskStatus.SUCCEEDED), owner="ann")
    result = await store.result(task_id, "ann")
    task = result.task
    assert (task.status, task.progress, task.platform, task.file_name) == (
        TaskStatus.SUCCEEDED, 100.0, "file", "会議.WAV",
    )  # fmt: skip
    assert (task.task_type, dict(task.options), task.duration) == (Task.TRANSLATE, {"beam_size": 3}, 10.0)
    assert [segment.text for segment in result.segments] == [" The birch canoe", " slid on."]
    assert [found.id for found in (await store.list(TaskQuery(owner="ann", text="canoe"))).tasks] == [task_id]
    assert not (await store.list(TaskQuery(owner="bob"))).tasks
    assert task.media_key and task.media_key.endswith(".wav")
    async with media.local(task.media_key) as path:
        assert path.read_bytes() == b"RIFF"
    assert not (tmp_path / "upload").exists()


async def test_what_was_stopped_has_its_text_so_far_and_can_be_done_again(
    store: TaskStore, database: Database, tmp_path: Path
) -> None:
    keeper = FileKeeper(KeptTexts(database), MediaStore("", tmp_path / "data"))
    task_id = await keeper.keep(heard(tmp_path, TaskStatus.CANCELLED), owner="ann")
    task = await store.get(task_id, "ann")
    assert (task.status, task.progress) == (TaskStatus.CANCELLED, 20.0)
    assert (await store.retry(task_id, "ann")).status is TaskStatus.QUEUED


async def test_what_failed_says_why(store: TaskStore, database: Database, tmp_path: Path) -> None:
    keeper = FileKeeper(KeptTexts(database), MediaStore("", tmp_path / "data"))
    failed = heard(tmp_path, TaskStatus.FAILED, error=InvalidMedia("It is damaged."))
    task = await store.get(await keeper.keep(failed, owner="ann"), "ann")
    assert task.error and task.error.message == "It is damaged."


async def test_what_failed_does_not_say_where_the_server_keeps_things(
    store: TaskStore, database: Database, tmp_path: Path
) -> None:
    keeper = FileKeeper(KeptTexts(database), MediaStore("", tmp_path / "data"))
    error = ModelLoadFailed(f"{tmp_path} is broken.", model="small", place=str(tmp_path))
    failed = heard(tmp_path, TaskStatus.FAILED, error=error)
    task = await store.get(await keeper.keep(failed, owner="ann"), "ann")
    assert task.error and task.error.message == "small is broken."


async def test_what_no_row_can_hold_leaves_no_recording(store: TaskStore, database: Database, tmp_path: Path) -> None:
    media = MediaStore("", tmp_path / "data")
    with pytest.raises(InvalidOption):
        await FileKeeper(KeptTexts(database), media).keep(
            heard(tmp_path, TaskStatus.SUCCEEDED, model="m" * 300), owner="ann"
        )
    assert await media.keys() == []
