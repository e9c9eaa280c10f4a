"""How much new audio the next interim pass waits for."""

from __future__ import annotations

WEIGHT = 0.3
"""Of the newest pass in the running averages."""
MARGIN = 1.25
"""Of a pass: so much longer than the time it costs is the step, so that passes do not fill all the time."""
LONGEST_SECONDS = 4.0
"""A slow machine still shows something this often."""


class Steps:
    """Running averages of what a pass costs."""

    def __init__(self) -> None:
        self._waited = self._took = 0.0
        self._known = False

    def learn(self, waited: float, took: float) -> None:
        """A pass waited and took so many seconds."""
        weight = WEIGHT if self._known else 1.0
        self._waited += weight * (waited - self._waited)
        self._took += weight * (took - self._took)
        self._known = True

    def seconds(self, wished: float, stretch: float = 1.0) -> float:
        """Of new audio, before the next pass: ``wished``, or more on a slow machine; times ``stretch``."""
        return max(wished, min(MARGIN * (self._waited + self._took), LONGEST_SECONDS)) * max(stretch, 1.0)
