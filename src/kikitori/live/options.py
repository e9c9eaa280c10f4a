"""What a live session is asked to do. Defaults are those of the server's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from kikitori.errors import InvalidOption
from kikitori.options import DecodeOptions


class TurnDetection(StrEnum):
    """What ends an utterance."""

    VAD = "vad"  # silence
    SEMANTIC = "semantic"  # silence: short after a finished sentence, longer after an unfinished one
    MANUAL = "manual"  # the client alone


class Eagerness(StrEnum):
    """How long semantic turn detection waits after an unfinished sentence."""

    LOW = "low"  # up to 8 s
    MEDIUM = "medium"  # up to 4 s
    HIGH = "high"  # up to 2 s


class Agreement(StrEnum):
    """When interim words become stable."""

    FAST = "fast"  # also alone, if sure and 0.8 s old
    BALANCED = "balanced"  # also alone, if very sure and 1.2 s old
    STRICT = "strict"  # only when two passes agree
    STEADY = "steady"  # only when three do


class FinalFrom(StrEnum):
    """What a final begins with."""

    WHOLE = "whole"  # what a pass over the whole utterance says, which may correct stable words
    STABLE = "stable"  # the stable words, whatever that pass makes of them: what was shown is never taken back


Millis = Annotated[int, Field(ge=0, le=60_000)]


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LiveOptions:
    """How one session listens."""

    model: str = ""
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    """Of finals. Interims are decoded greedily with the same language and words to listen for."""
    turns: TurnDetection = TurnDetection.VAD
    eagerness: Eagerness = Eagerness.MEDIUM
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Speech begins above this probability and ends 0.15 below it."""
    prefix_ms: Millis = 400
    """Audio kept from before the speech."""
    endpoint_ms: Annotated[int, Field(ge=100, le=10_000)] = 500
    """Silence this long ends an utterance."""
    min_speech_ms: Millis = 200
    """Shorter sounds are no speech: their final is empty and costs no decoding."""
    max_utterance_seconds: Annotated[float, Field(ge=5, le=28)] = 20.0
    """Longer speech is cut, at a pause if there is one. Not for manual turns."""
    interim: bool = True
    interim_seconds: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    """New audio before the next interim pass; more when the machine is busy."""
    agreement: Agreement = Agreement.BALANCED
    final_from: FinalFrom = FinalFrom.WHOLE
    quiet_ms: Millis = 0
    """Tell when nobody has spoken for so long after an utterance (``Quiet``); 0: never. Not for manual turns."""
    translate_to: Annotated[str, Field(pattern=r"^([A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,8})?$")] = ""
    """Translate finals into this language (BCP-47); "": into none."""
    carry_context: bool = False
    """Show the model the text of the utterances before. It keeps names alike; it may also lead the model astray,
    and finals after different text share fewer batches."""


_ADAPTER: TypeAdapter[LiveOptions] = TypeAdapter(LiveOptions)


def check_live_options(values: Mapping[str, Any]) -> LiveOptions:
    """``LiveOptions(**values)``; raises InvalidOption naming the first wrong field."""
    try:
        return _ADAPTER.validate_python(dict(values))
    except ValidationError as exc:
        first = exc.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InvalidOption(name, first["input"], str(first["msg"])) from exc
