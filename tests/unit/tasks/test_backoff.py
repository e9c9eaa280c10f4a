from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.tasks.memory import NOON

from kikitori.store.task_records import CallbackStatus
from kikitori.tasks.backoff import DELAYS, Reply, after, retry_delay

FAILED = Reply(status_code=500, error="The answer was 500.")


def test_attempts_spread_over_a_day() -> None:
    assert [retry_delay(attempt, 0.0) for attempt in range(1, 10)] == [5, 30, 120, 600, 1800, 3600, 10800, 21600, 43200]
    assert sum(DELAYS) > 20 * 3_600


def test_after_the_last_delay_it_stays() -> None:
    assert retry_delay(10, 0.0) == retry_delay(50, 0.0) == 43_200


def test_chance_makes_a_delay_longer_and_never_shorter() -> None:
    assert retry_delay(1, 0.5) == pytest.approx(5.5)
    assert all(5 <= retry_delay(1, chance / 10) < 6 for chance in range(10))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    reply = Reply(status_code=status)
    assert after(reply, attempt=1, most=10, now=NOON, chance=0.0) == (CallbackStatus.DELIVERED, None)


@pytest.mark.parametrize(
    "reply",
    [
        FAILED,
        Reply(status_code=301, error="redirect"),
        Reply(status_code=404, error="nobody"),
        Reply(error="no answer"),
    ],
)
def test_everything_else_is_tried_again(reply: Reply) -> None:
    assert after(reply, attempt=2, most=10, now=NOON, chance=0.0) == (
        CallbackStatus.PENDING,
        NOON + timedelta(seconds=30),
    )


def test_a_receiver_that_is_gone_is_left_alone() -> None:
    reply = Reply(status_code=410, error="gone")
    assert after(reply, attempt=1, most=10, now=NOON, chance=0.0) == (CallbackStatus.FAILED, None)


def test_what_is_hopeless_is_not_tried_again() -> None:
    reply = Reply(error="a private address", hopeless=True)
    assert after(reply, attempt=1, most=10, now=NOON, chance=0.0) == (CallbackStatus.FAILED, None)


def test_the_last_attempt_is_the_last() -> None:
    assert after(FAILED, attempt=9, most=10, now=NOON, chance=0.0)[0] is CallbackStatus.PENDING
    assert after(FAILED, attempt=10, most=10, now=NOON, chance=0.0) == (CallbackStatus.FAILED, None)


def test_a_receiver_may_ask_for_more_time_but_not_for_less_nor_for_ever() -> None:
    def due(seconds: float) -> float:
        _, at = after(
            Reply(status_code=429, error="busy", retry_after=seconds), attempt=1, most=10, now=NOON, chance=0.0
        )
        assert at is not None
        return (at - NOON).total_seconds()

    assert (due(60), due(1), due(1e9)) == (60, 5, 43_200)
