import asyncio
from collections.abc import Sequence

import pytest

from kikitori.errors import Unavailable
from kikitori.tasks.gathering import MOST_AT_ONCE, Gatherer
from kikitori.testing import until


class Work:
    """Doubles numbers; refuses 13, and all in ``trouble``; waits while the gate is closed."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.trouble: Exception | None = None

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        await self.gate.wait()
        if self.trouble:
            raise self.trouble
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


async def test_a_lone_caller_is_served_at_once() -> None:
    work = Work()
    assert await Gatherer(work)([1, 2]) == [2, 4]
    assert work.calls == [[1, 2]]


async def test_what_comes_meanwhile_is_done_in_one_go() -> None:
    work = Work()
    gather = Gatherer(work)
    work.gate.clear()
    callers = [asyncio.create_task(gather([number])) for number in range(10)]
    await until(lambda: bool(work.calls))
    await asyncio.sleep(0)
    late = [asyncio.create_task(gather([number, number + 1])) for number in (100, 200)]
    await asyncio.sleep(0.01)
    work.gate.set()
    assert await asyncio.gather(*callers) == [[2 * number] for number in range(10)]
    assert await asyncio.gather(*late) == [[200, 202], [400, 402]]
    assert len(work.calls) <= 3
    assert work.calls[-1][-4:] == [100, 101, 200, 201]


async def test_only_the_caller_at_fault_fails() -> None:
    work = Work()
    gather = Gatherer(work)
    work.gate.clear()
    first = asyncio.create_task(gather([0]))
    await until(lambda: bool(work.calls))
    callers = [asyncio.create_task(gather([number])) for number in (12, 13, 14)]
    await asyncio.sleep(0.01)
    work.gate.set()
    results = await asyncio.gather(first, *callers, return_exceptions=True)
    assert results[0:2] == [[0], [24]]
    assert isinstance(results[2], ValueError)
    assert results[3] == [28]


async def test_a_caller_that_left_before_its_turn_asks_for_nothing() -> None:
    work = Work()
    gather = Gatherer(work)
    work.gate.clear()
    first = asyncio.create_task(gather([1]))
    await until(lambda: bool(work.calls))
    gone = asyncio.create_task(gather([2]))
    await asyncio.sleep(0.01)
    gone.cancel()
    work.gate.set()
    assert await first == [2]
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await gather([3]) == [6]
    assert work.calls == [[1], [3]]


async def test_one_go_has_a_bound() -> None:
    work = Work()
    gather = Gatherer(work)
    await asyncio.gather(*(gather([1] * (MOST_AT_ONCE // 2)) for _ in range(5)))
    assert max(map(len, work.calls)) <= MOST_AT_ONCE


async def test_when_nothing_works_nobody_is_asked_for_alone() -> None:
    """The database may take seconds to say that it is away."""
    work = Work()
    gather = Gatherer(work)
    work.gate.clear()
    first = asyncio.create_task(gather([0]))
    await until(lambda: bool(work.calls))
    callers = [asyncio.create_task(gather([number])) for number in (1, 2, 3)]
    await asyncio.sleep(0.01)
    work.trouble = Unavailable("The database is away.")
    work.gate.set()
    results = await asyncio.gather(first, *callers, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 4
    assert work.calls == [[0], [1, 2, 3]]
