"""A task, its result and its events as JSON: the same for the API, streams and callbacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from kikitori.store.task_records import Callback, CallbackAttempt, TaskRecord, TaskResult, TaskStatus
from kikitori.text.durations import finite
from kikitori.types import Segment, Word, join_text


def task_json(task: TaskRecord, *, queue_position: int | None = None, now: datetime | None = None) -> dict[str, Any]:
    """Everything that its owner may know of a task; ``now`` is what a running one is measured by."""
    begun_at = None if task.status is TaskStatus.QUEUED else task.started_at  # a node may have had it before
    work_seconds = _seconds_between(begun_at, task.finished_at or now or datetime.now(UTC))
    speed = _speed(task, work_seconds)
    return {
        "id": task.id,
        "status": task.status.value,
        "progress": task.progress,
        "priority": task.priority.value,
        "task_type": task.task_type.value,
        "url": task.url,
        "file_name": task.file_name,
        "options": dict(task.options),
        "formats": list(task.formats),
        "tags": list(task.tags),
        "platform": task.platform,
        "details": dict(task.details),
        "parent": task.parent,
        "created_at": time_json(task.created_at),
        "started_at": time_json(task.started_at),
        "finished_at": time_json(task.finished_at),
        "expires_at": time_json(task.expires_at),
        "timings": {
            "queue_seconds": _rounded(_seconds_between(task.created_at, begun_at)),
            "work_seconds": _rounded(work_seconds),
        },
        "duration": _rounded(task.duration),
        "seconds_done": _rounded(task.seconds_done),
        "speed": _rounded(speed),
        "eta_seconds": _rounded(_eta(task, speed)),
        "language": task.language,
        "language_probability": _rounded(task.language_probability),
        "model": task.model,
        "engine": task.engine,
        "mode": task.mode,
        "attempts": task.attempts,
        "node": task.node,
        "queue_position": queue_position,
        "cancel_requested": task.cancel_requested,
        "error": _error_json(task),
        "callback_url": task.callback_url,
        "owner": task.owner,
    }


def result_json(result: TaskResult) -> dict[str, Any]:
    """The text of a task with its times: so far, or whole."""
    task = result.task
    return {
        "task_id": task.id,
        "text": join_text(result.segments),
        "language": task.language,
        "duration": _rounded(task.duration),
        "model": task.model,
        "engine": task.engine,
        "segments": [segment_json(segment) for segment in result.segments],
    }


def segment_json(segment: Segment) -> dict[str, Any]:
    """``words`` are there when they were asked for, ``speaker`` when channels were split."""
    shown: dict[str, Any] = {
        "id": segment.id,
        "start": _rounded(segment.start),
        "end": _rounded(segment.end),
        "text": segment.text,
    }
    if segment.words is not None:
        shown["words"] = [_word_json(word) for word in segment.words]
    return shown if segment.speaker is None else shown | {"speaker": segment.speaker}


def callback_json(callback: Callback, attempts: Iterable[CallbackAttempt] = ()) -> dict[str, Any]:
    return {
        "id": callback.id,
        "task_id": callback.task_id,
        "url": callback.url,
        "status": callback.status.value,
        "created_at": time_json(callback.created_at),
        "next_attempt_at": time_json(callback.next_attempt_at),
        "delivered_at": time_json(callback.delivered_at),
        "attempts": [
            {
                "number": attempt.number,
                "at": time_json(attempt.at),
                "status_code": attempt.status_code,
                "response": attempt.response,
                "error": attempt.error,
                "seconds": _rounded(attempt.seconds),
            }
            for attempt in attempts
        ],
    }


def time_json(time: datetime | None) -> str | None:
    """``2026-03-01T12:30:01.204Z``."""
    return None if time is None else f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _error_json(task: TaskRecord) -> Mapping[str, str] | None:
    error = task.error
    return None if error is None else {"code": error.code, "message": error.message, "remedy": error.remedy}


def _word_json(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": _rounded(word.start),
        "end": _rounded(word.end),
        "probability": _rounded(word.probability),
    }


def _speed(task: TaskRecord, work_seconds: float | None) -> float | None:
    """Of the attempt that ``work_seconds`` measure: what earlier ones heard took no time of it."""
    if task.status is TaskStatus.FETCHING or not work_seconds:
        return None
    heard = task.seconds_done - (task.checkpoint.from_seconds if task.checkpoint else 0.0)
    return heard / work_seconds if heard > 0 else None


def _eta(task: TaskRecord, speed: float | None) -> float | None:
    if task.status is not TaskStatus.RUNNING or not speed or task.duration is None:
        return None
    return max(0.0, task.duration - task.seconds_done) / speed


def _seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(finite(value), 3)
