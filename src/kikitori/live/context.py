"""The text of the utterances before, shown to the model with the next one."""

from __future__ import annotations

from collections.abc import Sequence

from kikitori.live.words import norms

KEPT_CHARACTERS = 768
"""More than the tokens that an engine shows."""
GAP_SECONDS = 5.0
"""After a longer silence the text before says nothing about what comes."""
ECHO_SECONDS = 3.0
ECHO_PROBABILITY = 0.5
"""A pass less sure than this may repeat what the prompt said."""


class Context:
    """What was said last."""

    def __init__(self) -> None:
        self._text = ""
        self._language = ""
        self._end = 0.0
        self._last: list[str] = []
        """The normal forms of the last utterance."""

    def add(self, text: str, language: str, end: float) -> None:
        """An utterance in ``language`` ended at ``end`` seconds."""
        if language != self._language:
            self._text = ""
        self._text = f"{self._text} {text}".strip()[-KEPT_CHARACTERS:]
        self._language, self._end, self._last = language, end, norms(text)

    def is_echo(self, forms: Sequence[str], start: float, probability: float) -> bool:
        """Whether an unsure utterance says just what the last one said, soon after it: an engine's memory."""
        soon = start - self._end < ECHO_SECONDS
        return bool(forms) and soon and probability < ECHO_PROBABILITY and list(forms) == self._last

    def drop(self) -> None:
        self._text = ""

    def before(self, start: float, language: str | None) -> str:
        """The text for an utterance that begins at ``start`` seconds in ``language`` (None: not known)."""
        if start - self._end > GAP_SECONDS or language not in (None, "", self._language):
            return ""
        return self._text
