import asyncio

import pytest

from kikitori.inference.slots import Slots


async def test_the_lowest_due_time_goes_first() -> None:
    slots, order = Slots(1), list[str]()
    await slots.acquire(0.0)

    async def wait(name: str, due: float) -> None:
        await slots.acquire(due)
        order.append(name)
        slots.release()

    waiting = [asyncio.create_task(wait(name, due)) for name, due in (("late", 9.0), ("soon", 1.0), ("mid", 5.0))]
    await asyncio.sleep(0)
    assert slots.waiting == 3
    slots.release()
    await asyncio.gather(*waiting)
    assert order == ["soon", "mid", "late"]


async def test_a_cancelled_waiter_loses_nothing() -> None:
    slots = Slots(1)
    await slots.acquire(0.0)
    gone = asyncio.create_task(slots.acquire(1.0))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    slots.release()
    await asyncio.wait_for(slots.acquire(2.0), 1)


async def test_a_place_given_in_the_moment_of_cancelling_is_given_back() -> None:
    slots = Slots(1)
    await slots.acquire(0.0)
    gone = asyncio.create_task(slots.acquire(1.0))
    await asyncio.sleep(0)
    slots.release()  # the place is now the waiter's, which has not run yet
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await asyncio.wait_for(slots.acquire(2.0), 1)
