"""Why a task failed, as its owner may read it."""

from __future__ import annotations

import logging

from kikitori.errors import KikitoriError
from kikitori.store.task_records import TaskError

logger = logging.getLogger(__name__)


def failure(exc: KikitoriError) -> TaskError:
    """``exc`` for clients; where the server keeps things is for its log."""
    if exc.public == str(exc):
        return TaskError(code=exc.code, message=exc.message, remedy=exc.remedy)
    logger.warning("task failed", extra={"action": "task_failed", "code": exc.code, "reason": str(exc)})
    return TaskError(code=exc.code, message=exc.public)
