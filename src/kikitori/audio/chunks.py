"""A long recording in chunks, cut where nobody speaks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kikitori.audio.vad import FRAME_SAMPLES, VadStream
from kikitori.types import SAMPLE_RATE

FindCut: TypeAlias = Callable[[npt.NDArray[np.float32]], int | None]
"""Where to cut audio of shape (channels, n): a sample in it, or None where no place is good."""

STEP_SECONDS = 60
QUIET_BELOW = 0.35
"""Speech probability of silence."""
GOOD_FRAMES = 16
"""Half a second: a silence that need not be bettered."""
LEAST_FRAMES = 4
"""A tenth of a second: shorter silence is inside words."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Chunk:
    """A stretch of a recording between two silences."""

    index: int
    start: float
    """Seconds from the start of the recording."""
    audio: npt.NDArray[np.float32]
    """Shape (channels, n), n > 0."""
    last: bool

    @property
    def duration(self) -> float:
        return float(self.audio.shape[1] / SAMPLE_RATE)


def find_silence(audio: npt.NDArray[np.float32]) -> int | None:
    """The middle of a long, late silence in ``audio``: the first of half a second from the end, else the longest.

    Looks at a minute at a time, so it seldom has to look at all.
    """
    step = STEP_SECONDS * SAMPLE_RATE
    best: tuple[int, int] | None = None
    for end in range(audio.shape[1], 0, -step):
        start = max(0, end - step)
        length, middle = _longest_silence(audio[:, start:end].mean(axis=0, dtype=np.float32))
        if length >= LEAST_FRAMES and (best is None or length > best[0]):
            best = (length, start + middle)
        if length >= GOOD_FRAMES:
            break
    return best[1] if best else None


def read_chunks(
    blocks: Iterable[npt.NDArray[np.float32]],
    *,
    max_seconds: float = 600.0,
    first_seconds: float | None = None,
    skip_seconds: float = 0.0,
    find_cut: FindCut = find_silence,
) -> Generator[Chunk, None, None]:
    """Chunks of at most ``max_seconds`` which, joined, are ``blocks`` of shape (channels, n), joined.

    A chunk ends where ``find_cut`` says for the second half of what is there, or at ``max_seconds``;
    the first one at ``first_seconds``, for those who want something soon. What lies before
    ``skip_seconds`` is left out.
    The memory is that of two chunks: the one given out, and the next.
    """
    size = _samples(max_seconds if first_seconds is None else min(first_seconds, max_seconds))
    buffer: npt.NDArray[np.float32] | None = None
    filled = index = 0
    start = to_skip = round(skip_seconds * SAMPLE_RATE)
    for block in blocks:
        taken = min(to_skip, block.shape[1])
        to_skip -= taken
        while taken < block.shape[1]:
            if buffer is None:
                buffer = np.empty((block.shape[0], size), np.float32)
            if filled == size:
                cut = _cut(buffer, find_cut)
                yield Chunk(index=index, start=start / SAMPLE_RATE, audio=buffer[:, :cut], last=False)
                buffer, filled = _moved(buffer, cut, _samples(max_seconds)), size - cut
                size = buffer.shape[1]
                index, start = index + 1, start + cut
            count = min(size - filled, block.shape[1] - taken)
            buffer[:, filled : filled + count] = block[:, taken : taken + count]
            filled, taken = filled + count, taken + count
    if buffer is not None:
        yield Chunk(index=index, start=start / SAMPLE_RATE, audio=buffer[:, :filled], last=True)


def _cut(buffer: npt.NDArray[np.float32], find_cut: FindCut) -> int:
    size = int(buffer.shape[1])
    found = find_cut(buffer[:, size // 2 :])
    return size if found is None else min(size, max(1, size // 2 + found))


def _samples(seconds: float) -> int:
    return max(2, round(seconds * SAMPLE_RATE))


def _moved(buffer: npt.NDArray[np.float32], cut: int, size: int) -> npt.NDArray[np.float32]:
    """A new buffer that begins with what follows ``cut``: the old one belongs to the chunk."""
    fresh = np.empty((buffer.shape[0], size), np.float32)
    rest = buffer.shape[1] - cut
    fresh[:, :rest] = buffer[:, cut:]
    return fresh


def _longest_silence(audio: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Frames and middle sample of the longest silence, the latest of equals; (0, 0) without any."""
    quiet = VadStream().push(audio) < QUIET_BELOW
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    if not edges.size:
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    lengths = ends - starts
    longest = len(lengths) - 1 - int(np.argmax(lengths[::-1]))
    return int(lengths[longest]), int(starts[longest] + ends[longest]) * FRAME_SAMPLES // 2
