"""What the query of a live ``/v1/listen`` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from kikitori.errors import InvalidOption
from kikitori.live.options import LiveOptions, TurnDetection, check_live_options
from kikitori.options import parse_options
from kikitori.protocols.actions import InputFormat
from kikitori.protocols.deepgram.query import (
    FALSE,
    TRUE,
    Query,
    channels_of,
    check_undone,
    format_of,
    language_of,
    model_of,
    words_to_listen_for,
)

LEAST_ENDPOINT_MS, MOST_ENDPOINT_MS = 100, 10_000
"""Deepgram's own default of 10 ms would cut words from their sentence: shorter ones are raised."""
LEAST_UTTERANCE_END_MS, MOST_UTTERANCE_END_MS = 1_000, 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """One live socket."""

    options: LiveOptions
    format: InputFormat | None = None
    """None: the first bytes tell."""
    channels: int = 1
    multichannel: bool = False
    """Each channel is transcribed by itself; else they are mixed."""
    endpointing: bool = True
    """Pauses are told, as ``speech_final``."""
    vad_events: bool = False


def read_listen(pairs: Sequence[tuple[str, str]], defaults: LiveOptions) -> Listen:
    """What the query asks for. Raises InvalidOption or Unsupported, naming the parameter."""
    query = Query(pairs)
    check_undone(query)
    input_format, channels, multichannel = format_of(query), channels_of(query), query.flag("multichannel")
    if multichannel and channels == 1 and input_format is not None:
        raise InvalidOption("channels", query.one("channels"), "the number of channels, with multichannel=true")
    endpointing, endpoint_ms = _endpointing(query, defaults.endpoint_ms)
    return Listen(
        options=_options(query, endpoint_ms, defaults),
        format=input_format,
        channels=channels,
        multichannel=multichannel,
        endpointing=endpointing,
        vad_events=query.flag("vad_events"),
    )


def _options(query: Query, endpoint_ms: int, defaults: LiveOptions) -> LiveOptions:
    values = {item.name: getattr(defaults, item.name) for item in fields(LiveOptions)}
    decode = replace(defaults.decode, language=language_of(query, defaults.decode.language), word_timestamps=True)
    if words := words_to_listen_for(query):
        decode = replace(decode, hotwords=parse_options({"hotwords": words}).hotwords)
    return check_live_options(
        {
            **values,
            "model": model_of(query, defaults.model),
            "decode": decode,
            "turns": TurnDetection.VAD,
            "endpoint_ms": endpoint_ms,
            "interim": query.flag("interim_results"),
            "quiet_ms": _utterance_end_ms(query),
        }
    )


def _endpointing(query: Query, default: int) -> tuple[bool, int]:
    """Whether pauses are told, and how long they are. Without, text is still decided at pauses."""
    text = query.one("endpointing", "true").lower()
    if text in FALSE:
        return False, default
    if text in TRUE:
        return True, default
    return True, max(LEAST_ENDPOINT_MS, query.whole("endpointing", default, least=0, most=MOST_ENDPOINT_MS))


def _utterance_end_ms(query: Query) -> int:
    text = query.one("utterance_end_ms", "false").lower()
    if text in FALSE:
        return 0
    return query.whole("utterance_end_ms", 0, least=LEAST_UTTERANCE_END_MS, most=MOST_UTTERANCE_END_MS)
