"""What the sides of ``tasks.TaskStore`` share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from kikitori.store.database import Database
from kikitori.store.keys import utc_now


class TaskPart:
    """One side of the store of tasks."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now
