"""What was measured, as a table for people and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kikitori.cli.bench.measuring import Measured
    from kikitori.cli.bench.metrics import Level

COLUMNS = (
    "sessions",
    "final after speech",
    "after endpoint",
    "first word shown",
    "word stable",
    "erasure",
    "stable changed",
    "WER",
    "lag growth",
    "spread",
    "real time",
)
NOTES = (
    "Seconds, p50 / p95, by the clients' clocks, from sending the sample. Erasure: words taken back on the screen for "
    "each word of the finals. Stable changed: part of the append-only words that the final decided otherwise. Lag "
    "growth: seconds a second. Spread: of the sessions' p95, by their median. Real time: p95 after the endpoint ≤ 1 s, "
    "lag growth ≤ 0.02, no error."
)


def rows(measured: Measured) -> list[tuple[str, ...]]:
    """A row for each number of sessions."""
    return [_row(measured.levels[count]) for count in sorted(measured.levels)]


def findings(measured: Measured) -> list[str]:
    """What the numbers come to, a sentence each."""
    tried = "" if measured.most_held < max(measured.levels, default=0) else ", the most that were tried"
    said = [f"Most sessions held in real time: {measured.most_held}{tried}."]
    if measured.offline is not None and measured.wer_change is not None:
        change = measured.wer_change * 100
        said.append(
            f"WER of the same audio as a file: {_percent(measured.offline.rate)}; live, at the fewest sessions: "
            f"{change:+.1f} points."
        )
    levels = measured.levels.values()
    lost, tails = sum(level.lost_words for level in levels), sum(level.lost_tail_words for level in levels)
    repeated, changed = sum(level.repeated_runs for level in levels), sum(level.changed_finals for level in levels)
    said.append(
        f"Words without a counterpart in the finals: {lost}, {tails} of them at the end of an utterance; runs of four "
        f"words heard twice: {repeated}; finals changed later: {changed}."
    )
    slip = max((level.slip for level in levels), default=0.0)
    said.append(f"The clients sent no frame later than {slip * 1000:.0f} ms after it was due.")
    return said


def as_json(measured: Measured) -> str:
    """One object; what is not known is null."""
    levels = [{name: _finite(value) for name, value in asdict(level).items()} for level in measured.levels.values()]
    offline = None if measured.offline is None else measured.offline.rate
    found: dict[str, Any] = {
        "most_held": measured.most_held,
        "offline_error_rate": offline,
        "error_rate_change": measured.wer_change,
        "levels": sorted(levels, key=lambda level: level["sessions"]),
    }
    return json.dumps(found, indent=2)


def _row(level: Level) -> tuple[str, ...]:
    return (
        str(level.sessions),
        f"{_seconds(level.final_p50)} / {_seconds(level.final_p95)}",
        f"{_seconds(level.after_endpoint_p50)} / {_seconds(level.after_endpoint_p95)}",
        f"{_seconds(level.first_interim_p50)} / {_seconds(level.first_interim_p95)}",
        f"{_seconds(level.word_stable_p50)} / {_seconds(level.word_stable_p95)}",
        f"{level.erasure:.2f}",
        _percent(level.false_stable),
        _percent(level.error_rate),
        f"{level.lag_slope:+.3f}",
        f"{level.unfairness:.2f}",
        "yes" if level.held else f"no ({level.problems} failed)" if level.problems else "no",
    )


def _seconds(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _percent(value: float) -> str:
    return f"{value * 100:.1f} %"


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
