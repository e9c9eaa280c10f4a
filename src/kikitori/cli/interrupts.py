"""Ctrl-C: the first asks everything to stop and waits for it, the second ends the process."""

from __future__ import annotations

import asyncio
import io
import os
import select
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO, TypeVar

T = TypeVar("T")

SHOW_CURSOR = "\x1b[?25h"


def run_interruptibly(
    main: Coroutine[Any, Any, T], *, on_interrupt: Callable[[], object] = lambda: None, cancel: bool = True
) -> T:
    """``asyncio.run``, where Ctrl-C and SIGTERM call ``on_interrupt`` and cancel ``main``, then wait for its end.

    Without ``cancel`` it is ``on_interrupt`` that brings ``main`` to its end. Raises KeyboardInterrupt when it was
    cancelled so.
    """
    with asyncio.Runner() as runner:
        task = runner.get_loop().create_task(main)
        with _signals(_Stop(task, on_interrupt, cancel=cancel)):
            try:
                return runner.get_loop().run_until_complete(task)
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None


class _Stop:
    def __init__(self, task: asyncio.Task[Any], on_interrupt: Callable[[], object], *, cancel: bool) -> None:
        self._task, self._on_interrupt, self._cancel = task, on_interrupt, cancel
        self._asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._asked:  # something does not stop: leave without it, and leave the terminal usable
            os.write(sys.stderr.fileno(), f"{SHOW_CURSOR}\n".encode() if sys.stderr.isatty() else b"\n")
            os._exit(128 + number)
        self._asked = True
        self._on_interrupt()
        if self._cancel:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)


@contextmanager
def _signals(stop: _Stop) -> Iterator[None]:
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StoppableInput(io.RawIOBase):
    """Stdin that ends when ``stop`` is called, even while somebody waits for its next bytes."""

    def __init__(self, stdin: TextIO) -> None:
        self._stdin = stdin
        self._woken, self._wake = os.pipe()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        descriptor = self._stdin.fileno()
        if os.name != "nt":  # there, only sockets can be waited for
            ready, _, _ = select.select([descriptor, self._woken], [], [])
            if self._woken in ready:
                return 0
        data = os.read(descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def stop(self) -> None:
        if not self.closed:
            os.write(self._wake, b"x")

    def close(self) -> None:
        if not self.closed:
            os.close(self._woken)
            os.close(self._wake)
        super().close()
