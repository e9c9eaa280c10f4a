"""A node at work: claim → run → claim, beside its heartbeat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from kikitori.errors import KikitoriError
from kikitori.store.nodes import NodeStore
from kikitori.store.task_records import Node, TaskRecord
from kikitori.tasks.cluster import HEARTBEAT_SECONDS, Cluster
from kikitori.tasks.execution import Execution, Workplace

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""Tasks that came through other nodes are found within this time; those of this process at once."""
CANCEL_POLL_SECONDS = 1.0
EXPIRE_POLL_SECONDS = 1.0
LAST_CLAIM_SECONDS = 5.0
"""A claim under way may take so long when the node stops; what it brings goes back."""
FETCHES_PER_SLOT = 2
"""Fetching waits for others' servers: it has places of its own, so that slow ones keep nobody from decoding."""


class TaskRunner:
    """Works on up to ``node.slots`` tasks at once. Used as ``async with``; leaving gives unfinished tasks back."""

    def __init__(
        self, node: Node, workplace: Workplace, nodes: NodeStore, *, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> None:
        self._node, self._at = node, workplace
        self._executions: dict[str, Execution] = {}
        self._fetching: set[str] = set()
        self._work: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._claiming: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._draining = False
        self.cluster = Cluster(
            node,
            nodes,
            workplace.store,
            running=lambda: tuple(self._executions),
            changes=workplace.changes,
            on_recovered=self.wake,
            heartbeat_seconds=heartbeat_seconds,
        )

    async def __aenter__(self) -> Self:
        await self.cluster.join()
        loops = {"heartbeat": self.cluster.run(), "expiry": _every(EXPIRE_POLL_SECONDS, self._expire)}
        if self._node.slots:
            loops["cancelling"] = _every(CANCEL_POLL_SECONDS, self._cancel)
            self._claiming = asyncio.create_task(self._claim_loop(), name="kikitori-claims")
        self._loops = [asyncio.create_task(loop, name=f"kikitori-{name}") for name, loop in loops.items()]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # First claim nothing more, then give back what runs, then say that nobody need wait for heartbeats.
        self.drain()
        if self._claiming is not None:
            await asyncio.wait([self._claiming], timeout=LAST_CLAIM_SECONDS)
            await _cancelled([self._claiming])
        await _cancelled(self._loops)
        await _cancelled(list(self._work))
        await self.cluster.leave()

    @property
    def running(self) -> int:
        return len(self._executions)

    def wake(self) -> None:
        """There may be something to claim."""
        self._wanted.set()

    def drain(self) -> None:
        """Claim nothing more, and give back at once what runs. From the event loop only."""
        self._draining = True
        for execution in self._executions.values():
            execution.give_back()
        self.wake()

    def cancel(self, task_id: str) -> None:
        """End a task that runs here, at the wish of its owner."""
        if execution := self._executions.get(task_id):
            execution.cancel()

    async def _claim_loop(self) -> None:
        while not self._draining:
            try:
                claimed = await self._claim()
            except Exception as exc:  # whatever it is, a node must not stop working for good
                _note(exc)
                claimed = False
            if not claimed:
                await self._woken()

    async def _claim(self) -> bool:
        """Take what there is room for; whether there was any."""
        decoding = len(self._executions) - len(self._fetching)
        tasks: list[TaskRecord] = []
        if (free := self._node.slots - decoding) > 0:
            tasks += await self._at.store.claim(self._node.id, free, fetched=True)
        free = FETCHES_PER_SLOT * self._node.slots - len(self._fetching)
        if free > 0 and decoding + len(tasks) < self._node.slots:
            tasks += await self._at.store.claim(self._node.id, free, fetched=False)
        for task in tasks:
            self._start(task)
        return bool(tasks)

    def _start(self, task: TaskRecord) -> None:
        execution = Execution(self._at, task, on_fetched=lambda: self._fetching.discard(task.id))
        self._executions[task.id] = execution
        if self._draining:  # it was claimed meanwhile
            execution.give_back()
        if task.media_key is None:
            self._fetching.add(task.id)
        work = asyncio.create_task(execution.run(), name=f"kikitori-run-{task.id}")
        self._work.add(work)
        work.add_done_callback(lambda done: self._ended(task.id, done))
        self._at.changes.tell(task.id)

    def _ended(self, task_id: str, work: asyncio.Task[None]) -> None:
        self._work.discard(work)
        self._executions.pop(task_id, None)
        self._fetching.discard(task_id)
        if not work.cancelled() and (exc := work.exception()):
            logger.error("task broke", exc_info=exc, extra={"action": "task_broke"})
        self.wake()

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wanted.wait()
        except TimeoutError:
            return
        finally:
            self._wanted.clear()

    async def _cancel(self) -> None:
        """What other nodes were asked to cancel here."""
        if self._executions:
            for task_id in await self._at.store.cancel_requested(tuple(self._executions)):
                self.cancel(task_id)

    async def _expire(self) -> None:
        """What nobody began in time ends, also while all places are taken, or there are none."""
        expired = await self._at.store.expire()
        for task_id in expired:
            self._at.changes.tell(task_id)
        if expired:
            self._at.on_end()


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """``work`` now and then, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as exc:  # whatever it is, it must not be the last time
            _note(exc)


def _note(exc: Exception) -> None:
    """A database that is away is known trouble; anything else is a mistake of ours, and shows its trace."""
    trace = None if isinstance(exc, KikitoriError) else exc
    logger.warning("claiming failed", exc_info=trace, extra={"action": "claim_failed", "reason": str(exc)})


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
