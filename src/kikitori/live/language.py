"""Which language a session speaks: passes vote until one is sure. Audio is heard meanwhile all the same."""

from __future__ import annotations

from kikitori.options import DecodeOptions

SURE = 0.7
"""One pass as sure as this decides."""
LIKELY = 0.5
"""Two passes as sure as this, of one opinion, decide."""
SWITCH = 0.8
"""Multilingual sessions: so sure must a pass be of another language than before,"""
SWITCH_SECONDS = 1.5
"""and so much must it have heard."""
LEAST_SECONDS = 1.0
"""Less audio than this has no vote."""


class LanguageVote:
    """``allowed``: what the engine knows; None: whatever comes."""

    def __init__(self, allowed: frozenset[str] | None = None) -> None:
        self._allowed = allowed
        self.forget()

    def language(self, options: DecodeOptions) -> str | None:
        """What to decode in; None: detect it."""
        if options.language:
            return options.language
        return None if self._open else self._locked

    def begin(self, options: DecodeOptions) -> None:
        """An utterance begins: where several languages are spoken, it may be in another one."""
        self._candidate = ""
        self._open = options.multilingual and (self._allowed is None or len(self._allowed) > 1)

    def hear(self, language: str, probability: float, seconds: float) -> None:
        """A pass over ``seconds`` of audio took the language for ``language``."""
        if not language or seconds < LEAST_SECONDS or not (self._allowed is None or language in self._allowed):
            return
        if self._locked is not None and not self._open:
            return
        if self._open and self._locked not in (None, language):
            if probability >= SWITCH and seconds >= SWITCH_SECONDS:
                self._lock(language)
        elif probability >= SURE or (probability >= LIKELY and self._candidate == language):
            self._lock(language)
        else:
            self._candidate = language if probability >= LIKELY else ""

    def forget(self) -> None:
        """Vote anew."""
        only = self._allowed is not None and len(self._allowed) == 1
        self._locked: str | None = next(iter(self._allowed)) if self._allowed is not None and only else None
        self._candidate = ""
        self._open = False

    def _lock(self, language: str) -> None:
        self._locked, self._candidate, self._open = language, "", False
