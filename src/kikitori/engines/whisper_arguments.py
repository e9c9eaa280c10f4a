"""Our options as faster-whisper names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kikitori.options import DecodeOptions

PREVIOUS_TOKENS = (16, 32, 64, 96)
"""What is shown of the text before: a few lengths, for only prompts of one length share a batch."""


def upstream_arguments(options: DecodeOptions, tokens: Callable[[str], Sequence[int]]) -> dict[str, Any]:
    """Arguments of ``WhisperModel.transcribe``; the names are upstream's own. ``tokens`` encodes a text."""
    arguments = {name: getattr(options, name) for name in _SHARED_OPTIONS}
    conditions = options.condition_on_previous_text
    return arguments | {
        "task": options.task.value,
        "condition_on_previous_text": True if conditions is None else conditions,
        "initial_prompt": initial_prompt(options, tokens),
        "temperature": list(options.temperature),
        "suppress_tokens": list(options.suppress_tokens),
        "clip_timestamps": list(options.clip_timestamps) or "0",
        "language_detection_threshold": detection_threshold(options),
        "vad_parameters": {name: getattr(options, f"vad_{name}") for name in _VAD_OPTIONS},
    }


_SHARED_OPTIONS = (
    "language multilingual language_detection_segments beam_size best_of patience length_penalty "
    "repetition_penalty no_repeat_ngram_size compression_ratio_threshold log_prob_threshold "
    "no_speech_threshold prompt_reset_on_temperature prefix hotwords suppress_blank "
    "without_timestamps max_initial_timestamp max_new_tokens chunk_length word_timestamps prepend_punctuations "
    "append_punctuations hallucination_silence_threshold vad_filter"
).split()
_VAD_OPTIONS = (
    "threshold neg_threshold min_speech_duration_ms max_speech_duration_s min_silence_duration_ms speech_pad_ms"
).split()


def initial_prompt(options: DecodeOptions, tokens: Callable[[str], Sequence[int]]) -> str | list[int] | None:
    """The prompt, then the end of the text before: the most tokens of one of a few lengths; none of a shorter text."""
    before = tokens(f" {options.previous_text.strip()}") if options.previous_text else ()
    shown = max((length for length in PREVIOUS_TOKENS if length <= len(before)), default=0)
    if not shown:
        return options.initial_prompt
    asked = tokens(f" {options.initial_prompt.strip()}") if options.initial_prompt else ()
    return [*asked, *before[-shown:]]


def detection_threshold(options: DecodeOptions) -> float:
    """Without a threshold no window is sure enough, and all of them vote."""
    return 1.0 if options.language_detection_threshold is None else options.language_detection_threshold
