"""Rounds and medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def alternate(ways: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, ``rounds`` times in turn, so that noise hits all alike; one warm-up round before."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(of: list[float], to: list[float]) -> float:
    """Median over the rounds of ``of / to``, each pair measured back to back."""
    return statistics.median(one / other for one, other in zip(of, to, strict=True))
