import asyncio

from kikitori.tasks.changes import Changes
from kikitori.testing import until


async def test_whoever_waits_is_woken_by_news_of_this_task_alone() -> None:
    changes = Changes()
    waiting = [asyncio.create_task(changes.wait(name, 60.0)) for name in ("a", "a", "b")]
    await until(lambda: len(changes) == 2)
    changes.tell("a")
    changes.tell("c")
    await asyncio.gather(*waiting[:2])
    assert not waiting[2].done()
    changes.tell("b")
    await waiting[2]
    assert len(changes) == 0


async def test_waiting_ends_by_itself_and_leaves_nothing() -> None:
    changes = Changes()
    await changes.wait("a", 0.01)
    assert len(changes) == 0


async def test_a_waiter_that_goes_away_leaves_nothing() -> None:
    changes = Changes()
    waiting = asyncio.create_task(changes.wait("a", 60.0))
    await until(lambda: len(changes) == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert len(changes) == 0
