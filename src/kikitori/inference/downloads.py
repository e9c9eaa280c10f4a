"""Models being downloaded beside everything else: begun by one request, watched and stopped by others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from kikitori.errors import Busy, Conflict, DecodingCancelled, KikitoriError, ModelNotFound, NotFound
from kikitori.inference.hub import OnProgress
from kikitori.inference.known_models import canonical_name, hub_id
from kikitori.inference.models import ModelSpec

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 4
MOST_REMEMBERED = 50
"""Downloads that have ended, among them the reasons why some failed."""
END_SECONDS = 10.0
"""How long closing waits for downloads to let go; what has arrived is kept in any case."""
BROKEN = "The download failed for a reason that the log of the server says."


class DownloadState(StrEnum):
    RUNNING = "running"
    DONE = "done"  # the model is here
    FAILED = "failed"  # `error` says why; beginning again goes on from what has arrived
    CANCELLED = "cancelled"  # likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A model on its way, as it is now."""

    model: str
    state: DownloadState
    bytes_done: int = 0
    bytes_total: int = 0
    """0 as long as the hub has not said."""
    bytes_per_second: float = 0.0
    """Of this attempt, on average."""
    error: str = ""


class Source(Protocol):
    """``inference.models.ModelCatalog``. Blocking."""

    def pull(self, name: str, on_progress: OnProgress | None = None) -> ModelSpec: ...


class Downloads:
    """One thread for each download. Safe to call from several threads; close it in the end."""

    def __init__(self, source: Source, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock = source, clock
        self._lock = threading.Lock()
        self._known: dict[str, Download] = {}
        self._stops: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._closed = False

    def all(self) -> list[Download]:
        """Those that run, and the last ones that ended; the newest first."""
        with self._lock:
            return list(reversed(self._known.values()))

    def begin(self, name: str) -> Download:
        """Download ``name``, unless that is being done already.

        Raises ModelNotFound for what no hub can have, Busy; Conflict when closing.
        """
        model = canonical_name(name)
        if hub_id(model) is None:
            raise ModelNotFound(name, remedy="The hub has models such as small, or ORGANISATION/MODEL.")
        with self._lock:
            if self._closed:
                raise Conflict("The server is shutting down.", remedy="Begin the download when it is back.")
            known = self._known.get(model)
            if known is not None and known.state is DownloadState.RUNNING:
                return known
            if len(self._threads) >= MOST_AT_ONCE:
                raise Busy(f"{MOST_AT_ONCE} models are being downloaded already.", retry_after=60)
            return self._start(model)

    def cancel(self, name: str) -> Download:
        """Stop a download; what has arrived is kept. Raises NotFound, Conflict when it has ended."""
        model = canonical_name(name)
        with self._lock:
            known = self._known.get(model)
            if known is None:
                raise NotFound(f"{model} is not being downloaded.", remedy="GET /api/models/downloads lists what is.")
            if known.state is not DownloadState.RUNNING:
                raise Conflict(f"The download of {model} is {known.state.value}.", remedy="There is nothing to stop.")
            self._stops[model].set()
            # Said at once: a hub that is silent keeps its thread for half a minute.
            self._known[model] = replace(known, state=DownloadState.CANCELLED)
            return self._known[model]

    def close(self) -> None:
        """Stop all, and wait a little for their threads. Blocking."""
        with self._lock:
            self._closed = True
            for stop in self._stops.values():
                stop.set()
            threads = list(self._threads.values())
        until = self._clock() + END_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - self._clock()))

    def _start(self, model: str) -> Download:
        if model in self._threads:
            raise Busy(f"The download of {model} is just being stopped.", retry_after=5)
        download = Download(model=model, state=DownloadState.RUNNING)
        self._known.pop(model, None)
        self._known[model] = download
        self._forget_old()
        stop = self._stops[model] = threading.Event()
        # A daemon: a hub that says nothing must not keep the process alive.
        thread = threading.Thread(target=self._run, args=(model, stop), name=f"kikitori-pull {model}", daemon=True)
        self._threads[model] = thread
        thread.start()
        logger.info("download begun", extra={"action": "pull_begun", "model": model})
        return download

    def _run(self, model: str, stop: threading.Event) -> None:
        began, first = self._clock(), -1

        def report(done: int, total: int) -> None:
            nonlocal first
            if stop.is_set():
                raise DecodingCancelled
            first = done if first < 0 else first
            seconds = self._clock() - began
            speed = (done - first) / seconds if seconds > 0 else 0.0
            self._change(model, bytes_done=done, bytes_total=total, bytes_per_second=speed)

        try:
            spec = self._source.pull(model, report)
            self._end(model, DownloadState.DONE)
            logger.info("download done", extra={"action": "pull_done", "model": model, "bytes": spec.size_bytes})
        except DecodingCancelled:
            self._end(model, DownloadState.CANCELLED)
            logger.info("download stopped", extra={"action": "pull_stopped", "model": model})
        except KikitoriError as exc:
            self._end(model, DownloadState.FAILED, error=exc.public)
            facts = {"action": "pull_failed", "model": model, "reason": str(exc)}
            logger.warning("download failed", extra=facts)
        except Exception:  # a thread that nobody joins: who watches must hear of it
            self._end(model, DownloadState.FAILED, error=BROKEN)
            logger.exception("download failed", extra={"action": "pull_failed", "model": model, "reason": "unknown"})

    def _change(self, model: str, **values: object) -> None:
        with self._lock:
            known = self._known[model]
            if known.state is DownloadState.RUNNING:
                self._known[model] = replace(known, **values)  # type: ignore[arg-type]  # the names above

    def _end(self, model: str, state: DownloadState, *, error: str = "") -> None:
        with self._lock:
            del self._threads[model]
            with suppress(KeyError):  # forgotten meanwhile: cancelled ones may be
                known = self._known[model]
                if known.state is DownloadState.CANCELLED and state is DownloadState.FAILED:
                    return  # whatever broke, it was not wanted any more
                done = known.bytes_total if state is DownloadState.DONE else known.bytes_done
                self._known[model] = replace(known, state=state, bytes_done=done, error=error)

    def _forget_old(self) -> None:
        ended = [name for name, each in self._known.items() if each.state is not DownloadState.RUNNING]
        for name in ended[: max(0, len(self._known) - MOST_REMEMBERED)]:
            del self._known[name]
