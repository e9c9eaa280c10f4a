"""A durable task and what belongs to it, as facts: what the tables hold, without SQL."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from kikitori.types import Segment, Task

ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, which sorts as it counts."""


class TaskStatus(StrEnum):
    QUEUED = "queued"  # waits for a node
    FETCHING = "fetching"  # a node brings the media
    RUNNING = "running"  # a node decodes
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # nobody began it before its ``expires_at``

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED})
ACTIVE = frozenset({TaskStatus.FETCHING, TaskStatus.RUNNING})
"""A node works on it."""


class TaskPriority(StrEnum):
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """Why a task failed: a stable ``code``, a sentence for people, and what helps."""

    code: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything before it is stored and need not be decoded again."""

    seconds: float
    """Into the recording."""
    segments: int
    """How many there are; also the id of the next one."""
    language: str = ""
    language_probability: float = 0.0
    text: str = ""
    """The end of the text so far, where the next chunk is conditioned on it."""
    chunk_start: float | None = None
    """Where the chunk began that ``seconds`` lies in; None: the next one begins there."""
    attempt: int = 0
    """The attempt that got so far; those after it brought nothing new."""
    from_seconds: float = 0.0
    """Where the attempt began that decodes now, or did last: what lies before was heard in the time of others."""

    def taken_up(self) -> Checkpoint:
        """As a new attempt finds it."""
        return replace(self, from_seconds=self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """What a caller asks for. Either ``url`` or ``media_key`` is set."""

    id: str
    owner: str = ""
    priority: TaskPriority = TaskPriority.NORMAL
    task_type: Task = Task.TRANSCRIBE
    url: str | None = None
    media_key: str | None = None
    """The upload in the media store."""
    media_bytes: int | None = None
    media_hash: str | None = None
    """SHA-256 of an upload that came with an idempotency key: stays when the recording is removed."""
    file_name: str = ""
    """What the caller calls it; never a path."""
    model: str = ""
    """As asked for; of a task that was begun, the one that it ran on."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Decode options that were given, by name, as JSON values."""
    formats: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    platform: str = ""
    callback_url: str | None = None
    idempotency_key: str | None = None
    expires_at: datetime | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """``title``, ``author``, ``page``, ``upload_date`` … of a link."""
    parent: str | None = None
    """The playlist's task that this one came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord(NewTask):
    """A task as it is stored now."""

    status: TaskStatus
    created_at: datetime
    asked_model: str = ""
    """``model`` as the caller asked for it: what a retry runs on."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration: float | None = None
    """Seconds of audio, once known."""
    seconds_done: float = 0.0
    language: str = ""
    language_probability: float = 0.0
    engine: str = ""
    mode: str = ""
    attempts: int = 0
    """How often a node began it; with ``node`` it tells whose writes still count."""
    node: str | None = None
    cancel_requested: bool = False
    error: TaskError | None = None
    checkpoint: Checkpoint | None = None

    @property
    def progress(self) -> float:
        """0 to 100."""
        if self.status is TaskStatus.SUCCEEDED:
            return 100.0
        return round(min(100.0, 100.0 * self.seconds_done / self.duration), 1) if self.duration else 0.0

    def asks_for_the_same(self, new: NewTask) -> bool:
        """Whether ``new`` is the request that this task was made from, sent again.

        What a node has found out since does not count: which model it ran on, and what the link led to.
        """
        mine, theirs = ((task.url, task.task_type, dict(task.options)) for task in (self, new))
        return mine == theirs and self.asked_model == new.model and (new.media_key is None or self._holds(new))

    def _holds(self, new: NewTask) -> bool:
        """The recording of ``new`` is this task's; of tasks from before there were hashes, the size has to do."""
        if self.media_hash is None or new.media_hash is None:
            return self.media_bytes in (None, new.media_bytes)
        return self.media_hash == new.media_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """A fact of a task's life, in order of ``id``: ``status``, ``priority``, ``callback``."""

    id: int
    task_id: str
    type: str
    data: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """The text of a task, so far or whole."""

    task: TaskRecord
    segments: tuple[Segment, ...]


class CallbackStatus(StrEnum):
    PENDING = "pending"  # to be sent, or sent again
    DELIVERED = "delivered"  # answered with 2xx
    FAILED = "failed"  # given up after the last attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """An outbox row, written in the transaction that ended the task. ``id`` is the webhook id of every attempt."""

    id: str
    task_id: str
    url: str
    status: CallbackStatus
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    owner: str = ""
    """Of the task."""
    delivered_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackAttempt:
    number: int
    at: datetime
    status_code: int | None
    """None: there was no answer; ``error`` says why."""
    error: str = ""
    response: str = ""
    """The first 512 bytes of the answer."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A process that works on tasks, or could."""

    id: str
    host: str
    pid: int
    version: str
    slots: int
    """Tasks it works on at once; 0: it only answers requests."""
    started_at: datetime
    heartbeat_at: datetime
    media_url: str = ""
    """Its media store, without secrets: nodes of a cluster share one."""
    stopped_at: datetime | None = None


def new_id(prefix: str, *, seconds: float | None = None) -> str:
    """``task_01j9…``: 48 bits of time in ms and 80 random bits, so that ids sort by creation."""
    moment = int((time.time() if seconds is None else seconds) * 1000)
    number = moment << 80 | int.from_bytes(os.urandom(10), "big")
    digits = [ID_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"
