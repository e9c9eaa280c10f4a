"""What the API asks about callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from kikitori.errors import Conflict, NotFound
from kikitori.media.guard import Guard
from kikitori.store.task_records import Callback, CallbackAttempt, TaskRecord
from kikitori.tasks.backoff import Reply
from kikitori.tasks.callback_urls import check_callback_url
from kikitori.tasks.callbacks import CallbackSender
from kikitori.tasks.signing import Signer

Delivery: TypeAlias = tuple[Callback, Sequence[CallbackAttempt]]


class Deliveries(Protocol):
    """What was sent, and what will be; ``store.callbacks.CallbackStore``."""

    async def attempts(self, task_id: str) -> Sequence[Delivery]: ...

    async def resend(self, task_id: str) -> Callback: ...


class Tasks(Protocol):
    """``store.tasks.TaskStore``."""

    async def get(self, id: str, owner: str | None) -> TaskRecord: ...


class CallbackDesk:
    """``owner`` sees only the callbacks of its own tasks, and None sees all."""

    def __init__(
        self, deliveries: Deliveries, tasks: Tasks, *, sender: CallbackSender, signer: Signer, guard: Guard
    ) -> None:
        self._deliveries, self._tasks = deliveries, tasks
        self._sender, self._signer, self._guard = sender, signer, guard

    def check_url(self, url: str, *, param: str = "callback_url") -> str:
        """``url`` as a task stores it. Raises InvalidInput, ForbiddenAddress."""
        return check_callback_url(self._guard, url, param=param)

    async def list(self, task_id: str, owner: str | None) -> Sequence[Delivery]:
        """Raises NotFound."""
        await self._tasks.get(task_id, owner)
        return await self._deliveries.attempts(task_id)

    async def resend(self, task_id: str, owner: str | None) -> Delivery:
        """Send the last callback of a task once more, now, under its old id. Raises NotFound, Conflict."""
        task = await self._tasks.get(task_id, owner)
        if not task.callback_url:
            raise NotFound(f"The task {task_id} has no callback_url.")
        if not await self._deliveries.attempts(task_id):
            raise Conflict(f"The task {task_id} has no callback yet.", remedy="It is sent when the task ends.")
        callback = await self._deliveries.resend(task_id)
        self._sender.wake()
        return next(found for found in await self._deliveries.attempts(task_id) if found[0].id == callback.id)

    async def test(self, url: str, owner: str) -> Reply:
        """What ``url`` answers to a test event. Raises InvalidInput, ForbiddenAddress."""
        return await self._sender.test(self.check_url(url, param="url"), owner)

    def secret(self, owner: str) -> str:
        """What the receivers of ``owner`` verify with."""
        return self._signer.secret(owner)
