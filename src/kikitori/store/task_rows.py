"""Rows of the tables as facts, and facts as rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row

from kikitori.errors import InvalidOption
from kikitori.store.task_records import (
    Checkpoint,
    NewTask,
    TaskError,
    TaskEvent,
    TaskPriority,
    TaskRecord,
    TaskStatus,
)
from kikitori.types import Segment, Task, Word

PRIORITY_NUMBERS = {TaskPriority.LOW: 0, TaskPriority.NORMAL: 1, TaskPriority.HIGH: 2}
PRIORITIES = {number: priority for priority, number in PRIORITY_NUMBERS.items()}

MAX_FILE_NAME = 500
LENGTHS = {
    "id": 40,
    "owner": 200,
    "url": 10_000,
    "media_key": 500,
    "media_hash": 64,
    "model": 200,
    "platform": 100,
    "callback_url": 10_000,
    "idempotency_key": 200,
    "parent": 40,
}
MAX_TAG = 100
MAX_HOST = 255
ASKED_MODEL = "model"
"""Beside the decode options that were asked for, none of which is called so: the column tells what ran."""


def check_task(task: NewTask) -> None:
    """Raises InvalidOption for what no row can hold."""
    for name, most in LENGTHS.items():
        _check_text(name, getattr(task, name), most)
    for tag in task.tags:
        _check_text("tags", tag, MAX_TAG)
    for name, value in (
        ("owner", task.owner),
        ("idempotency_key", task.idempotency_key or ""),
        *(("tags", tag) for tag in task.tags),
    ):
        # MySQL takes two that differ in this alone for the same.
        if value != value.strip():
            raise InvalidOption(name, value, "text without space at its ends")


def new_row(task: NewTask, *, now: datetime, rank: int) -> dict[str, Any]:
    return {
        "id": task.id,
        "owner": task.owner,
        "status": TaskStatus.QUEUED.value,
        "priority": PRIORITY_NUMBERS[task.priority],
        "task_type": task.task_type.value,
        "url": task.url,
        "media_key": task.media_key,
        "media_bytes": task.media_bytes,
        "media_hash": task.media_hash,
        "fetched": task.media_key is not None,
        "file_name": storable(task.file_name)[:MAX_FILE_NAME],
        "model": task.model,
        "engine": "",
        "mode": "",
        "options": {**task.options, ASKED_MODEL: task.model},
        "formats": list(task.formats),
        "tags": list(task.tags),
        "platform": task.platform,
        "details": dict(task.details),
        "callback_url": task.callback_url,
        "idempotency_key": task.idempotency_key,
        "parent": task.parent,
        "created_at": now,
        "expires_at": task.expires_at,
        "seconds_done": 0.0,
        "language": "",
        "language_probability": 0.0,
        "attempts": 0,
        "cancel_requested": False,
        "rank": rank,
        "queued_at": now,
    }


def new_record(task: NewTask, *, now: datetime) -> TaskRecord:
    """What ``new_row`` stores."""
    asked: dict[str, Any] = {field.name: getattr(task, field.name) for field in fields(NewTask)}
    asked["file_name"] = storable(task.file_name)[:MAX_FILE_NAME]
    return TaskRecord(**asked, status=TaskStatus.QUEUED, created_at=now, asked_model=task.model)


def asked_model(row: Row[Any]) -> str:
    """The model that the caller of the task in ``row`` wants."""
    return str(row.options.get(ASKED_MODEL, row.model))


def record_of(row: Row[Any]) -> TaskRecord:
    return TaskRecord(
        id=row.id,
        owner=row.owner,
        priority=PRIORITIES[row.priority],
        task_type=Task(row.task_type),
        url=row.url,
        media_key=row.media_key,
        media_bytes=row.media_bytes,
        media_hash=row.media_hash,
        file_name=row.file_name,
        model=row.model,
        asked_model=asked_model(row),
        options={name: value for name, value in row.options.items() if name != ASKED_MODEL},
        formats=tuple(row.formats),
        tags=tuple(row.tags),
        platform=row.platform,
        callback_url=row.callback_url,
        idempotency_key=row.idempotency_key,
        expires_at=row.expires_at,
        details=row.details,
        parent=row.parent,
        status=TaskStatus(row.status),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        duration=row.duration,
        seconds_done=row.seconds_done,
        language=row.language,
        language_probability=row.language_probability,
        engine=row.engine,
        mode=row.mode,
        attempts=row.attempts,
        node=row.node,
        cancel_requested=bool(row.cancel_requested),
        error=TaskError(**row.error) if row.error else None,
        checkpoint=Checkpoint(**row.checkpoint) if row.checkpoint else None,
    )


def tag_rows(task: NewTask, number: int) -> list[dict[str, Any]]:
    return [{"tag": tag, "task": number, "owner": task.owner} for tag in dict.fromkeys(task.tags)]


def error_row(error: TaskError | None) -> dict[str, str] | None:
    return None if error is None else asdict(error)


def checkpoint_row(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    return None if checkpoint is None else asdict(checkpoint)


def segment_row(number: int, segment: Segment) -> dict[str, Any]:
    rest: dict[str, Any] = {
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
    }
    if segment.tokens:
        rest["tokens"] = segment.tokens
    if segment.speaker is not None:
        rest["speaker"] = segment.speaker
    if segment.words is not None:
        rest["words"] = [(word.word, word.start, word.end, word.probability) for word in segment.words]
    return {
        "task": number,
        "id": segment.id,
        "start": segment.start,
        "end": segment.end,
        "text": storable(segment.text),
        "rest": rest,
    }


def segment_of(row: Row[Any]) -> Segment:
    rest = dict(row.rest)
    words = rest.pop("words", None)
    return Segment(
        id=row.id,
        start=row.start,
        end=row.end,
        text=row.text,
        tokens=tuple(rest.pop("tokens", ())),
        words=None if words is None else tuple(_word(*values) for values in words),
        **rest,
    )


def event_of(row: Row[Any], task_id: str) -> TaskEvent:
    return TaskEvent(id=row.id, task_id=task_id, type=row.type, data=row.data, created_at=row.created_at)


def event_row(number: int, type: str, data: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    return {"task": number, "type": type, "data": dict(data), "created_at": now}


def host_of(url: str) -> str:
    """The host that a callback goes to, to tell receivers apart; empty for what is no address."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")[:MAX_HOST]
    except ValueError:
        return ""


def storable(text: str) -> str:
    """Without what databases refuse: NUL and halves of characters."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _word(word: str, start: float, end: float, probability: float) -> Word:
    return Word(word=word, start=start, end=end, probability=probability)


def _check_text(name: str, value: str | None, most: int) -> None:
    if value is not None and (len(value) > most or storable(value) != value):
        raise InvalidOption(name, value, f"text of up to {most} characters")
