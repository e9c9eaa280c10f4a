"""Journals → numbers. Pure.

Latencies are counted from the moment the client sent the sample, by the client's clock alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kikitori.cli.bench.alignment import Alignment, Errors, align, common_beginning, normalize, normalize_truth, repeats
from kikitori.cli.bench.journal import Journal, Seen
from kikitori.cli.bench.truth import TrueWord

NEAR_SECONDS = 0.3
"""How far the edges of an utterance may be from its words."""
TAIL_SECONDS = 1.0
LONGEST = "longest"
"""Why an utterance ended that did not end in silence."""
MOST_AFTER_ENDPOINT_SECONDS = 1.0
MOST_LAG_SLOPE = 0.02
"""Seconds a second."""
SLOPE_SECONDS = 15.0
"""A shorter session says nothing about growth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One session. Lists have a value for each utterance or word."""

    client: int
    final: tuple[float, ...]
    """From the end of speech to the final."""
    after_endpoint: tuple[float, ...]
    """The same, without the silence that makes an endpoint."""
    first_interim: tuple[float, ...]
    """From the end of an utterance's first word to its first showing."""
    first_stable: tuple[float, ...]
    word_shown: tuple[float, ...]
    """From the end of a word to the moment since when it was shown without a change."""
    word_stable: tuple[float, ...]
    erased_words: int
    stable_words: int
    changed_stable_words: int
    changed_finals: int
    final_words: int
    errors: Errors
    lost_tail_words: int
    """Words in the last second of an utterance that nothing in its final stands for."""
    repeated_runs: int
    lag_slope: float
    most_lag: float
    degraded: int
    slip: float
    """How late the client itself sent a frame, at worst."""
    healthy: bool
    """It ran to its end without an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """All sessions that ran at once."""

    sessions: int
    final_p50: float
    final_p95: float
    after_endpoint_p50: float
    after_endpoint_p95: float
    first_interim_p50: float
    first_interim_p95: float
    first_stable_p50: float
    word_shown_p50: float
    word_stable_p50: float
    word_stable_p95: float
    erasure: float
    """Words taken back on the screen, for each word of the finals."""
    false_stable: float
    """Part of the stable words that their own final changed."""
    changed_finals: int
    error_rate: float
    lost_words: int
    lost_tail_words: int
    repeated_runs: int
    lag_slope: float
    most_lag: float
    degraded: int
    unfairness: float
    """Spread of the sessions' p95 final latencies, by their median."""
    slip: float
    problems: int
    held: bool
    """In real time: finals within a second of the endpoint, no growing lag, no problem."""


def score(journal: Journal) -> Score:
    language = journal.language
    truth = normalize_truth(journal.truth, language)
    finals = _finals(journal.seen)
    heard = [word for final in finals for word in normalize(final.text, language)]
    errors = align([word.word for word in truth], heard).errors
    utterances = [_utterance(journal, final, truth) for final in finals]
    spoken = [item for item in utterances if item.truth]
    stable = [item.stable_and_changed() for item in utterances]
    return Score(
        client=journal.client,
        final=tuple(item.final_latency for item in spoken if item.final.reason != LONGEST),
        after_endpoint=tuple(
            item.final_latency - journal.endpoint_seconds for item in spoken if item.final.reason == "pause"
        ),
        first_interim=tuple(value for item in spoken if (value := item.first_latency(stable=False)) is not None),
        first_stable=tuple(value for item in spoken if (value := item.first_latency(stable=True)) is not None),
        word_shown=tuple(value for item in spoken for value in item.word_latencies(stable=False)),
        word_stable=tuple(value for item in spoken for value in item.word_latencies(stable=True)),
        erased_words=sum(item.erased() for item in utterances),
        stable_words=sum(count for count, _ in stable),
        changed_stable_words=sum(changed for _, changed in stable),
        changed_finals=_changed_finals(journal.seen),
        final_words=len(heard),
        errors=errors,
        lost_tail_words=sum(item.lost_tail() for item in spoken),
        repeated_runs=repeats([word.word for word in truth], heard),
        lag_slope=max(
            _slope([(seen.at, _age(journal, seen)) for seen in journal.seen if seen.kind == kind])
            for kind in ("interim", "final")
        ),
        most_lag=max((seen.value for seen in journal.seen if seen.kind == "lag"), default=0.0),
        degraded=round(max((seen.value for seen in journal.seen if seen.kind == "degraded"), default=0.0)),
        slip=max((at - number * journal.frame_seconds for number, at in enumerate(journal.sent)), default=0.0),
        healthy=journal.ended and not journal.problem and all(seen.kind != "error" for seen in journal.seen),
    )


