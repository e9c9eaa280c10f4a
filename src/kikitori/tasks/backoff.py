"""When a callback is sent again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from kikitori.store.task_records import CallbackStatus

MINUTE, HOUR = 60.0, 3_600.0
DELAYS = (5.0, 30.0, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR)
"""Seconds after the first, second … attempt that failed; the last one again after all that follow."""
JITTER = 0.2
"""A delay is up to this part longer, so that what failed together does not come back together."""
MOST_RETRY_AFTER = 12 * HOUR
"""A receiver may ask for more time, up to this."""
GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of one attempt."""

    status_code: int | None = None
    """None: there was no answer."""
    response: str = ""
    """The beginning of the answer."""
    error: str = ""
    """Why it counts as failed; empty: delivered."""
    retry_after: float = 0.0
    """Seconds that the receiver asks to be left alone."""
    hopeless: bool = False
    """No other attempt can end differently."""
    seconds: float = 0.0

    @property
    def delivered(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300


def retry_delay(attempt: int, chance: float) -> float:
    """Seconds from the failed attempt number ``attempt`` (1 is the first) to the next; ``chance`` is in [0, 1)."""
    return DELAYS[min(attempt, len(DELAYS)) - 1] * (1 + JITTER * chance)


def after(
    reply: Reply, *, attempt: int, most: int, now: datetime, chance: float
) -> tuple[CallbackStatus, datetime | None]:
    """The state of a callback after its attempt number ``attempt`` of ``most``, and when the next one is due."""
    if reply.delivered:
        return CallbackStatus.DELIVERED, None
    if reply.hopeless or reply.status_code == GONE or attempt >= most:
        return CallbackStatus.FAILED, None
    seconds = max(retry_delay(attempt, chance), min(reply.retry_after, MOST_RETRY_AFTER))
    return CallbackStatus.PENDING, now + timedelta(seconds=seconds)
