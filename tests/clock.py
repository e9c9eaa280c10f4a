"""Time that a test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """Stands still until it is moved."""

    def __init__(self, time: datetime = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)) -> None:
        self.time = time

    def __call__(self) -> datetime:
        return self.time

    def go(self, seconds: float = 0.0, **step: float) -> None:
        """By ``seconds``, or what else ``timedelta`` counts."""
        self.time += timedelta(seconds=seconds, **step)
