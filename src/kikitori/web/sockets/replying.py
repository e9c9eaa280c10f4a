"""Replies of one socket: each is a task, which ends with the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeAlias

from kikitori.protocols.actions import Reply
from kikitori.replies.desk import Tell
from kikitori.replies.events import ReplyEvent, ReplyRequest

ToldReply: TypeAlias = Callable[[str, ReplyEvent], Awaitable[None]]


class Replier(Protocol):
    """Makes replies; ``replies.desk.ReplyDesk``."""

    async def reply(self, request: ReplyRequest, tell: Tell) -> None: ...


class Replying:
    """Belongs to one socket. ``tell`` hears of every reply by its id, and may wait."""

    def __init__(self, replier: Replier, tell: ToldReply) -> None:
        self._replier, self._tell = replier, tell
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stopped: set[asyncio.Task[None]] = set()

    def start(self, wanted: Reply) -> None:
        work = self._replier.reply(wanted.request, partial(self._tell, wanted.id))
        task = self._running[wanted.id] = asyncio.create_task(work, name="kikitori-reply")
        task.add_done_callback(lambda done: self._forget(wanted.id, done))

    def stop(self, id: str) -> None:
        """Let go of its language model and its voice."""
        if task := self._running.pop(id, None):
            self._stopped.add(task)
            task.cancel()

    async def close(self) -> None:
        """Stop all of them, and wait until nothing is held any more."""
        for id in list(self._running):
            self.stop(id)
        if self._stopped:
            await asyncio.gather(*self._stopped, return_exceptions=True)

    def _forget(self, id: str, task: asyncio.Task[None]) -> None:
        self._stopped.discard(task)
        if self._running.get(id) is task:
            del self._running[id]
