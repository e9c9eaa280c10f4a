"""Tasks in words: from the API's JSON to what people read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from kikitori.cli.inputs import Recording
from kikitori.text.durations import human_duration

Task = Mapping[str, Any]


class Priority(StrEnum):
    """What goes first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


PRIORITIES = tuple(each.value for each in Priority)
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
COLUMNS = ("id", "status", "done", "priority", "created", "length", "language", "what")
MAX_STEM = 100


def shown(text: object) -> str:
    """``text`` on one line, without what would steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in str(text)).strip()


def label_of(task: Task) -> str:
    """What people call it: the file, the title behind a link, or the link."""
    details = task.get("details") or {}
    return shown(details.get("title") or task.get("file_name") or task.get("url") or task["id"])


def labels_of(tasks: Sequence[Task]) -> list[str]:
    """As ``label_of``, told apart by their ids where they are the same."""
    labels = [label_of(task) for task in tasks]
    return [
        label if labels.count(label) == 1 else f"{label} ({task['id']})"
        for label, task in zip(labels, tasks, strict=True)
    ]


def recordings_of(tasks: Sequence[Task]) -> list[Recording]:
    """The tasks as recordings: their labels, and paths that name the files of their texts."""
    return [
        Recording(name=label, path=Path(_file_name(task))) for label, task in zip(labels_of(tasks), tasks, strict=True)
    ]


def _file_name(task: Task) -> str:
    """Of the file, else of the link; never a path, never hidden."""
    last = PurePosixPath(unquote(urlsplit(task.get("url") or "").path)).name if not task.get("file_name") else ""
    name = PurePosixPath((task.get("file_name") or last).replace("\\", "/")).name
    name = "".join(char for char in name if char.isprintable()).strip().lstrip(".")
    stem, suffix = PurePosixPath(name).stem[:MAX_STEM], PurePosixPath(name).suffix
    return f"{stem}{suffix}" if stem else str(task["id"])


def row_of(task: Task, *, now: datetime) -> tuple[str, ...]:
    """Cells of ``COLUMNS``."""
    return (
        str(task["id"]),
        status_words(task),
        f"{task['progress']:.0f} %",
        str(task["priority"]),
        _ago(task["created_at"], now),
        human_duration(task["duration"]) if task["duration"] else "",
        str(task["language"]),
        label_of(task),
    )


def line_of(task: Task) -> str:
    """The same for programs: cells with tabs between, times in full, lengths in seconds."""
    duration = task["duration"]
    cells = (
        task["id"],
        task["status"],
        f"{task['progress']:g}",
        task["priority"],
        task["created_at"],
        "" if duration is None else f"{duration:g}",
        task["language"],
        label_of(task),
    )
    return "\t".join(shown(cell) for cell in cells)


def status_words(task: Task) -> str:
    """``queued, 3rd`` and the like."""
    if task["status"] == "queued" and task.get("queue_position"):
        return f"queued ({task['queue_position']})"
    if task.get("cancel_requested") and task["status"] in ("fetching", "running"):
        return "cancelling"
    return str(task["status"])


def waiting_words(task: Task) -> str:
    """What a task does that is not yet being heard."""
    if task["status"] == "fetching":
        return "being fetched" if task.get("url") else "being opened"
    if task["status"] == "running":
        return "running"
    position = task.get("queue_position")
    return f"queued, number {position}" if position else "queued"


def sheet_of(task: Task) -> list[tuple[str, str]]:
    """Everything of one task that is known, a fact a line."""
    details = dict(task.get("details") or {})
    error = task.get("error")
    timings = task.get("timings") or {}
    facts = {
        "id": task["id"],
        "what": label_of(task),
        "status": status_words(task),
        "progress": f"{task['progress']:.1f} %" + (f", {task['speed']:.1f}× real time" if task.get("speed") else ""),
        "left": human_duration(task["eta_seconds"]) if task.get("eta_seconds") else "",
        "error": error and f"{error['message']} {error['remedy']}".strip(),
        "error code": error and error["code"],
        "link": task.get("url"),
        "file": task.get("file_name"),
        **{key: value for key, value in details.items() if isinstance(value, str | int | float)},
        "priority": task["priority"],
        "task": task["task_type"],
        "options": ", ".join(f"{name}={value}" for name, value in task["options"].items()),
        "formats": ", ".join(task["formats"]),
        "tags": ", ".join(task["tags"]),
        "platform": task["platform"],
        "language": task["language"],
        "model": ", ".join(part for part in (task["model"], task["engine"], task["mode"]) if part),
        "length": human_duration(task["duration"]) if task["duration"] else "",
        "created": task["created_at"],
        "started": task["started_at"],
        "finished": task["finished_at"],
        "expires": task["expires_at"],
        "waited": _seconds(timings.get("queue_seconds")),
        "worked": _seconds(timings.get("work_seconds")),
        "attempts": task["attempts"] or "",
        "node": task["node"],
        "callback": task["callback_url"],
        "playlist": task["parent"],
        "owner": task["owner"],
    }
    return [(key, shown(value)) for key, value in facts.items() if value not in (None, "")]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def _ago(time: str | None, now: datetime) -> str:
    """``3 min ago``."""
    if not time:
        return ""
    seconds = max(0.0, (now - datetime.fromisoformat(time).astimezone(UTC)).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
