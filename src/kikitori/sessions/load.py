"""How busy the machine is with live sessions, and what follows from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_STRETCH = 4.0
"""Interim steps get so many times longer at most; then interims stop."""
GROWTH, DECAY = 1.25, 0.95
"""Of the stretch, at each look: quick to give way, slow to come back."""
HIGH_PRESSURE, LOW_PRESSURE = 1.0, 0.5
FINAL_SECONDS = 1.0
"""A final should be there so soon."""
PATIENCE_LOOKS = 6
"""So many looks in a row before interims stop, sessions are refused, or either ends."""
SMOOTHING = 0.3


@dataclass(frozen=True, slots=True)
class Load:
    """What sessions are told."""

    level: int = 0
    """0: all is well; 1: longer interim steps; 2: no interims."""
    stretch: float = 1.0
    full: bool = False
    """No new sessions."""


class LoadControl:
    """Looks about twice a second at what waits, and decides."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Whoever kept the machine busy has left."""
        self.load = Load()
        self._final_seconds = 0.0
        self._stretch = 1.0
        self._high = self._low = 0

    def final_took(self, seconds: float) -> None:
        """A final came ``seconds`` after it was wanted."""
        self._final_seconds += SMOOTHING * (seconds - self._final_seconds)

    def look(self, *, interim_steps: float, final_seconds: float) -> Load:
        """``interim_steps``: the interim that waits longest, in steps of its session; ``final_seconds``: the final."""
        if not interim_steps and not final_seconds:
            self._final_seconds *= 1 - SMOOTHING / 2  # nobody waits: what was slow once is past
        finals = max(self._final_seconds, final_seconds) / FINAL_SECONDS
        pressure = max(interim_steps, finals)
        if pressure > HIGH_PRESSURE:
            self._stretch, self._high, self._low = min(LONGEST_STRETCH, self._stretch * GROWTH), self._high + 1, 0
        elif pressure < LOW_PRESSURE:
            self._stretch, self._low, self._high = max(1.0, self._stretch * DECAY), self._low + 1, 0
        else:
            self._high = self._low = 0
        self.load = Load(self._level(), self._stretch, self._full(finals))
        return self.load

    def _level(self) -> int:
        if self.load.level == 2:
            return 1 if self._low >= PATIENCE_LOOKS else 2
        if self._stretch >= LONGEST_STRETCH and self._high >= PATIENCE_LOOKS:
            return 2
        return 1 if self._stretch > GROWTH else 0

    def _full(self, finals: float) -> bool:
        if self.load.full:
            return self._low < PATIENCE_LOOKS
        return self.load.level == 2 and finals > HIGH_PRESSURE and self._high >= 2 * PATIENCE_LOOKS
