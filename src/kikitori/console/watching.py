"""The console beside a server: started with it, started again when it dies, ended with it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from kikitori.console.launch import Console, Place
from kikitori.errors import KikitoriError

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
STEADY_SECONDS = 60.0
"""Who ran for so long did not die of its start: patience begins anew."""
WATCH_SECONDS = 0.5


class Running(Protocol):
    """A console, as far as it is watched."""

    def wait_until_ready(self, give_up: Callable[[], bool]) -> None: ...
    def is_running(self) -> bool: ...
    def close(self) -> None: ...


class Watched:
    """Keeps a console running. ``tell`` gets its address when it answers for the first time."""

    def __init__(
        self,
        place: Place,
        *,
        tell: Callable[[str], None],
        open_console: Callable[[Place], Running] = Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place, self._tell = place, tell
        self._open, self._clock = open_console, clock
        self._told = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="console")
        self._thread.start()

    def close(self) -> None:
        """End it, and wait for that."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            began = self._clock()
            reason = self._run_once()
            if self._stop.is_set():
                return
            if self._clock() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            logger.warning(
                "console ended",
                extra={"action": "console_ended", "reason": reason, "again_in_seconds": pause},
            )
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _run_once(self) -> str:
        """From its start to its end; why it ended."""
        try:
            console = self._open(self._place)
        except (OSError, KikitoriError) as exc:
            return str(exc)
        try:
            console.wait_until_ready(self._stop.is_set)
            if not self._stop.is_set():
                self._ready()
            while console.is_running() and not self._stop.wait(WATCH_SECONDS):
                pass
            return "It ended by itself."
        except KikitoriError as exc:
            return str(exc)
        finally:
            console.close()

    def _ready(self) -> None:
        logger.info("console ready", extra={"action": "console_ready", "url": self._place.url})
        if not self._told:
            self._told = True
            self._tell(self._place.url)
