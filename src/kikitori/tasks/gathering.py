"""Work of many callers done in one go: what comes while a transaction runs makes up the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kikitori.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Call(Generic[Item, Result]):
    items: Sequence[Item]
    done: asyncio.Future[list[Result]]


class Gatherer(Generic[Item, Result]):
    """Calls ``work`` with the items of several callers, one call at a time, and gives each its own results.

    A lone caller never waits for company. A call that fails is repeated for each caller alone, so
    that only those at fault fail: ``work`` must leave nothing behind when it raises. Only Unavailable is for all.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[list[Result]]]) -> None:
        self._work = work
        self._waiting: list[_Call[Item, Result]] = []
        self._loop: asyncio.Task[None] | None = None

    async def __call__(self, items: Sequence[Item]) -> list[Result]:
        """The results for ``items``, in order. A caller that goes away does not undo what was asked."""
        call: _Call[Item, Result] = _Call(items, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._loop is None:
            self._loop = asyncio.create_task(self._run(), name="kikitori-gatherer")
        return await call.done

    async def _run(self) -> None:
        try:
            while self._waiting:
                calls = self._take()
                await self._do(calls)
        finally:
            self._loop = None

    def _take(self) -> list[_Call[Item, Result]]:
        taken: list[_Call[Item, Result]] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0].items) <= MOST_AT_ONCE):
            call = self._waiting.pop(0)
            if not call.done.done():
                taken.append(call)
                count += len(call.items)
        return taken

    async def _do(self, calls: Sequence[_Call[Item, Result]]) -> None:
        if not calls:
            return
        try:
            results = await self._work([item for call in calls for item in call.items])
        except asyncio.CancelledError:
            for call in calls:
                call.done.cancel()
            raise
        except Unavailable as exc:  # nobody's fault, and asking for each would make the last one wait for all
            _fail(calls, exc)
            return
        except Exception as exc:  # whatever it is belongs to the callers
            if len(calls) > 1:
                for call in calls:
                    await self._do([call])
            else:
                _fail(calls, exc)
            return
        start = 0
        for call in calls:
            if not call.done.done():
                call.done.set_result(results[start : start + len(call.items)])
            start += len(call.items)


def _fail(calls: Sequence[_Call[Item, Result]], exc: Exception) -> None:
    for call in calls:
        if not call.done.done():
            call.done.set_exception(exc)
