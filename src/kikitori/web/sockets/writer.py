"""What goes out to one client: in order, bounded, and never waited for by those who speak."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

STALL_SECONDS = 10.0
"""A client that takes nothing for so long is too slow."""
ROOM_CHARACTERS = 512 * 1024
"""Whoever can wait, waits while more than this is on its way."""
MOST_CHARACTERS = 32 * 1024 * 1024
"""Of frames that wait, for a client that takes too little."""


class SlowReader(Exception):
    """The client does not take what it is sent."""


@dataclass(slots=True, eq=False)
class _Frame:
    text: str
    slot: str


class Writer:
    """Frames on their way to a client. ``put`` at any time; ``run`` as a task."""

    def __init__(self, send: Callable[[str], Awaitable[None]], *, stall_seconds: float = STALL_SECONDS) -> None:
        self._send, self._stall_seconds = send, stall_seconds
        self._waiting: deque[_Frame] = deque()
        self._newest: dict[str, _Frame] = {}
        self._characters = 0
        self._wake = asyncio.Event()
        self._ending = False
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.too_much = False

    def put(self, text: str, slot: str = "") -> None:
        """Send ``text`` after what waits; of frames with one ``slot`` that still wait, the newest alone is sent."""
        if slot and (older := self._newest.get(slot)):
            self._waiting.remove(older)
            self._characters -= len(older.text)
        frame = _Frame(text, slot)
        self._waiting.append(frame)
        if slot:
            self._newest[slot] = frame
        self._characters += len(text)
        self.too_much = self.too_much or self._characters > MOST_CHARACTERS
        if self._characters > ROOM_CHARACTERS:
            self._has_room.clear()
        self._wake.set()

    async def room(self) -> None:
        """Wait until the client has taken most of what it was sent."""
        await self._has_room.wait()

    def end(self) -> None:
        """``run`` returns when everything is out."""
        self._ending = True
        self._wake.set()

    async def run(self) -> None:
        """Send until ``end``. Raises SlowReader, and what sending raises when the client is gone."""
        while True:
            while self._waiting:
                if self.too_much:
                    raise SlowReader
                frame = self._waiting.popleft()
                self._characters -= len(frame.text)
                if self._characters <= ROOM_CHARACTERS:
                    self._has_room.set()
                if self._newest.get(frame.slot) is frame:
                    del self._newest[frame.slot]
                try:
                    async with asyncio.timeout(self._stall_seconds):
                        await self._send(frame.text)
                except TimeoutError as exc:
                    raise SlowReader from exc
            if self._ending:
                return
            self._wake.clear()
            await self._wake.wait()
