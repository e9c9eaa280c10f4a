"""Loaded models and who may use them: loading, sharing, idle unload, memory budget."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from kikitori.engines.base import EngineConfig, EngineInfo
from kikitori.errors import Busy, Conflict, KikitoriError, ModelLoadFailed, NotFound
from kikitori.inference.loaded import LoadedModel
from kikitori.inference.models import ModelSpec
from kikitori.inference.placement import Hardware, LoadEngine, configs, load_engines
from kikitori.inference.replica import Replica
from kikitori.inference.status import ModelState, ModelStatus
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Priority

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = (1.0, 60.0)


class Catalog(Protocol):
    """Names to models; ``inference.models.ModelCatalog``."""

    def resolve(self, name: str) -> ModelSpec: ...


class PoolListener(Protocol):
    """Told what the pool does; ``kikitori.metrics.Metrics``."""

    def batch_ran(self, kind: str, size: int, seconds: float) -> None: ...
    def call_waited(self, priority: str, seconds: float) -> None: ...


@dataclass(slots=True, eq=False)
class _Entry:
    """One model and the state of its load."""

    spec: ModelSpec
    state: ModelState = ModelState.LOADING
    model: LoadedModel | None = None
    loading: asyncio.Task[LoadedModel] | None = None
    pinned: bool = False
    memory_bytes: int = 0
    """Taken, or set aside for a load under way."""
    requests: int = 0
    last_used: float = 0.0
    error: str = ""
    recent_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=32))


class ModelPool:
    """Loads, shares and unloads models. Used as ``async with``; belongs to one event loop."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        load_engine: LoadEngine,
        engine_info: Callable[[str], EngineInfo],
        hardware: Hardware | None = None,
        max_requests: int = 200,
        idle_seconds: float = 600.0,
        memory_budget_bytes: int = 0,
        listener: PoolListener | None = None,
        clock: Callable[[], float] = time.monotonic,
        sweep_seconds: float = 5.0,
    ) -> None:
        self._catalog = catalog
        self._load_engine, self._engine_info = load_engine, engine_info
        self._hardware = hardware or Hardware()
        self._max_requests, self._idle_seconds = max_requests, idle_seconds
        self._memory_budget = memory_budget_bytes
        self._listener, self._clock, self._sweep_seconds = listener, clock, sweep_seconds
        self._entries: dict[str, _Entry] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._sweeper = asyncio.create_task(self._sweep(), name="kikitori-model-sweeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._sweeper:
            self._sweeper.cancel()
        entries, self._entries = list(self._entries.values()), {}
        for entry in entries:
            if entry.loading:
                await asyncio.wait([entry.loading])
            if entry.model:
                await entry.model.close()
        if self._closing:
            await asyncio.wait(self._closing)

    # Using models

    @asynccontextmanager
    async def use(self, name: str = "") -> AsyncIterator[LoadedModel]:
        """Hold a model for one request, loading it when needed.

        Raises ModelNotFound, ModelLoadFailed, and Busy when ``max_requests`` run or wait already.
        """
        entry = self._entry(self._catalog.resolve(name))
        if entry.requests >= self._max_requests:
            raise Busy(f"{entry.requests} requests are waiting for {entry.spec.id}.", retry_after=_retry_after(entry))
        entry.requests += 1
        started = self._clock()
        try:
            yield await self._ready_model(entry)
            entry.recent_seconds.append(self._clock() - started)
        finally:
            entry.requests -= 1
            entry.last_used = self._clock()

    def info(self, name: str = "") -> EngineInfo:
        """What the engine of a model can do, without loading it. Raises ModelNotFound."""
        return self._engine_info(self._catalog.resolve(name).engine)

    async def load(self, name: str, *, pin: bool = False) -> ModelStatus:
        """Load now (and keep, when pinned). Raises ModelNotFound, ModelLoadFailed."""
        entry = self._entry(self._catalog.resolve(name))
        entry.pinned = entry.pinned or pin  # first: it must not be made to go in the moment it comes
        await self._ready_model(entry)
        return self._status(entry)

    async def unload(self, name: str) -> None:
        """Unload now. Raises NotFound when it is not loaded, Conflict while requests use it."""
        spec = self._catalog.resolve(name)
        entry = self._entries.get(spec.id)
        if entry is None:
            raise NotFound(f"The model {spec.id} is not loaded.")
        if entry.requests or entry.state is ModelState.LOADING:
            raise Conflict(f"The model {spec.id} is in use.", remedy="Try again when its requests have ended.")
        await self._remove(entry, reason="asked")

    # What is going on

    @property
    def ready(self) -> bool:
        """The default model is loaded and warm."""
        try:
            entry = self._entries.get(self._catalog.resolve("").id)
        except KikitoriError:
            return False
        return entry is not None and entry.state is ModelState.READY

    def loaded(self) -> list[ModelStatus]:
        return [self._status(entry) for entry in self._entries.values()]

    def waiting(self) -> dict[Priority, int]:
        """Calls that wait for a batch, over all models."""
        totals = dict.fromkeys(Priority, 0)
        for entry in self._entries.values():
            for replica in entry.model.replicas if entry.model else ():
                for priority, count in replica.waiting().items():
                    totals[priority] += count
        return totals

    def _status(self, entry: _Entry) -> ModelStatus:
        replicas = entry.model.replicas if entry.model else ()
        return ModelStatus(
            model=entry.spec.id,
            engine=entry.spec.engine,
            state=entry.state,
            pinned=entry.pinned,
            requests=entry.requests,
            memory_bytes=entry.memory_bytes,
            idle_seconds=0.0 if entry.requests else max(0.0, self._clock() - entry.last_used),
            replicas=tuple(replica.status() for replica in replicas),
            error=entry.error,
        )

    # Loading

    def _entry(self, spec: ModelSpec) -> _Entry:
        if self._closed:
            raise ModelLoadFailed("The server is shutting down.")
        entry = self._entries.setdefault(spec.id, _Entry(spec, last_used=self._clock()))
        if entry.model is None and entry.loading is None:
            entry.spec = spec  # since the load that failed, its place may have changed
        return entry

    async def _ready_model(self, entry: _Entry) -> LoadedModel:
        """The loaded model; loads it, or joins the load under way. A failed load is tried again."""
        if entry.model is not None:
            return entry.model
        if entry.loading is None:
            entry.state, entry.error = ModelState.LOADING, ""
            entry.loading = asyncio.create_task(self._load(entry), name=f"kikitori-load-{entry.spec.id}")
            entry.loading.add_done_callback(_seen)
        # Shielded: a caller that goes away does not take the load from the others.
        return await asyncio.shield(entry.loading)

    async def _load(self, entry: _Entry) -> LoadedModel:
        started = self._clock()
        try:
            configurations = configs(entry.spec, self._engine_info(entry.spec.engine), self._hardware)
            await self._make_room(entry, entry.spec.size_bytes * len(configurations))
            if self._closing:  # what goes must have gone: there may be no room for both
                await asyncio.wait(self._closing)
            entry.model = await self._build(entry.spec, configurations)
            entry.memory_bytes = entry.spec.size_bytes * len(entry.model.replicas)
            entry.state = ModelState.READY
        except Exception as exc:  # shown by GET /api/models/loaded; the next request tries again
            shown = exc.public if isinstance(exc, KikitoriError) else str(exc)
            entry.state, entry.error, entry.memory_bytes = ModelState.FAILED, shown, 0
            logger.error(
                "model load failed",
                extra={"action": "model_load_failed", "model": entry.spec.id, "reason": str(exc)},
            )
            raise
        finally:
            entry.loading = None
            entry.last_used = self._clock()
        logger.info(
            "model ready",
            extra={
                "action": "model_ready",
                "model": entry.spec.id,
                "engine": entry.spec.engine,
                "replicas": len(entry.model.replicas),
                "seconds": round(self._clock() - started, 3),
            },
        )
        return entry.model

    async def _build(self, spec: ModelSpec, configurations: Sequence[EngineConfig]) -> LoadedModel:
        engines = await asyncio.to_thread(load_engines, spec, configurations, self._load_engine)
        replicas = [
            Replica(
                engine,
                device=config.device,
                device_index=config.device_index,
                compute_type=config.compute_type,
                workers=config.workers,
                on_batch=self._on_batch,
            )
            for config, engine in engines
        ]
        return LoadedModel(spec, await _warmed_up(spec, replicas), clock=self._clock)

    def _on_batch(self, key: Hashable, waits: Sequence[tuple[Priority, float]], seconds: float) -> None:
        if self._listener is None:
            return
        self._listener.batch_ran(getattr(key, "kind", "call"), len(waits), seconds)
        for priority, waited in waits:
            self._listener.call_waited(priority.value, waited)

    # Unloading

    async def _make_room(self, newcomer: _Entry, needed: int) -> None:
        """Set ``needed`` bytes aside, unloading the least recently used idle models if they do not fit the budget."""
        while self._memory_budget and self._memory_used() + needed > self._memory_budget:
            others = [entry for entry in self._entries.values() if entry.memory_bytes]
            idle = [entry for entry in others if self._may_go(entry)]
            kept = sum(entry.memory_bytes for entry in others if entry.pinned)
            if kept + needed > self._memory_budget:
                beside = " beside the models that always stay" if kept else " alone"
                raise ModelLoadFailed(
                    f"The model {newcomer.spec.id}{beside} is larger than the memory budget.",
                    remedy="Raise memory_budget_bytes or take a smaller model.",
                )
            if self._memory_used() - sum(entry.memory_bytes for entry in idle) + needed > self._memory_budget:
                raise Busy("All models in memory are in use.", retry_after=_retry_after(newcomer))
            await self._remove(min(idle, key=lambda entry: entry.last_used), reason="memory")
        newcomer.memory_bytes = needed

    def _memory_used(self) -> int:
        return sum(entry.memory_bytes for entry in self._entries.values())

    @staticmethod
    def _may_go(entry: _Entry) -> bool:
        return entry.model is not None and not entry.pinned and entry.requests == 0

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_seconds)
            await self.unload_idle()

    async def unload_idle(self) -> None:
        """Unload models that nobody used for ``idle_seconds``."""
        if self._idle_seconds < 0:
            return
        for entry in [entry for entry in self._entries.values() if self._may_go(entry)]:
            if self._may_go(entry) and self._clock() - entry.last_used >= self._idle_seconds:
                await self._remove(entry, reason="idle")

    async def _remove(self, entry: _Entry, *, reason: str) -> None:
        """Forget the entry first, so that no request can take a model that is closing."""
        if self._entries.get(entry.spec.id) is entry:
            del self._entries[entry.spec.id]
        if entry.model is not None:
            await self._uninterrupted(entry.model.close())
        logger.info("model unloaded", extra={"action": "model_unloaded", "model": entry.spec.id, "why": reason})

    async def _uninterrupted(self, closing: Coroutine[Any, Any, None]) -> None:
        """Finish closing even when the request that caused it goes away."""
        task = asyncio.create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        await asyncio.shield(task)


