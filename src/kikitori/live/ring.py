"""The audio of a session that may still be needed, at its positions since the session began."""

from __future__ import annotations

import numpy as np

from kikitori.types import SAMPLE_RATE, Audio

BLOCK_SAMPLES = SAMPLE_RATE // 2
"""Audio is kept in blocks of this size: nothing is copied to append to it or to let go of it."""


class AudioRing:
    """Samples ``start`` to ``end``; what lies before ``start`` was let go."""

    def __init__(self) -> None:
        self._blocks: list[Audio] = []
        self._first = 0
        """The number of the first block, which begins at ``BLOCK_SAMPLES`` times it."""
        self.start = 0
        self.end = 0

    def append(self, audio: Audio) -> None:
        """Copy ``audio`` to the end."""
        while len(audio):
            number, offset = divmod(self.end, BLOCK_SAMPLES)
            if number - self._first == len(self._blocks):
                self._blocks.append(np.empty(BLOCK_SAMPLES, np.float32))
            piece, audio = audio[: BLOCK_SAMPLES - offset], audio[BLOCK_SAMPLES - offset :]
            self._blocks[-1][offset : offset + len(piece)] = piece
            self.end += len(piece)

    def slice(self, start: int, end: int) -> Audio:
        """A copy of samples ``start`` to ``end``. Raises ValueError when they are not all here."""
        if not self.start <= start <= end <= self.end:
            raise ValueError(f"Samples {start} to {end} are not in {self.start} to {self.end}.")
        if start == end:
            return np.zeros(0, np.float32)
        first, last = start // BLOCK_SAMPLES, (end - 1) // BLOCK_SAMPLES
        blocks = self._blocks[first - self._first : last - self._first + 1]
        offset = first * BLOCK_SAMPLES
        return np.concatenate(blocks)[start - offset : end - offset].copy()

    def release(self, before: int) -> None:
        """Let go of what lies before position ``before``."""
        self.start = max(self.start, min(before, self.end))
        gone = self.start // BLOCK_SAMPLES - self._first
        if gone > 0:
            del self._blocks[:gone]
            self._first += gone
