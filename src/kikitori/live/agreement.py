"""Which words of an utterance are stable: shown once, never taken back.

A word becomes stable when two passes agree on it and the second heard at least 0.4 s more audio; when it is sure and
not new any more; or when it is old. What a pass says of audio that is stable already is skipped by finding the last
stable words in it, since times of words differ a little from pass to pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from kikitori.live.options import Agreement
from kikitori.live.words import Unit, split_marks

EVIDENCE_SECONDS = 0.4
"""More audio that a pass must have heard than the one it agrees with: a pass agrees with itself on everything."""
GUARD_SECONDS = 0.3
"""A word that ends so close to the end of the audio may be cut off."""
HOLD_SECONDS = 3.0
"""Words older than this become stable even if passes differ, so that one doubtful word does not block all others."""
HISTORY_SECONDS = 3.0
ANCHOR_UNITS = 4
ANCHOR_SECONDS = 0.6
"""Stable words may be found so far from where they were,"""
LONE_ANCHOR_SECONDS = 0.25
"""and so far when only the last one is found."""
LENGTH_BONUS_SECONDS = 0.04
"""A word more found is worth so much of distance: less than a word is long, for words that are said twice."""
PASSED_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Lead:
    """A word alone becomes stable when it is ``seconds`` old and this probable."""

    seconds: float
    probability: float


LEADS = {
    Agreement.FAST: Lead(0.8, 0.85),
    Agreement.BALANCED: Lead(1.2, 0.9),
    Agreement.STRICT: None,
    Agreement.STEADY: None,
}
WITNESSES = {Agreement.STEADY: 2}
"""How many passes must have said before what the newest one says; else 1."""


def after_anchor(units: Sequence[Unit], committed: Sequence[Unit], start: float = 0.0) -> tuple[int, bool]:
    """The index in ``units`` of the first unit that is not in ``committed``; whether the last of those was found.

    Of the places where the last stable words may be, the one whose times fit best; more words weigh more. ``start`` is
    where the audio begins: a word that was in it and is missing, but comes next, has only moved.
    """
    if not committed:
        return 0, False
    last = committed[-1].end
    places: list[tuple[float, int]] = []
    for n, unit in enumerate(units):
        if abs(unit.end - last) >= ANCHOR_SECONDS:
            continue
        distance = 0.0
        for length, (one, other) in enumerate(zip(units[n::-1], reversed(committed[-ANCHOR_UNITS:]), strict=False), 1):
            if one.norm != other.norm or abs(one.end - other.end) >= ANCHOR_SECONDS:
                break
            distance += abs(one.end - other.end)
            if length > 1 or distance < LONE_ANCHOR_SECONDS:
                places.append((distance / length - (length - 1) * LENGTH_BONUS_SECONDS, n))
    if places:
        return min(places)[1] + 1, True
    new = next((n for n, unit in enumerate(units) if unit.middle > last), len(units))
    moved = new < len(units) and units[new].norm == committed[-1].norm and units[new].start < last + ANCHOR_SECONDS
    return (new + 1, True) if moved and committed[-1].middle > start else (new, False)


def common_start(first: Sequence[Unit], second: Sequence[Unit]) -> int:
    """How many units both begin with."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one.norm != other.norm:
            break
        count += 1
    return count


def stable_count(
    new: Sequence[Unit], reference: Sequence[Unit] | None, end: float, lead: Lead | None, *, trusted: bool = True
) -> int:
    """How many of ``new`` become stable.

    ``new`` and ``reference`` (None: there is none) are what two passes say after the stable words; ``end`` is the end
    of the audio of the newer one, in seconds; an untrusted pass leads nobody.
    """
    count = common_start(reference, new) if reference is not None else 0
    while count and new[count - 1].end > end - GUARD_SECONDS:
        count -= 1
    while count < len(new) - 1 and (
        new[count].end <= end - HOLD_SECONDS
        or (
            trusted
            and lead is not None
            and new[count].end <= end - lead.seconds
            and new[count].probability >= lead.probability
        )
    ):
        count += 1
    return count


