from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import anyio
import pytest

from kikitori.pipeline.blocking import MEDIA_THREADS, in_media_thread, in_stoppable_media_thread
from kikitori.testing import until


class Work:
    """Blocks until it is let go; fails then if told so."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started, self.let_go, self.ended = threading.Event(), threading.Event(), threading.Event()
        self._error = error

    def __call__(self) -> int:
        self.started.set()
        self.let_go.wait()
        self.ended.set()
        if self._error:
            raise self._error
        return 42


async def test_the_result_comes_back() -> None:
    assert await in_media_thread(lambda: 42) == 42


async def test_an_error_comes_back() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_media_thread(lambda: 1 // 0)


@pytest.mark.parametrize("error", [None, OSError("the file is gone")])
async def test_cancelling_a_task_waits_for_the_thread(error: Exception | None) -> None:
    work = Work(error)
    task = asyncio.create_task(in_media_thread(work))
    await until(work.started.is_set)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    work.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended.is_set()


async def test_cancelling_a_scope_waits_for_the_thread() -> None:
    work = Work()
    async with anyio.create_task_group() as group:
        group.start_soon(in_media_thread, work)
        await until(work.started.is_set)
        threading.Timer(0, work.let_go.set).start()
        group.cancel_scope.cancel()
    assert work.ended.is_set()


async def test_cancelling_again_still_waits_for_the_thread() -> None:
    work = Work()
    task = asyncio.create_task(in_media_thread(work))
    await until(work.started.is_set)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    work.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended.is_set()


async def test_cancelled_work_that_waits_for_its_turn_is_dropped_unless_it_must_run() -> None:
    busy = [Work() for _ in range(MEDIA_THREADS)]
    before = [asyncio.create_task(in_media_thread(work)) for work in busy]
    await until(lambda: all(work.started.is_set() for work in busy))
    dropped, kept = Work(), Work()
    kept.let_go.set()
    unwanted = asyncio.create_task(in_media_thread(dropped))
    closing = asyncio.create_task(in_media_thread(kept, must_run=True))
    await asyncio.sleep(0)
    unwanted.cancel()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unwanted
    for work in busy:
        work.let_go.set()
    await asyncio.gather(*before)
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert (dropped.started.is_set(), kept.ended.is_set()) == (False, True)


async def test_work_that_asks_is_stopped_by_cancelling() -> None:
    started, asked = threading.Event(), 0

    def endless(check: Callable[[], None]) -> None:
        nonlocal asked
        while True:
            asked += 1
            check()
            started.set()

    task = asyncio.create_task(in_stoppable_media_thread(endless))
    await until(started.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    before = asked
    await asyncio.sleep(0)
    assert asked == before


async def test_work_that_asks_ends_as_any_other() -> None:
    def work(check: Callable[[], None]) -> int:
        check()
        return 42

    assert await in_stoppable_media_thread(work) == 42
    with pytest.raises(ZeroDivisionError):
        await in_stoppable_media_thread(lambda check: 1 // 0)
