"""What a callback says: ``{"type", "timestamp", "data"}``, as the Standard Webhooks specification shapes it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kikitori.store.task_records import TaskRecord, TaskResult, TaskStatus
from kikitori.tasks.views import result_json, segment_json, task_json, time_json
from kikitori.types import Segment

TEST_EVENT = "callback.test"


def event_type(status: TaskStatus) -> str:
    """``task.succeeded``, ``task.failed``, ``task.cancelled``, ``task.expired``."""
    return f"task.{status.value}"


def result_path(task_id: str) -> str:
    return f"/api/tasks/{task_id}/result"


def task_body(task: TaskRecord, segments: Sequence[Segment] | None) -> bytes:
    """A finished task. ``segments`` are its whole text, which is then part of ``data``; None: only the way to it is."""
    result = None if segments is None else result_json(TaskResult(task=task, segments=tuple(segments)))
    has_text = task.status is TaskStatus.SUCCEEDED
    data = {
        **task_json(task),
        "result": result,
        "result_url": result_path(task.id) if has_text else None,
    }
    return _written(event_type(task.status), task.finished_at, data)


def body_of_test(at: datetime) -> bytes:
    return _written(TEST_EVENT, at, {"message": "Callbacks of Kikitori reach this address."})


def size_of(segment: Segment) -> int:
    """The bytes that ``segment`` takes in a body, about."""
    # Its text is there twice: in the segment, and in the text of the whole.
    return len(_json_bytes(segment_json(segment))) + len(segment.text.encode(errors="replace")) + 1


def _written(type: str, at: datetime | None, data: Mapping[str, Any]) -> bytes:
    return _json_bytes({"type": type, "timestamp": time_json(at), "data": data})


def _json_bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")