class StableText:
    """The stable text of one utterance, and the text after it that may change."""

    def __init__(self, agreement: Agreement) -> None:
        self._lead, self._witnesses = LEADS[agreement], WITNESSES.get(agreement, 1)
        self._committed: list[Unit] = []
        self._history: deque[tuple[float, float, Sequence[Unit]]] = deque()
        """Start, end and units of passes."""
        self._stable = ""
        self._marks = ""
        """At the end of the last stable word; they wait, since passes change their mind about them."""
        self._rest: Sequence[Unit] = ()

    @property
    def committed(self) -> Sequence[Unit]:
        """The stable words, in order."""
        return self._committed

    @property
    def rest(self) -> Sequence[Unit]:
        """The words after them, as the newest pass has them."""
        return self._rest

    @property
    def stable(self) -> str:
        return self._stable

    @property
    def tail(self) -> str:
        return self._marks + "".join(unit.text for unit in self._rest)

    def hear(self, units: Sequence[Unit], end: float, *, start: float = 0.0, trusted: bool = True) -> None:
        """A pass heard ``units`` in audio from ``start`` to ``end`` seconds."""
        first, anchored = after_anchor(units, self._committed, start)
        if anchored:
            self._marks = split_marks(units[first - 1].text)[1]
        new = units[first:]
        count = stable_count(new, self._reference(end), end, self._lead, trusted=trusted)
        self._commit(new[:count])
        self._rest = new[count:]
        self._history.append((start, end, units))
        while len(self._history) > self._witnesses and self._history[self._witnesses][1] <= end - HISTORY_SECONDS:
            self._history.popleft()

    def show(self, units: Sequence[Unit]) -> None:
        """A pass heard ``units``, none of which can be relied on."""
        self._rest = units[after_anchor(units, self._committed)[0] :]

    def go_on(self, units: Sequence[Unit], start: float) -> tuple[str, Sequence[Unit]]:
        """The stable text and what ``units``, a pass over audio from ``start``, say after it; the words of both."""
        first, anchored = after_anchor(units, self._committed, start)
        marks = split_marks(units[first - 1].text)[1] if anchored else self._marks if self._committed else ""
        rest = units[first:]
        return self._stable + marks + "".join(unit.text for unit in rest), [*self._committed, *rest]

    def commit_until(self, end: float) -> None:
        """Make stable what the newest pass has up to ``end`` seconds."""
        count = next((n for n, unit in enumerate(self._rest) if unit.end > end), len(self._rest))
        self._commit(self._rest[:count])
        self._rest = self._rest[count:]

    def _reference(self, end: float) -> Sequence[Unit] | None:
        """What earlier passes agree on after the stable words, each with enough less audio than the one after it."""
        agreed: Sequence[Unit] | None = None
        for _ in range(self._witnesses):
            if (before := self._before(end)) is None:
                return None
            end, said = before
            agreed = said if agreed is None else agreed[: common_start(agreed, said)]
        return agreed

    def _before(self, end: float) -> tuple[float, Sequence[Unit]] | None:
        """Of the newest pass that heard enough less audio than to ``end``: its end, and what it said that is new."""
        for start, heard, units in reversed(self._history):
            if heard <= end - EVIDENCE_SECONDS:
                first, anchored = after_anchor(units, self._committed, start)
                if not anchored and self._committed:
                    last = self._committed[-1].end
                    return heard, [unit for unit in units if unit.end > last + PASSED_SECONDS]
                return heard, units[first:]
        return None

    def _commit(self, units: Sequence[Unit]) -> None:
        for unit in units:
            body, marks = split_marks(unit.text)
            self._stable += self._marks + body
            self._marks = marks
            self._committed.append(unit)
