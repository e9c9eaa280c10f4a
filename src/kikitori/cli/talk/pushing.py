"""Push-to-talk: a key and a microphone in, turns out. Without a clock, a terminal and a device of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

FRAME_SECONDS = 0.02
"""Sound goes out in pieces of this length."""
LEAST_SECONDS = 0.1
"""A shorter push was a slip, and nothing of it is sent; servers take no shorter turns either."""
GRACE_SECONDS = 0.12
"""People let go of the key on their last word."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Somebody begins to speak: whoever speaks now stops."""


@dataclass(frozen=True, slots=True)
class Speak:
    """Sound of the turn."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """The turn has ended."""


@dataclass(frozen=True, slots=True)
class Drop:
    """It was a slip: nothing was sent of it."""


Wish: TypeAlias = Begin | Speak | Commit | Drop


class _State(StrEnum):
    IDLE = "idle"
    HELD = "held"
    TRAILING = "trailing"  # let go, and still listening


class PushToTalk:
    """Times are seconds of one clock. Each turn begins once, and is committed or dropped once."""

    def __init__(self) -> None:
        self._state = _State.IDLE
        self._waiting: list[bytes] = []
        """Sound of a push that may still be a slip."""
        self._held = 0.0
        self._ends_at = 0.0

    @property
    def listening(self) -> bool:
        return self._state is not _State.IDLE

    def press(self) -> list[Wish]:
        """The key is down; that it repeats means nothing. Within the grace the turn goes on."""
        begins = self._state is _State.IDLE
        self._state = _State.HELD
        if not begins:
            return []
        self._waiting, self._held = [], 0.0
        return [Begin()]

    def release(self, now: float) -> list[Wish]:
        if self._state is _State.HELD:
            self._state, self._ends_at = _State.TRAILING, now + GRACE_SECONDS
        return []

    def frame(self, pcm: bytes, now: float) -> list[Wish]:
        """``FRAME_SECONDS`` of sound."""
        if self._state is _State.IDLE:
            return []
        if self._state is _State.HELD:
            self._held += FRAME_SECONDS
        self._waiting.append(pcm)
        wishes: list[Wish] = []
        if self._is_turn:
            wishes = [Speak(piece) for piece in self._waiting]
            self._waiting = []
        return [*wishes, *self.tick(now)]

    def tick(self, now: float) -> list[Wish]:
        """Time passes, also when the microphone is silent."""
        if self._state is not _State.TRAILING or now < self._ends_at:
            return []
        self._state = _State.IDLE
        return [Commit() if self._is_turn else Drop()]

    @property
    def _is_turn(self) -> bool:
        # Sums of 20 ms are not exact.
        return self._held > LEAST_SECONDS - FRAME_SECONDS / 2
