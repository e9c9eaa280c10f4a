"""The durable tasks. The table itself is the queue, and every change of a task is one transaction with its event.

A node claims a task, and from then on names ``node`` and ``attempts`` with each write: a write of a node that was taken
for dead, and whose task another one has begun since, is refused with LostTask.
"""

from __future__ import annotations

from kikitori.store.task_claims import TaskClaims
from kikitori.store.task_progress import LostTask, TaskProgress
from kikitori.store.task_queries import TaskPage, TaskQuery
from kikitori.store.task_reading import TaskReading
from kikitori.store.task_requests import TaskRequests

__all__ = ["LostTask", "TaskPage", "TaskQuery", "TaskStore"]


class TaskStore(TaskRequests, TaskReading, TaskClaims, TaskProgress):
    """``owner`` None may see and change every task; for any other owner somebody else's task is not there."""
