"""Times of words that were not found.

The times of words come from a path through the decoder's attention (dynamic time warping). On short audio the path
may rush through all words at once and leave them no time, and upstream leaves out a segment that takes no time:
the text would be lost because its times are. Such a path is sought once more with room after the audio, where it
has something to leave to silence; when that does not help either, the words share the audio evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Path = Sequence[tuple[int, int]]
"""Pairs of a token's index and a time in steps of 20 ms, both rising. The last token is the end of the text."""

STEP_FRAMES = 2
"""Mel frames in a step."""
ROOM_FRAMES = 300
"""Silence after the audio that a second look takes in: 3 s."""


class Alignment(Protocol):
    """As CTranslate2 tells it."""

    @property
    def alignments(self) -> Path: ...

    @property
    def text_token_probs(self) -> Sequence[float]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MendedAlignment:
    """An alignment with another path."""

    alignments: Path
    text_token_probs: Sequence[float]


def with_times(align: Callable[[int], Alignment], *, tokens: int, frames: int, room: int) -> Alignment:
    """What ``align(frames)`` finds for so many text ``tokens``, which never take no time at all.

    ``frames`` is the audio's length in mel frames (100 a second), ``room`` what the encoder saw with its padding.
    """
    found = align(frames)
    if not tokens or not is_collapsed(found.alignments, tokens):
        return found
    path: Path = ()
    if frames < room:
        path = _within(align(min(room, frames + ROOM_FRAMES)).alignments, frames)
    if is_collapsed(path, tokens):
        path = _evenly(tokens, frames)
    return MendedAlignment(alignments=path, text_token_probs=found.text_token_probs)


def is_collapsed(path: Path, tokens: int) -> bool:
    """Whether the text begins and ends at the same time."""
    times = [time for token, time in path if token in (0, tokens)]
    ends = [time for token, time in path if token == tokens]
    return not ends or times[0] == ends[0]


def _within(path: Path, frames: int) -> Path:
    last = frames // STEP_FRAMES
    return [(token, min(time, last)) for token, time in path]


def _evenly(tokens: int, frames: int) -> Path:
    steps = max(1, frames // STEP_FRAMES)
    return [(token, token * steps // tokens) for token in range(tokens + 1)]
