"""How a pass decodes: the options of interims and finals."""

from __future__ import annotations

from dataclasses import replace

from kikitori.live.context import KEPT_CHARACTERS
from kikitori.live.options import LiveOptions
from kikitori.options import DecodeOptions
from kikitori.types import DecodeMode

RETRY_TEMPERATURE = 0.2
"""After a loop."""


def interim_options(
    options: LiveOptions, *, language: str | None, before: str, after_loop: bool = False
) -> DecodeOptions:
    """Greedy, with times of words, and without what belongs to whole recordings."""
    decode = options.decode
    return replace(
        decode,
        mode=DecodeMode.AUTO,
        language=language,
        beam_size=1,
        best_of=1,
        patience=1.0,
        temperature=(RETRY_TEMPERATURE if after_loop else 0.0,),
        condition_on_previous_text=False,
        previous_text=None if after_loop else before[-KEPT_CHARACTERS:] or None,
        without_timestamps=False,
        word_timestamps=True,
        clip_timestamps=(),
        hallucination_silence_threshold=None,
        vad_filter=False,
    )


def final_options(
    options: LiveOptions, *, language: str | None, before: str, after_loop: bool = False
) -> DecodeOptions:
    """The session's own, with times of words."""
    decode = options.decode
    return replace(
        decode,
        language=language,
        temperature=(RETRY_TEMPERATURE,) if after_loop else decode.temperature,
        previous_text=None if after_loop else before[-KEPT_CHARACTERS:] or None,
        word_timestamps=True,
    )
