"""How fast a client speaks: as people do, or faster, as who sends a recording at once, or floods."""

from __future__ import annotations

import time
from collections.abc import Callable

AHEAD_SECONDS = 5.0
"""Audio that came too early, before a client counts as one that hurries: connections stall and catch up."""


class Pace:
    """Of one client. Audio pours in, and drains as time passes."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ahead, self._at = 0.0, clock()

    def add(self, seconds: float) -> None:
        """So much audio came in."""
        self._ahead, self._at = self.ahead + seconds, self._clock()

    @property
    def ahead(self) -> float:
        """Seconds of audio that came before their time."""
        return max(0.0, self._ahead - (self._clock() - self._at))

    @property
    def hurries(self) -> bool:
        return self.ahead > AHEAD_SECONDS
