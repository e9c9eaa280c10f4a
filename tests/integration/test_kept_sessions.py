"""A live session that is kept is a task like any other."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from kikitori.live.events import EndReason, Final
from kikitori.media.store import MediaStore
from kikitori.store.database import Database
from kikitori.store.kept import KeptTexts
from kikitori.store.task_queries import TaskQuery
from kikitori.store.task_records import TaskStatus
from kikitori.store.tasks import TaskStore
from kikitori.tasks.recorder import LiveRecorder
from kikitori.types import SAMPLE_RATE, Word

SECOND = np.full(SAMPLE_RATE, 0.25, np.float32)


def final(number: int, text: str) -> Final:
    start = 2 * number
    words = tuple(
        Word(word=f" {word}", start=start + 0.1 * at, end=start + 0.1 * at + 0.1, probability=0.9)
        for at, word in enumerate(text.split())
    )
    samples = (start * SAMPLE_RATE, (start + 1) * SAMPLE_RATE)
    return Final(
        utterance=number + 1, text=text, stable="", start=samples[0], end=samples[1], reason=EndReason.PAUSE,
        language="en", words=words,
    )  # fmt: skip


def recorder(database: Database, media: MediaStore) -> LiveRecorder:
    options = {"language": "en"}
    return LiveRecorder(KeptTexts(database), media, owner="ann", model="small", engine="whisper", options=options)


async def test_audio_and_text_are_found_among_the_tasks(store: TaskStore, database: Database, tmp_path: Path) -> None:
    media = MediaStore("", tmp_path)
    kept = recorder(database, media)
    for number, text in enumerate(["The birch canoe", "slid on the smooth planks."]):
        kept.add(SECOND)
        kept.add(SECOND)
        kept.hear(final(number, text))
    await kept.close(keep=True)
    result = await store.result(kept.task_id, "ann")
    task = result.task
    assert (task.status, task.duration, task.language, task.platform) == (TaskStatus.SUCCEEDED, 4.0, "en", "live")
    assert [segment.text for segment in result.segments] == [" The birch canoe", " slid on the smooth planks."]
    assert [segment.id for segment in result.segments] == [0, 1]
    assert result.segments[1].words and result.segments[1].words[0].start == 2.0
    assert [found.id for found in (await store.list(TaskQuery(owner="ann", text="canoe"))).tasks] == [task.id]
    assert task.media_key
    async with media.local(task.media_key) as path:
        with wave.open(str(path)) as audio:
            assert audio.getnframes() == 4 * SAMPLE_RATE
            assert np.frombuffer(audio.readframes(10), "<i2") == pytest.approx(0.25 * 32_767, abs=1)
    assert not list(media.temporary.glob("media-*"))


async def test_what_is_not_wanted_leaves_nothing(store: TaskStore, database: Database, tmp_path: Path) -> None:
    media = MediaStore("", tmp_path)
    kept = recorder(database, media)
    kept.add(SECOND)
    await kept.close(keep=False)
    assert not (await store.list(TaskQuery(owner=None))).tasks
    assert not await media.keys()
    assert not list(media.temporary.glob("media-*"))


async def test_a_disk_that_is_full_ends_the_recording_alone(
    store: TaskStore, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = recorder(database, MediaStore("", tmp_path))
    kept.add(SECOND)

    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept._file, "writeframesraw", full)
    kept.add(SECOND)
    kept.add(SECOND)
    kept.hear(final(0, "Still heard."))
    monkeypatch.undo()
    await kept.close(keep=True)
    assert [segment.text for segment in (await store.result(kept.task_id, "ann")).segments] == [" Still heard."]
