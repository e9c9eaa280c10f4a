"""One loaded model and its workers: schedule → run → deliver.

A worker is a thread that takes a batch as soon as it is idle; while it runs one, calls gather. So
batches form by themselves under load, and nobody waits for company when there is none. A GPU has
one worker; on a CPU several with few threads each get more done than one with many.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from kikitori.engines.base import Engine
from kikitori.errors import DecodingCancelled
from kikitori.inference.scheduler import Item, Scheduler
from kikitori.inference.status import ReplicaStatus
from kikitori.types import Priority

logger = logging.getLogger(__name__)

BatchListener = Callable[[Hashable, Sequence[tuple[Priority, float]], float], None]
"""Told of every batch: its key, each call's priority and the seconds it waited, the seconds it ran."""


FAILURES_IN_A_ROW = 3
"""So many calls that fail one after another, each on its own, are the fault of the device."""
AVOIDED_SECONDS = 30.0


class Call(Item):
    """A waiting call and the future its thread blocks on."""

    __slots__ = ("future",)

    def __init__(self, key: Hashable, payload: object, priority: Priority, arrived: float) -> None:
        super().__init__(key, payload, priority, arrived)
        self.future: Future[Any] = Future()


class Replica:
    """Owns one engine and the only threads that call ``engine.run``."""

    def __init__(
        self,
        engine: Engine,
        *,
        device: str = "cpu",
        device_index: int = 0,
        compute_type: str = "default",
        workers: int = 1,
        on_batch: BatchListener = lambda key, waits, seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self.jobs = 0
        """Decodings that use this replica now; kept by the pool, on the event loop."""
        self.device, self._device_index, self._compute_type = device, device_index, compute_type
        self._on_batch, self._clock = on_batch, clock
        self.workers = workers
        """Batches that run at a time."""
        self._scheduler: Scheduler[Call] = Scheduler(self._batch_limit, takers=workers)
        self._limit = max(1, engine.info.max_batch_size)
        self._condition = threading.Condition()
        self._closed = False
        self._running = 0
        self._batches, self._calls, self._fill = 0, 0, 0.0
        self._failures, self._failed_at = 0, 0.0
        self._threads: list[threading.Thread] = []

    def calls(self, priority: Priority) -> ReplicaCalls:
        """A new request's way to the model."""
        return ReplicaCalls(self, priority)

    def status(self) -> ReplicaStatus:
        with self._condition:
            batches = max(1, self._batches)
            return ReplicaStatus(
                device=self.device,
                device_index=self._device_index,
                compute_type=self._compute_type,
                waiting=len(self._scheduler),
                running=self._running,
                batches=self._batches,
                mean_batch_size=round(self._calls / batches, 3),
                batch_fill=round(self._fill / batches, 3),
            )

    def waiting(self) -> dict[Priority, int]:
        with self._condition:
            return self._scheduler.waiting()

    @property
    def failing(self) -> bool:
        """Nothing works here at the moment. Failing is quick, so work would all come here if it could."""
        return self._failures >= FAILURES_IN_A_ROW and self._clock() - self._failed_at < AVOIDED_SECONDS

    def close(self) -> None:
        """Refuse new calls, fail the waiting ones, end the workers, free the engine."""
        with self._condition:
            self._closed = True
            while batch := self._scheduler.next_batch():
                for call in batch:
                    _settle(call.future, error=DecodingCancelled())
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
        self.engine.close()

    # Called from decoding threads

    def enqueue(self, call: Call) -> None:
        with self._condition:
            if self._closed:
                raise DecodingCancelled
            if not self._threads:
                self._start_workers()
            if not call.future.done():  # abandoned on its way here
                self._scheduler.add(call)
                self._condition.notify()

    def abandon(self, call: Call) -> None:
        """Free the caller at once. A call that runs already is finished and its result dropped."""
        with self._condition:
            self._scheduler.abandon(call)
            _settle(call.future, error=DecodingCancelled())

    def now(self) -> float:
        return self._clock()

    # The workers

    def _start_workers(self) -> None:
        for _ in range(self.workers):
            thread = threading.Thread(target=self._loop, name="kikitori-replica", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _loop(self) -> None:
        while batch := self._next_batch():
            started = self._clock()
            self._run(batch)
            self._account(batch, started)

    def _next_batch(self) -> list[Call]:
        """Block until there is work; an empty batch means the replica is closed."""
        with self._condition:
            while not self._closed:
                if batch := self._scheduler.next_batch():
                    self._running += len(batch)
                    return batch
                self._condition.wait()
            return []

    def _run(self, batch: Sequence[Call]) -> None:
        """Run a batch; when it fails, halve it, so that only the calls at fault fail."""
        try:
            results = self.engine.run(batch[0].key, [call.payload for call in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"The engine gave {len(results)} results for {len(batch)} calls.")
        except Exception as exc:  # whatever the engine raises belongs to the calls, not to this thread
            if len(batch) == 1:
                with self._condition:
                    self._failures, self._failed_at = self._failures + 1, self._clock()
                _settle(batch[0].future, error=exc)
                return
            self._after_failure(exc, len(batch))
            middle = len(batch) // 2
            self._run(batch[:middle])
            self._run(batch[middle:])
            return
        self._failures = 0
        for call, result in zip(batch, results, strict=True):
            _settle(call.future, result=result)

    def _after_failure(self, exc: Exception, size: int) -> None:
        """A batch that did not fit the memory makes the next ones smaller."""
        if "out of memory" in str(exc).lower():
            self._limit = max(1, min(self._limit, size // 2))
        logger.warning(
            "batch split",
            extra={"action": "batch_split", "size": size, "limit": self._limit, "reason": str(exc)},
        )

    def _batch_limit(self, key: Hashable) -> int:
        return min(self._limit, self.engine.batch_limit(key))

    def _account(self, batch: Sequence[Call], started: float) -> None:
        ended = self._clock()
        with self._condition:
            self._running -= len(batch)
            self._batches += 1
            self._calls += len(batch)
            self._fill += len(batch) / max(1, self._batch_limit(batch[0].key))
        self._on_batch(batch[0].key, [(call.priority, started - call.arrived) for call in batch], ended - started)


class ReplicaCalls:
    """One request's calls to a replica; implements ``engines.base.Calls``.

    Used by one decoding thread; ``cancel`` may come from any.
    """

    def __init__(self, replica: Replica, priority: Priority) -> None:
        self._replica, self._priority = replica, priority
        self._lock = threading.Lock()
        self._cancelled = False
        self._current: Call | None = None

    def submit(self, key: Hashable, payload: object) -> Any:
        call = Call(key, payload, self._priority, self._replica.now())
        with self._lock:
            self.check()
            self._current = call
        self._replica.enqueue(call)
        try:
            return call.future.result()
        finally:
            with self._lock:
                self._current = None

    def check(self) -> None:
        if self._cancelled:
            raise DecodingCancelled

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            call = self._current
        if call is not None:
            self._replica.abandon(call)


def _settle(future: Future[Any], *, result: object = None, error: Exception | None = None) -> None:
    """Give a future its outcome, unless it has one: the caller may have left meanwhile."""
    with suppress(InvalidStateError):
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
