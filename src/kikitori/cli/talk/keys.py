"""The keys of a terminal: space is pushed and let go, Ctrl-C, Escape and q end it.

Few terminals say when a key is let go (those with the keyboard protocol of kitty do). In others one push begins a turn,
and the next one ends it.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TextIO

from kikitori.errors import Unavailable

ASK_SECONDS = 0.3
"""For a terminal to say what it can."""
REPEAT_SECONDS = 0.15
"""A key that is held comes again sooner than this."""
FIRST_REPEAT_SECONDS = 0.8
"""And for the first time after as much."""

_PUSH, _POP, _ASK = "\x1b[>11u", "\x1b[<u", "\x1b[?u\x1b[c"
"""Report events of all keys; as before; what is reported, and a question that every terminal answers."""
_KEY = re.compile(rb"\x1b\[(\d+)(?:;(\d*)(?::(\d+))?)?u")
_OTHER = re.compile(rb"\x1b\[[0-9;:?<>]*[@-~]|\x1bO.|\x1b")
_SPACE, _ESCAPE, _Q, _C = 32, 27, 113, 99
_CONTROL = 4
_RELEASED = 3


class Key(StrEnum):
    PRESS = "press"
    RELEASE = "release"
    QUIT = "quit"


class KeyReader:
    """Bytes of a terminal to keys, as far as they mean something."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, data: bytes) -> list[Key]:
        self._rest += data
        keys: list[Key] = []
        while self._rest:
            if match := _KEY.match(self._rest):
                keys += _of_event(int(match[1]), int(match[2] or 1), int(match[3] or 1))
                self._rest = self._rest[match.end() :]
            elif self._rest in (b"\x1b", b"\x1b[") or re.fullmatch(rb"\x1b\[[0-9;:?<>]*", self._rest):
                break  # the rest of it comes
            elif match := _OTHER.match(self._rest):
                self._rest = self._rest[match.end() :]
            else:
                keys += _of_character(self._rest[:1])
                self._rest = self._rest[1:]
        return keys

    def idle(self) -> list[Key]:
        """Nothing came for a moment: an escape alone was the key."""
        alone, self._rest = self._rest == b"\x1b", b""
        return [Key.QUIT] if alone else []


class Toggle:
    """For terminals that do not say when a key is let go: pushes in turn begin and end."""

    def __init__(self) -> None:
        self._down = False
        self._last = self._changed = -FIRST_REPEAT_SECONDS

    def push(self, now: float) -> Key | None:
        """None: the key only repeats."""
        repeats = now - self._last < REPEAT_SECONDS or (self._down and now - self._changed < FIRST_REPEAT_SECONDS)
        self._last = now
        if repeats:
            return None
        self._down, self._changed = not self._down, now
        return Key.PRESS if self._down else Key.RELEASE


class TerminalKeys:
    """A terminal that hands over every key. Enter it, then read ``keys``."""

    def __init__(self, stdin: TextIO, out: TextIO) -> None:
        """Raises Unavailable when there is no terminal."""
        if not (stdin.isatty() and out.isatty()) or sys.platform == "win32":
            raise Unavailable(
                "There is no terminal with keys here.", remedy="Speak from a file: kikitori talk --input FILE."
            )
        self._fd, self._out = stdin.fileno(), out
        self._reports_release = False

    @property
    def hint(self) -> str:
        how = "Hold space to speak." if self._reports_release else "Space begins and ends what you say."
        return f"{how} q ends the conversation."

    @contextmanager
    def opened(self) -> Iterator[None]:
        import termios
        import tty

        before = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd)
        try:
            self._reports_release = self._asked()
            self._write(_PUSH if self._reports_release else "")
            yield
        finally:
            self._write(_POP if self._reports_release else "")
            termios.tcsetattr(self._fd, termios.TCSADRAIN, before)

    async def keys(self) -> AsyncGenerator[Key, None]:
        loop = asyncio.get_running_loop()
        coming: asyncio.Queue[bytes] = asyncio.Queue()
        loop.add_reader(self._fd, lambda: coming.put_nowait(os.read(self._fd, 1_024)))
        reader, toggle = KeyReader(), Toggle()
        try:
            while True:
                try:
                    async with asyncio.timeout(ASK_SECONDS):
                        data = await coming.get()
                except TimeoutError:
                    found = reader.idle()
                else:
                    found = reader.push(data) if data else [Key.QUIT]
                for key in found:
                    meant = toggle.push(loop.time()) if key is Key.PRESS and not self._reports_release else key
                    if meant is not None:
                        yield meant
        finally:
            loop.remove_reader(self._fd)

    def _asked(self) -> bool:
        """Whether it reports keys that are let go."""
        import select

        self._write(_ASK)
        said = b""
        while not said.endswith(b"c") and select.select([self._fd], [], [], ASK_SECONDS)[0]:
            said += os.read(self._fd, 1_024)
        return re.search(rb"\x1b\[\?\d+u", said) is not None

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _of_event(code: int, modifiers: int, event: int) -> list[Key]:
    if code == _SPACE:
        return [Key.RELEASE if event == _RELEASED else Key.PRESS]
    ends = code in (_ESCAPE, _Q) or (code == _C and (modifiers - 1) & _CONTROL)
    return [Key.QUIT] if ends and event != _RELEASED else []


def _of_character(char: bytes) -> list[Key]:
    if char == b" ":
        return [Key.PRESS]
    return [Key.QUIT] if char in (b"q", b"\x03", b"\x04") else []
