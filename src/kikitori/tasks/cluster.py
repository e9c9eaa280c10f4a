"""Nodes know of each other: each writes a heartbeat, and takes up the tasks of those that stopped."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from kikitori import __version__
from kikitori.errors import KikitoriError, Unavailable
from kikitori.processes import process_runs
from kikitori.store.keys import utc_now
from kikitori.store.nodes import NodeStore
from kikitori.store.task_records import Node, new_id
from kikitori.store.tasks import TaskStore
from kikitori.tasks.changes import Changes

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
MISSED_HEARTBEATS = 3
MAX_ATTEMPTS = 5
"""A task whose nodes died so often, without getting any further, is taken for the cause."""


def this_node(*, slots: int, media_url: str, now: Callable[[], datetime] = utc_now) -> Node:
    """This process as the others see it."""
    moment = now()
    return Node(
        id=new_id("node"),
        host=machine(),
        pid=os.getpid(),
        version=__version__,
        slots=slots,
        started_at=moment,
        heartbeat_at=moment,
        media_url=media_url,
    )


def machine() -> str:
    """The name of this host, and a mark of where the numbers of processes are its own: this boot, this container.

    Machines made from one image, and containers on the network of their host, have the same name.
    """
    name = socket.gethostname()[:180]
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux: there are no containers that see less than their host
        return name
    return f"{name}/{hashlib.sha256(f'{boot}{numbers}'.encode()).hexdigest()[:6]}"


class Cluster:
    """This node's place among the others."""

    def __init__(
        self,
        node: Node,
        nodes: NodeStore,
        tasks: TaskStore,
        *,
        running: Callable[[], Collection[str]],
        changes: Changes,
        on_recovered: Callable[[], None],
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``running``: the tasks this process works on; ``on_recovered``: there is work in the queue again."""
        self.node = node
        self._nodes, self._tasks = nodes, tasks
        self._running, self._changes, self._on_recovered = running, changes, on_recovered
        self._heartbeat_seconds, self._now = heartbeat_seconds, now
        self._patience = timedelta(seconds=MISSED_HEARTBEATS * heartbeat_seconds)
        self._missed_beats = False
        self._back_since: datetime | None = None
        """When the database was there again after it had been away: before, nobody's heart could beat."""

    async def join(self) -> None:
        """Be seen, and take up what this machine's dead processes left.

        Raises Unavailable when another node lives that has another media store: neither could read what came to the
        other.
        """
        for other in await self._nodes.list():
            if other.stopped_at is None and not self._is_dead(other) and other.media_url != self.node.media_url:
                raise Unavailable(
                    f"The node on {other.host} keeps its media elsewhere than this one.",
                    remedy="Nodes of one database share a media store: give all of them the same KIKITORI_MEDIA_URL.",
                )
        await self._nodes.register(self.node)
        await self.recover()

    async def leave(self) -> None:
        with suppress(KikitoriError):  # the others see it by the heartbeat
            await self._nodes.stop(self.node.id, self._now())

    async def run(self) -> None:
        """Beat and look after the others, until cancelled."""
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                await self.beat()
                await self.recover()
            except Exception as exc:  # mostly the database is away: the next beat tries again
                trace = None if isinstance(exc, KikitoriError) else exc
                logger.warning(
                    "heartbeat failed", exc_info=trace, extra={"action": "heartbeat_failed", "reason": str(exc)}
                )

    async def beat(self) -> None:
        """Say that this node lives."""
        missed, self._missed_beats = self._missed_beats, True
        if not await self._nodes.beat(self.node.id, self._now()):
            await self._nodes.register(replace(self.node, heartbeat_at=self._now()))
        self._missed_beats = False
        if missed:
            self._back_since = self._now()

    async def recover(self) -> None:
        """Put the tasks of nodes that are gone back in the queue, and those of this one that nobody works on."""
        holders = await self._tasks.holders()  # before the nodes: whoever has a task now is among them
        nodes = await self._nodes.list()
        dead = [node for node in nodes if self._is_dead(node)]
        gone = [*(node.id for node in dead), *self._left(holders, nodes)]
        of_dead = await self._tasks.recover(gone, max_attempts=MAX_ATTEMPTS)
        # What was claimed a moment ago may not be among those that run yet.
        before = self._now() - timedelta(seconds=self._heartbeat_seconds)
        dropped = await self._tasks.recover(
            [self.node.id], max_attempts=MAX_ATTEMPTS, except_ids=self._running(), begun_before=before
        )
        for node in dead:
            await self._nodes.stop(node.id, self._now())
            logger.warning("node died", extra={"action": "node_died", "node": node.id, "host": node.host})
        found = [*of_dead, *dropped]
        for task_id in found:
            self._changes.tell(task_id)
            logger.info("task recovered", extra={"action": "task_recovered", "task": task_id})
        if found:
            self._on_recovered()

    def _left(self, holders: Collection[str], nodes: Sequence[Node]) -> list[str]:
        """Holders that stopped without giving back all that they had, or that nobody knows."""
        # One that was taken for dead and lives says so before this time has passed.
        long_ago = self._now() - self._patience
        known = {node.id for node in nodes if node.stopped_at is None or node.stopped_at > long_ago}
        return [id for id in holders if id not in known and id != self.node.id]

    def _is_dead(self, node: Node) -> bool:
        if node.id == self.node.id or node.stopped_at is not None:
            return False
        heard = max(node.heartbeat_at, self._back_since or node.heartbeat_at)
        if self._now() - heard > self._patience:
            return True
        # Beside us: no need to wait for heartbeats, its process is there or it is not.
        return node.host == self.node.host and not process_runs(node.pid)
