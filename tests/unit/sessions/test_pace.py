"""How fast a client speaks."""

from kikitori.sessions.pace import AHEAD_SECONDS, Pace
from kikitori.testing import FakeClock


def test_who_speaks_as_people_do_never_hurries() -> None:
    clock = FakeClock()
    pace = Pace(clock=clock)
    for _ in range(1_000):
        clock.advance(0.04)
        pace.add(0.04)
        assert pace.ahead <= 0.05


def test_a_connection_may_stall_and_catch_up() -> None:
    clock = FakeClock()
    pace = Pace(clock=clock)
    clock.advance(30)
    pace.add(AHEAD_SECONDS)
    assert not pace.hurries


def test_who_sends_much_at_once_hurries_until_its_time_has_come() -> None:
    clock = FakeClock()
    pace = Pace(clock=clock)
    pace.add(60.0)
    assert pace.hurries
    clock.advance(54.9)
    assert pace.hurries
    clock.advance(0.2)
    assert not pace.hurries
