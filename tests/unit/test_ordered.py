import asyncio
from contextlib import aclosing
from functools import partial

import pytest

from kikitori.ordered import in_order


async def test_results_come_in_the_order_of_the_jobs() -> None:
    done = [asyncio.Event() for _ in range(4)]

    async def job(number: int) -> int:
        if number < 3:
            await done[number + 1].wait()  # each ends after the one behind it
        done[number].set()
        return number

    async with aclosing(in_order((partial(job, number) for number in range(4)), at_once=4)) as results:
        assert [number async for number in results] == [0, 1, 2, 3]


async def test_no_more_than_allowed_run_at_once() -> None:
    running, most = 0, 0

    async def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async with aclosing(in_order((job for _ in range(10)), at_once=3)) as results:
        assert len([None async for _ in results]) == 10
    assert most == 3


async def test_a_failure_cancels_the_rest() -> None:
    cancelled = asyncio.Event()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with aclosing(in_order([fails, waits], at_once=2)) as results:
        with pytest.raises(ValueError, match="broken"):
            await anext(results)
    assert cancelled.is_set()


async def test_closing_cancels_what_runs_and_starts_nothing_new() -> None:
    started, ended = 0, 0

    async def job() -> int:
        nonlocal started, ended
        started += 1
        try:
            if started > 1:
                await asyncio.Event().wait()
            return started
        finally:
            ended += 1

    async with aclosing(in_order((job for _ in range(10)), at_once=3)) as results:
        await anext(results)
    assert started == ended <= 4
