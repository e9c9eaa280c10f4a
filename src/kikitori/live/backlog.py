"""Committed utterances that wait for their finals, which are told in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from kikitori.live.events import Final, FinalFailed, Lag
from kikitori.live.utterance import Utterance
from kikitori.types import SAMPLE_RATE

LAG_SECONDS = 30.0
"""So much audio waiting is worth a word,"""
LAG_STEP_SECONDS = 10.0
"""so much more another one,"""
CAUGHT_UP_SECONDS = 5.0
"""and so little the last one."""


class Backlog:
    """Utterances in the order in which they were committed. The first of them is the next to decode."""

    def __init__(self) -> None:
        self._utterances: deque[Utterance] = deque()
        self._told = 0.0

    def __contains__(self, utterance: Utterance) -> bool:
        return utterance in self._utterances

    def __bool__(self) -> bool:
        return bool(self._utterances)

    @property
    def first(self) -> Utterance | None:
        return self._utterances[0] if self._utterances else None

    @property
    def held_samples(self) -> int:
        return sum(each.end - each.start for each in self._utterances)

    @property
    def waiting_seconds(self) -> float:
        """Audio that no pass has heard."""
        return sum(max(0, each.speech_end - each.heard_to) for each in self._utterances) / SAMPLE_RATE

    def add(self, utterance: Utterance) -> None:
        self._utterances.append(utterance)

    def ready(self) -> Iterator[Final | FinalFailed]:
        """Take the finals that are decided and have none before them."""
        while self._utterances and (outcome := self._utterances[0].outcome) is not None:
            self._utterances.popleft()
            yield outcome

    def news(self) -> list[Lag]:
        """What is worth telling of how much waits."""
        waiting = self.waiting_seconds
        if self._told and waiting < CAUGHT_UP_SECONDS:
            self._told = 0.0
            return [Lag(seconds=0.0)]
        if waiting >= LAG_SECONDS and abs(waiting - self._told) >= LAG_STEP_SECONDS:
            self._told = waiting
            return [Lag(seconds=round(waiting, 1))]
        return []
