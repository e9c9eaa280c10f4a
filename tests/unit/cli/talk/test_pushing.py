"""Push-to-talk: slips, repeats, the grace after letting go, and never two ends of one turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.cli.talk.pushing import FRAME_SECONDS, GRACE_SECONDS, Begin, Commit, Drop, PushToTalk, Speak, Wish

FRAME = b"\1\0" * 480


class Hand:
    """A key and a microphone with a clock."""

    def __init__(self) -> None:
        self.push = PushToTalk()
        self.now = 0.0
        self.wishes: list[Wish] = []

    def press(self) -> None:
        self.wishes += self.push.press()

    def release(self) -> None:
        self.wishes += self.push.release(self.now)

    def hear(self, seconds: float) -> None:
        for _ in range(round(seconds / FRAME_SECONDS)):
            self.now += FRAME_SECONDS
            self.wishes += self.push.frame(FRAME, self.now)

    @property
    def kinds(self) -> list[type]:
        return [type(wish) for wish in self.wishes if not isinstance(wish, Speak)]

    @property
    def spoken_seconds(self) -> float:
        return sum(isinstance(wish, Speak) for wish in self.wishes) * FRAME_SECONDS


def test_a_turn_is_what_is_said_while_the_key_is_down_and_a_moment_longer() -> None:
    hand = Hand()
    hand.hear(1.0)
    hand.press()
    hand.hear(0.5)
    hand.release()
    hand.hear(1.0)
    assert hand.kinds == [Begin, Commit]
    assert hand.spoken_seconds == pytest.approx(0.5 + GRACE_SECONDS)
    assert not hand.push.listening


@pytest.mark.parametrize(("held", "counts"), [(0.02, False), (0.08, False), (0.1, True), (0.12, True)])
def test_a_slip_is_not_sent(held: float, counts: bool) -> None:
    hand = Hand()
    hand.press()
    hand.hear(held)
    hand.release()
    hand.hear(0.5)
    assert hand.kinds == [Begin, Commit if counts else Drop]
    assert (hand.spoken_seconds > 0) is counts


def test_a_key_that_repeats_is_one_push() -> None:
    hand = Hand()
    for _ in range(10):
        hand.press()
        hand.hear(0.04)
    hand.release()
    hand.release()
    hand.hear(0.5)
    assert hand.kinds == [Begin, Commit]


def test_pushed_again_within_the_grace_the_turn_goes_on() -> None:
    hand = Hand()
    hand.press()
    hand.hear(0.2)
    hand.release()
    hand.hear(0.1)
    hand.press()
    hand.hear(0.2)
    hand.release()
    hand.hear(0.5)
    assert hand.kinds == [Begin, Commit]
    assert hand.spoken_seconds == pytest.approx(0.5 + GRACE_SECONDS)


def test_after_the_grace_it_is_another_turn() -> None:
    hand = Hand()
    for _ in range(2):
        hand.press()
        hand.hear(0.2)
        hand.release()
        hand.hear(GRACE_SECONDS)
    assert hand.kinds == [Begin, Commit, Begin, Commit]


def test_a_microphone_that_stops_does_not_keep_a_turn_open() -> None:
    hand = Hand()
    hand.press()
    hand.hear(0.2)
    hand.release()
    assert hand.push.tick(hand.now + GRACE_SECONDS / 2) == []
    assert hand.push.tick(hand.now + GRACE_SECONDS) == [Commit()]
    assert hand.push.tick(hand.now + 1) == []


@given(st.lists(st.sampled_from(["press", "release", "hear"]), max_size=80))
def test_turns_begin_and_end_once_and_nothing_is_sent_between_them(steps: list[str]) -> None:
    hand = Hand()
    for step in steps:
        hand.hear(0.06) if step == "hear" else getattr(hand, step)()
    hand.release()
    hand.hear(1.0)
    turn_open = False
    for wish in hand.wishes:
        if isinstance(wish, Speak):
            assert turn_open
        else:
            assert isinstance(wish, Begin) is not turn_open
            turn_open = isinstance(wish, Begin)
    assert not turn_open
