"""What ``/v1/listen`` says, as JSON: results, words, and what they are about."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kikitori.protocols.actions import Send
from kikitori.types import Word

DIGITS = 3
"""Of a second."""
UNKNOWN = 0.0
"""The confidence of what nobody has judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The request, and the model that answers it."""

    request_id: str
    model: str = ""
    engine: str = ""

    @property
    def model_uuid(self) -> str:
        """The same for a model whoever asks."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"kikitori:{self.engine}/{self.model}"))

    @property
    def model_info(self) -> dict[str, str]:
        return {"name": self.model, "version": "local", "arch": self.engine}


def message(kind: str, *, slot: str = "", **fields: Any) -> Send:
    return Send(text=json.dumps({"type": kind, **fields}), slot=slot)


def error(variant: str, description: str, *, told: str | None = None) -> Send:
    """``told`` is the message of the client that could not be understood."""
    return message("Error", variant=variant, description=description, **({"message": told} if told else {}))


def seconds(value: float) -> float:
    return round(value, DIGITS)


def word_dict(word: Word) -> dict[str, Any]:
    written = word.word.strip()
    return {
        "word": bare(written),
        "start": seconds(word.start),
        "end": seconds(word.end),
        "confidence": round(word.probability, 4),
        "punctuated_word": written,
    }


def bare(written: str) -> str:
    """Without punctuation around it, in lower case."""
    letters = [at for at, character in enumerate(written) if character.isalnum()]
    return written[letters[0] : letters[-1] + 1].lower() if letters else written


def confidence_of(words: Sequence[Word]) -> float:
    """The mean of its words."""
    return round(sum(word.probability for word in words) / len(words), 4) if words else UNKNOWN


def estimated(text: str, start: float, end: float) -> tuple[Word, ...]:
    """Words of a text of which only start and end are known, each with its share of the letters."""
    parts = text.split()
    total = sum(map(len, parts)) or 1
    words, at = [], start
    for part in parts:
        after = at + (end - start) * len(part) / total
        words.append(Word(word=f" {part}", start=at, end=after, probability=UNKNOWN))
        at = after
    return tuple(words)


def alternative(text: str, words: Sequence[Word]) -> dict[str, Any]:
    return {"transcript": text, "confidence": confidence_of(words), "words": [word_dict(word) for word in words]}


def results(
    about: About,
    *,
    channel: tuple[int, int],
    start: float,
    end: float,
    text: str,
    words: Sequence[Word],
    facts: Mapping[str, bool],
    slot: str = "",
) -> Send:
    """A piece of the transcript; ``facts`` are is_final, speech_final and from_finalize."""
    return message(
        "Results",
        slot=slot,
        channel_index=list(channel),
        duration=seconds(end - start),
        start=seconds(start),
        **facts,
        channel={"alternatives": [alternative(text, words)]},
        metadata={"request_id": about.request_id, "model_info": about.model_info, "model_uuid": about.model_uuid},
    )


def metadata(about: About, *, sha256: str, created: str, duration: float, channels: int) -> dict[str, Any]:
    """Of a whole socket or recording."""
    return {
        "transaction_key": "deprecated",
        "request_id": about.request_id,
        "sha256": sha256,
        "created": created,
        "duration": seconds(duration),
        "channels": channels,
        "models": [about.model_uuid],
        "model_info": {about.model_uuid: about.model_info},
    }
