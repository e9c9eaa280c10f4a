"""What the pool says of itself; shown by ``GET /api/models/loaded`` and /metrics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ModelState(StrEnum):
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"  # the last load failed; the next request tries again


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStatus:
    """One loaded model and its thread."""

    device: str
    device_index: int
    compute_type: str
    waiting: int
    """Calls that wait for a batch."""
    running: int
    """Calls in the batch that runs now."""
    batches: int
    """Batches run since loading."""
    mean_batch_size: float
    batch_fill: float
    """Mean share of the largest batch allowed, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    model: str
    engine: str
    state: ModelState
    pinned: bool
    """Never unloaded when idle or when memory is short."""
    requests: int
    """Requests that run or wait now."""
    memory_bytes: int
    idle_seconds: float
    replicas: tuple[ReplicaStatus, ...]
    error: str = ""
