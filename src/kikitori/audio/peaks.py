"""How loud a recording is from moment to moment: what a picture of its wave is drawn from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from kikitori.audio.decode import decode
from kikitori.types import SAMPLE_RATE, Media

STEP_SECONDS = 0.05
"""The finest that is kept while a recording of unknown length is read: 7 MB for a day."""
STEP_SAMPLES = round(STEP_SECONDS * SAMPLE_RATE)
DIGITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """``values`` are the largest amplitudes, 0 to 1, of equal parts of ``duration`` seconds."""

    duration: float
    values: tuple[float, ...]


def find_peaks(
    media: Media, count: int, *, max_seconds: float | None = None, check: Callable[[], None] = lambda: None
) -> Peaks:
    """At most ``count`` values; fewer of a recording that is shorter than so many steps.

    Blocking; ``check`` is called now and then and may raise. Raises InvalidMedia, TooLarge.
    """
    steps: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
    samples = 0
    block_seconds = 100 * STEP_SECONDS  # whole steps, so that only the last one may be short
    with closing(decode(media, block_seconds=block_seconds, max_seconds=max_seconds)) as blocks:
        for block in blocks:
            check()
            samples += block.shape[1]
            steps.append(_largest(np.abs(block[0])))
    fine = np.concatenate(steps) if steps else np.zeros(0, np.float32)
    values = np.minimum(_reduced(fine, count), 1.0)
    return Peaks(duration=samples / SAMPLE_RATE, values=tuple(round(float(value), DIGITS) for value in values))


def _largest(loudness: np.ndarray[tuple[int], np.dtype[np.float32]]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    starts = np.arange(0, len(loudness), STEP_SAMPLES)
    return np.maximum.reduceat(loudness, starts)


def _reduced(
    fine: np.ndarray[tuple[int], np.dtype[np.float32]], count: int
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    if len(fine) <= count:
        return fine
    return np.maximum.reduceat(fine, np.arange(count) * len(fine) // count)