def summarize(scores: Sequence[Score], sessions: int) -> Level:
    """The level of ``scores``, which ran at once."""
    final, after = _all(score.final for score in scores), _all(score.after_endpoint for score in scores)
    errors = sum((score.errors for score in scores), Errors())
    slope = statistics.median(score.lag_slope for score in scores) if scores else 0.0
    problems = sum(not score.healthy for score in scores) + max(0, sessions - len(scores))
    after_p95 = percentile(after, 95)
    on_time = bool(after) and after_p95 <= MOST_AFTER_ENDPOINT_SECONDS
    return Level(
        sessions=sessions,
        final_p50=percentile(final, 50),
        final_p95=percentile(final, 95),
        after_endpoint_p50=percentile(after, 50),
        after_endpoint_p95=after_p95,
        first_interim_p50=percentile(_all(score.first_interim for score in scores), 50),
        first_interim_p95=percentile(_all(score.first_interim for score in scores), 95),
        first_stable_p50=percentile(_all(score.first_stable for score in scores), 50),
        word_shown_p50=percentile(_all(score.word_shown for score in scores), 50),
        word_stable_p50=percentile(_all(score.word_stable for score in scores), 50),
        word_stable_p95=percentile(_all(score.word_stable for score in scores), 95),
        erasure=_ratio(sum(score.erased_words for score in scores), sum(score.final_words for score in scores)),
        false_stable=_ratio(
            sum(score.changed_stable_words for score in scores), sum(score.stable_words for score in scores)
        ),
        changed_finals=sum(score.changed_finals for score in scores),
        error_rate=errors.rate,
        lost_words=errors.deletions,
        lost_tail_words=sum(score.lost_tail_words for score in scores),
        repeated_runs=sum(score.repeated_runs for score in scores),
        lag_slope=slope,
        most_lag=max((score.most_lag for score in scores), default=0.0),
        degraded=max((score.degraded for score in scores), default=0),
        unfairness=_unfairness(scores),
        slip=max((score.slip for score in scores), default=0.0),
        problems=problems,
        held=on_time and slope <= MOST_LAG_SLOPE and not problems,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not below ``percent`` of them; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _age(journal: Journal, seen: Seen) -> float:
    """How old the newest sample is that a text took into account."""
    return seen.at - journal.sent_at(seen.end)


# An utterance ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Utterance:
    journal: Journal
    final: Seen
    truth: list[TrueWord]
    """What was said in it."""
    words: list[str]
    """Those of its final."""
    displays: list[tuple[float, list[str], list[str]]]
    """When, all words, stable words; the final is the last one."""

    @property
    def final_latency(self) -> float:
        return self.final.at - self.journal.sent_at(self.truth[-1].end)

    def first_latency(self, *, stable: bool) -> float | None:
        """Of the first word, if it was ever shown right."""
        first = self.truth[0]
        for at, words, sure in self.displays:
            if (sure if stable else words)[:1] == [first.word]:
                return at - self.journal.sent_at(first.end)
        return None

    def word_latencies(self, *, stable: bool) -> list[float]:
        """Of the words that are right in the final."""
        return [
            self._since(column, stable=stable) - self.journal.sent_at(self.truth[row].end)
            for row, column in self._alignment().equal
        ]

    def _since(self, position: int, *, stable: bool) -> float:
        """Since when the word of the final at ``position`` stood there without a change."""
        since = self.final.at
        for at, words, sure in reversed(self.displays):
            shown = sure if stable else words
            if shown[position : position + 1] != self.words[position : position + 1]:
                break
            since = at
        return since

    def erased(self) -> int:
        texts = [words for _, words, _ in self.displays]
        return sum(len(one) - common_beginning(one, other) for one, other in pairwise(texts))

    def stable_and_changed(self) -> tuple[int, int]:
        """Words that were called stable, and those of them that the final has not."""
        sure = max((sure for _, _, sure in self.displays[:-1]), key=len, default=[])
        return len(sure), len(sure) - len(align(sure, self.words).equal)

    def lost_tail(self) -> int:
        begin = self.truth[-1].end - TAIL_SECONDS
        return sum(self.truth[row].end > begin for row in self._alignment().deleted)

    def _alignment(self) -> Alignment:
        return align([word.word for word in self.truth], self.words)


def _utterance(journal: Journal, final: Seen, truth: Sequence[TrueWord]) -> _Utterance:
    inside = [word for word in truth if final.start - NEAR_SECONDS <= (word.start + word.end) / 2 <= final.end]
    displays = [
        (seen.at, normalize(seen.text, journal.language), normalize(seen.stable, journal.language))
        for seen in journal.seen
        if seen.kind == "interim" and seen.utterance == final.utterance and seen.at <= final.at
    ]
    words = normalize(final.text, journal.language)
    return _Utterance(journal, final, inside, words, [*displays, (final.at, words, words)])


def _finals(seen: Iterable[Seen]) -> list[Seen]:
    """The first final of each utterance, in the order of speech."""
    first: dict[int, Seen] = {}
    for message in seen:
        if message.kind == "final":
            first.setdefault(message.utterance, message)
    return sorted(first.values(), key=lambda message: message.start)


def _changed_finals(seen: Iterable[Seen]) -> int:
    texts: dict[int, set[str]] = {}
    for message in seen:
        if message.kind == "final":
            texts.setdefault(message.utterance, set()).add(message.text)
    return sum(len(each) - 1 for each in texts.values())


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Seconds a second, by least squares; 0 for a session that is too short to say."""
    if len(points) < 3 or points[-1][0] - points[0][0] < SLOPE_SECONDS:
        return 0.0
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def _unfairness(scores: Sequence[Score]) -> float:
    each = [percentile(score.final, 95) for score in scores if score.final]
    return (max(each) - min(each)) / statistics.median(each) if each and statistics.median(each) else 0.0


def _all(lists: Iterable[Iterable[float]]) -> list[float]:
    return [value for values in lists for value in values]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