async def _warmed_up(spec: ModelSpec, replicas: Sequence[Replica]) -> list[Replica]:
    """The replicas that work: first calls are slow, and show what is broken or has no room. None is an error."""
    failures = await asyncio.gather(*(asyncio.to_thread(_warm_up, replica) for replica in replicas))
    for replica, failure in zip(replicas, failures, strict=True):
        if failure is not None:
            logger.warning(
                "replica skipped",
                extra={
                    "action": "replica_skipped",
                    "model": spec.id,
                    "device": f"{replica.status().device}:{replica.status().device_index}",
                    "reason": str(failure),
                },
            )
            await asyncio.to_thread(replica.close)
    working = [replica for replica, failure in zip(replicas, failures, strict=True) if failure is None]
    if not working:
        raise next(failure for failure in failures if failure is not None)
    return working


def _warm_up(replica: Replica) -> Exception | None:
    """Decode one second of near-silence; what went wrong. Blocking."""
    if replica.engine.info.remote:
        return None
    audio = (np.random.default_rng(0).standard_normal(SAMPLE_RATE) * 1e-4).astype(np.float32)
    calls = replica.calls(Priority.NORMAL)
    try:
        for _ in replica.engine.transcribe(audio, DecodeOptions(temperature=(0.0,)), calls).segments:
            pass
    except Exception as exc:  # engines raise what they like; one bad GPU must not stop the others
        return exc
    return None


def _retry_after(entry: _Entry) -> float:
    """About when a place is free: the usual time of a request."""
    low, high = RETRY_AFTER_SECONDS
    usual = statistics.median(entry.recent_seconds) if entry.recent_seconds else low
    return min(high, max(low, usual))


def _seen(task: asyncio.Task[LoadedModel]) -> None:
    """A load whose callers all went away must not be reported as never awaited."""
    if not task.cancelled():
        task.exception()
