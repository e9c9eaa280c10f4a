"""Where a model's replicas go: which devices, with which threads and batch sizes."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kikitori.engines.base import Engine, EngineConfig, EngineInfo
from kikitori.errors import KikitoriError, ModelLoadFailed
from kikitori.inference.models import ModelSpec

logger = logging.getLogger(__name__)

CPU_BATCH_SIZE = 8
GPU_BATCH_SIZE = 32
MOST_CPU_THREADS = 8
"""CTranslate2 gains little from more threads on one call."""
SERIAL_REPLICAS = 4
"""At most so many copies of an engine that cannot merge calls."""

LoadEngine = Callable[[str, EngineConfig], Engine]
"""Builds an engine by name; ``engines.registry.load_engine``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What models may use."""

    device: str = "cpu"
    device_index: tuple[int, ...] = (0,)
    compute_type: str = "default"
    cpu_threads: int = 0
    """Threads of one call; 0: what ``share_cores`` says."""
    cpu_workers: int = 0
    """Calls of one model at a time; 0: as many as the cores allow."""
    max_batch_size: int = 0
    """0: 8 on the CPU, 32 on a GPU."""
    engine_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Extra constructor arguments, by engine name."""


def configs(spec: ModelSpec, info: EngineInfo, hardware: Hardware) -> list[EngineConfig]:
    """One configuration for each replica of ``spec``."""
    device = hardware.device if hardware.device in info.devices else "cpu"
    cores = usable_cores()
    if device != "cpu":
        indexes: Sequence[int] = hardware.device_index
    else:
        indexes = range(1 if info.max_batch_size > 1 or info.remote else min(cores, SERIAL_REPLICAS))
    threads, workers = share_cores(cores, hardware.cpu_threads, hardware.cpu_workers)
    if device != "cpu" or not info.parallel_runs:
        threads, workers = hardware.cpu_threads or min(cores, MOST_CPU_THREADS), 1
    batch_size = hardware.max_batch_size or (CPU_BATCH_SIZE if device == "cpu" else GPU_BATCH_SIZE)
    return [
        EngineConfig(
            model=spec.path,
            device=device,
            device_index=0 if device == "cpu" else index,
            compute_type=hardware.compute_type,
            cpu_threads=threads,
            workers=workers,
            max_batch_size=batch_size if info.max_batch_size > 1 else 1,
            extra=hardware.engine_options.get(spec.engine, {}),
        )
        for index in indexes
    ]


def share_cores(cores: int, threads: int = 0, workers: int = 0) -> tuple[int, int]:
    """Threads of one call, and calls at a time, for an engine that runs several on one CPU.

    Whisper's decoder is a long row of small matrices: a second thread gains little there and often
    loses, while the encoder alone is nearly twice as fast with two. So both grow with the cores:
    2 cores give two calls of one thread, 16 cores four calls of four.
    """
    threads = threads or (max(1, cores // workers) if workers else math.isqrt(cores))
    return threads, workers or max(1, cores // threads)


def load_engines(
    spec: ModelSpec, configurations: Sequence[EngineConfig], load_engine: LoadEngine
) -> list[tuple[EngineConfig, Engine]]:
    """Load each replica. A GPU without room is skipped with a warning; none left is an error."""
    loaded: list[tuple[EngineConfig, Engine]] = []
    failure: ModelLoadFailed | None = None
    for config in configurations:
        try:
            loaded.append((config, load_engine(spec.engine, config)))
        except Exception as exc:  # engines raise what they like; one bad GPU must not stop the others
            failure = _as_load_failure(spec, exc)
            logger.warning(
                "replica skipped",
                extra={
                    "action": "replica_skipped",
                    "model": spec.id,
                    "device": f"{config.device}:{config.device_index}",
                    "reason": str(exc),
                },
            )
            if config.device == "cpu":
                break
    if not loaded:
        raise failure or ModelLoadFailed(f"There is no device for the model {spec.id}.")
    return loaded


def _as_load_failure(spec: ModelSpec, exc: Exception) -> ModelLoadFailed:
    if isinstance(exc, ModelLoadFailed):
        exc.model, exc.place = spec.id, _on_disk(spec)
        return exc
    remedy = exc.remedy if isinstance(exc, KikitoriError) else ""
    message = exc.message if isinstance(exc, KikitoriError) else f"The model {spec.id} cannot be loaded: {exc}."
    failure = ModelLoadFailed(message, remedy=remedy, model=spec.id, place=_on_disk(spec))
    failure.__cause__ = exc
    return failure


def _on_disk(spec: ModelSpec) -> str:
    """What clients are not told."""
    return "" if spec.remote else spec.path


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
