"""What happened in one session, as its client saw it; as lines of JSON, so that it can be measured again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from kikitori.cli.bench.truth import TrueWord
from kikitori.errors import InvalidInput

ROUNDING_DIGITS = 6
"""Of a number of frames: its last digits are noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A message of the server, ``at`` seconds after the first frame was due, by the client's clock."""

    at: float
    kind: str
    utterance: int = 0
    text: str = ""
    stable: str = ""
    start: float = 0.0
    """Since the session's first sample, as the server says."""
    end: float = 0.0
    reason: str = ""
    value: float = 0.0
    """Seconds of a lag, or the level of a degradation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """One session."""

    sessions: int
    """How many ran at once."""
    client: int
    language: str
    endpoint_seconds: float
    frame_seconds: float
    sent: tuple[float, ...]
    """When each frame was handed to the socket."""
    truth: tuple[TrueWord, ...]
    seen: tuple[Seen, ...]
    ended: bool
    """All finals came."""
    problem: str = ""

    def sent_at(self, seconds: float) -> float:
        """When the last sample before ``seconds`` was sent."""
        frame = math.ceil(round(seconds / self.frame_seconds, ROUNDING_DIGITS)) - 1
        return self.sent[min(max(frame, 0), len(self.sent) - 1)]


def seen(message: dict[str, Any], at: float) -> Seen:
    """A message off the wire."""
    return Seen(
        at=at,
        kind=str(message.get("type")),
        utterance=int(message.get("utterance", 0)),
        text=str(message.get("text", message.get("message", ""))),
        stable=str(message.get("stable", "")),
        start=float(message.get("start", 0.0)),
        end=float(message.get("end", 0.0)),
        reason=str(message.get("reason", message.get("code", ""))),
        value=float(message.get("seconds", message.get("level", 0.0))),
    )


def write_journals(journals: Iterable[Journal]) -> str:
    """A line for each session."""
    return "".join(json.dumps(asdict(journal), ensure_ascii=False) + "\n" for journal in journals)


def read_journals(lines: Iterable[str]) -> Iterator[Journal]:
    """Raises InvalidInput."""
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            values["truth"] = tuple(TrueWord(**word) for word in values["truth"])
            values["seen"] = tuple(Seen(**message) for message in values["seen"])
            yield Journal(**{**values, "sent": tuple(values["sent"])})
        except (ValueError, KeyError, TypeError) as exc:
            raise InvalidInput(f"Line {number} is no journal ({exc}).", param="from_log") from exc
