"""Turns: what a session hears of one utterance, as events of one item."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kikitori.live.events import Final, FinalFailed
from kikitori.types import SAMPLE_RATE

TRANSCRIPTION_EVENT = "conversation.item.input_audio_transcription"
LEAST_LOGPROB = -100.0
"""Of a word that the model gave no chance at all."""


@dataclass(slots=True)
class Turn:
    """An utterance on its way from the first sound to its text."""

    item: str
    stable: str = ""
    """What interims called stable."""
    sent: str = ""
    """Deltas so far."""
    shown: bool = False
    """The client knows its item."""
    transcribed: bool = True
    """Its text is wanted."""
    content_index: int = 0
    """Which part of the item it is."""

    def grow(self) -> Iterator[dict[str, Any]]:
        """A delta for what is stable and was not sent; none before the client knows of the item."""
        stable = self.stable.lstrip() if self.shown and self.transcribed else ""
        if stable.startswith(self.sent) and len(stable) > len(self.sent):
            delta = stable[len(self.sent) :]
            self.sent = stable
            yield self._delta(delta)

    def finish(self, final: Final, *, logprobs: bool) -> Iterator[dict[str, Any]]:
        """The rest as a delta, if the final goes on where deltas stopped; and the whole."""
        text = final.text.strip()
        sure = _logprobs(final) if logprobs else None
        if rest := _rest(text, self.sent):
            yield self._delta(rest, logprobs=None if self.sent else sure)
        yield {
            "type": f"{TRANSCRIPTION_EVENT}.completed",
            **self._place,
            "transcript": text,
            "logprobs": sure,
            **({"languages": [{"code": final.language}]} if final.language else {}),
            "usage": {"type": "duration", "seconds": round((final.end - final.start) / SAMPLE_RATE, 3)},
        }

    def fail(self, failed: FinalFailed) -> dict[str, Any]:
        error = {"type": "transcription_error", "code": failed.code, "message": failed.message, "param": None}
        return {"type": f"{TRANSCRIPTION_EVENT}.failed", **self._place, "error": error}

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.item, "content_index": self.content_index}

    def _delta(self, text: str, *, logprobs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        return {"type": f"{TRANSCRIPTION_EVENT}.delta", **self._place, "delta": text, "logprobs": logprobs}


def _rest(text: str, sent: str) -> str:
    """What ``sent`` lacks of ``text``; nothing where ``text`` says something else."""
    spoken = sent.rstrip()
    if not text.startswith(spoken):
        return ""
    rest = text[len(spoken) :]
    return rest.removeprefix(sent[len(spoken) :])


def _logprobs(final: Final) -> list[dict[str, Any]]:
    """How sure the model was: of each word, or of each segment where it says no more."""
    words = final.words or [word for segment in final.segments for word in segment.words or ()]
    sure = [(word.word, _log(word.probability)) for word in words]
    sure = sure or [(segment.text, min(0.0, segment.avg_logprob)) for segment in final.segments]
    return [{"token": token, "logprob": logprob, "bytes": list(token.encode())} for token, logprob in sure]


def _log(probability: float) -> float:
    return max(LEAST_LOGPROB, min(0.0, math.log(probability))) if probability > 0 else LEAST_LOGPROB
