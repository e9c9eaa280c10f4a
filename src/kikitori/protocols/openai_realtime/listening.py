"""What a session object means for the one that listens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kikitori.live.options import Agreement, Eagerness, LiveOptions, TurnDetection
from kikitori.options import DecodeOptions
from kikitori.protocols.actions import Encoding, InputFormat
from kikitori.protocols.openai_realtime.fields import LOGPROBS, PCM_RATE, language_code
from kikitori.protocols.openai_realtime.sessions import Session

TELEPHONE_RATE = 8_000
NEVER_MS = 60_000
"""Longer than any turn by voice activity."""
_FORMATS = {
    "audio/pcm": InputFormat(encoding=Encoding.S16LE, rate=PCM_RATE),
    "audio/pcmu": InputFormat(encoding=Encoding.MULAW, rate=TELEPHONE_RATE),
    "audio/pcma": InputFormat(encoding=Encoding.ALAW, rate=TELEPHONE_RATE),
}
_DELAYS: dict[str, dict[str, Any]] = {
    "minimal": {"agreement": Agreement.FAST, "interim_seconds": 0.4},
    "low": {"agreement": Agreement.FAST, "interim_seconds": 0.7},
    "medium": {},
    "high": {"agreement": Agreement.STRICT},
    "xhigh": {"agreement": Agreement.STEADY},
}
"""How soon words are shown, against how often they are wrong."""


def input_format(session: Session) -> InputFormat:
    return _FORMATS[session["audio"]["input"]["format"]["type"]]


def live_options(session: Session, defaults: LiveOptions, *, always: bool = False) -> LiveOptions:
    """How the session listens; ``defaults`` say what OpenAI's object does not.

    ``always``: what is said is wanted as text even where the client does not want to read it.
    """
    listening = session["audio"]["input"]
    options = _with_turns(defaults, listening["turn_detection"])
    if (asked := listening["transcription"]) is None:
        if always:
            return replace(options, interim=False)
        # Text that nobody reads is not worth decoding, unless it says where turns end.
        worth_ms = NEVER_MS if options.turns is TurnDetection.VAD else options.min_speech_ms
        return replace(options, interim=False, min_speech_ms=worth_ms)
    delay = _DELAYS[asked.get("delay") or "medium"]
    return replace(options, model=asked["model"], decode=_decode(session, asked, defaults.decode), **delay)


def _with_turns(options: LiveOptions, detection: dict[str, Any] | None) -> LiveOptions:
    if detection is None:
        return replace(options, turns=TurnDetection.MANUAL)
    if detection["type"] == "semantic_vad":
        eagerness = Eagerness.MEDIUM if detection["eagerness"] == "auto" else Eagerness(detection["eagerness"])
        return replace(options, turns=TurnDetection.SEMANTIC, eagerness=eagerness)
    return replace(
        options,
        turns=TurnDetection.VAD,
        threshold=detection["threshold"],
        prefix_ms=detection["prefix_padding_ms"],
        endpoint_ms=detection["silence_duration_ms"],
    )


def _decode(session: Session, asked: dict[str, Any], decode: DecodeOptions) -> DecodeOptions:
    languages = [asked["language"]] if asked["language"] else asked.get("languages") or []
    keywords = asked.get("keywords") or []
    return replace(
        decode,
        # Of several candidates the model finds the right one.
        language=language_code(languages[0]) if len(languages) == 1 else decode.language,
        initial_prompt=asked["prompt"] or decode.initial_prompt,
        hotwords=", ".join(keywords) or decode.hotwords,
        # How sure the model was is known word by word.
        word_timestamps=decode.word_timestamps or LOGPROBS in (session["include"] or []),
    )
