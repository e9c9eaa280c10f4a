import gc
import weakref

from kikitori.testing import FakeClock
from kikitori.web.recent import MOST, Recent


def test_things_are_known_for_a_moment() -> None:
    clock = FakeClock()
    recent = Recent(2.0, clock=clock)
    assert not recent.knows("a")
    recent.note(["a", ("b", 1)])
    assert recent.knows("a") and recent.knows(("b", 1)) and not recent.knows("c")
    clock.now += 2.0
    assert not recent.knows("a")


def test_memory_is_bounded() -> None:
    recent = Recent()
    for number in range(3 * MOST):
        recent.note([number])
    assert not recent.knows(0)
    assert recent.knows(3 * MOST - 1)


def test_what_was_asked_about_is_not_kept() -> None:
    recent, thing = Recent(), frozenset({"x" * 1_000})
    recent.note([thing])
    known = weakref.ref(thing)
    del thing
    gc.collect()
    assert known() is None
