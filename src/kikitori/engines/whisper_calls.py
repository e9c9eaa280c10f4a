"""Where faster-whisper expects its model: calls that go to the scheduler, and what may share a batch.

What CTranslate2 shares in one call decides the keys (its ``src/models/whisper.cc``): in one ``generate`` every prompt
has ``<|startoftranscript|>`` at the same place and the same number of tokens after it, so languages and tasks may mix;
options may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from kikitori.engines.base import Calls
from kikitori.engines.whisper_alignment import STEP_FRAMES, Alignment, with_times
from kikitori.errors import InvalidOption

Array = npt.NDArray[Any]

MAX_LENGTH = 448
"""Tokens of Whisper's text context; CTranslate2 generates at most half of ``max_length``."""
TOKENS_PER_SECOND = 20
"""More than anybody speaks, in any script."""
NEW_TOKEN_LIMITS = (64, 128, MAX_LENGTH // 2)
"""Few sizes, so that windows of nearly the same length still share a batch."""
LEAST_ROOM = 2
"""A prompt leaves room for so many tokens, or it is refused."""
TIMESTAMPS = 1501
"""Tokens for the times 0.00 to 30.00; the last ones of the vocabulary."""
CONTEXT_SECONDS = (5, 10, 15, 20, 30)
"""Lengths of what the encoder looks at: a few, so that windows of several requests share a batch."""
FULL_CONTEXT = 1_500
"""Steps of 20 ms that the encoder makes of 30 s."""


@dataclass(frozen=True, slots=True)
class EncodeKey:
    """Mel windows of one shape."""

    shape: tuple[int, ...]
    kind: ClassVar[str] = "encode"


@dataclass(frozen=True, slots=True)
class GenerateKey:
    """Decoding calls CTranslate2 can run as one."""

    prompt_length: int
    start_index: int
    """Where ``<|startoftranscript|>`` stands."""
    timestamps: bool
    options: tuple[tuple[str, Any], ...]
    context: int = FULL_CONTEXT
    kind: ClassVar[str] = "generate"


@dataclass(frozen=True, slots=True)
class AlignKey:
    """Alignments with one start sequence (language and task)."""

    start_sequence: tuple[int, ...]
    median_filter_width: int
    empty: bool
    context: int = FULL_CONTEXT
    kind: ClassVar[str] = "align"


@dataclass(frozen=True, slots=True)
class DetectKey:
    context: int = FULL_CONTEXT
    kind: ClassVar[str] = "detect_language"


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The encoder's output for one window, shape (1, frames, d_model), in main memory."""

    output: Array
    audio_frames: int
    """Mel frames before the padding (100 a second)."""

    @property
    def context(self) -> int:
        """Steps of 20 ms that the encoder looked at."""
        return int(self.output.shape[1])


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids that differ between English-only and multilingual vocabularies."""

    start_of_transcript: int
    no_timestamps: int

    @property
    def vocabulary_size(self) -> int:
        return self.no_timestamps + 1 + TIMESTAMPS


class MergedModel:
    """Stands where faster-whisper expects ``ctranslate2.models.Whisper``; one request's view of it."""

    def __init__(self, model: Any, special: SpecialTokens, calls: Calls, *, audio_context: int | None = None) -> None:
        self._model, self._special, self._calls = model, special, calls
        self._audio_context = audio_context
        self._last: tuple[Array, Encoded] | None = None

    @property
    def is_multilingual(self) -> bool:
        return bool(self._model.is_multilingual)

    @property
    def n_mels(self) -> int:
        return int(self._model.n_mels)

    @property
    def device(self) -> str:
        return str(self._model.device)

    @property
    def device_index(self) -> list[int]:
        return list(self._model.device_index)

    def encode(self, features: Any, to_cpu: bool = False) -> Encoded:
        """Encode one mel window, shape (1, n_mels, frames)."""
        window = np.asarray(features)
        window = window[..., : context_frames(self._audio_context, _frames_before_padding(window[0]))]
        # Language detection and the first window look at the same audio: encode it once.
        if self._last is not None and np.array_equal(self._last[0], window):
            return self._last[1]
        output = self._calls.submit(EncodeKey(window.shape), window)
        encoded = Encoded(output, _frames_before_padding(window[0]))
        self._last = (window, encoded)
        return encoded

    def generate(self, encoded: Encoded, prompts: list[list[int]], **options: Any) -> list[Any]:
        (prompt,) = prompts
        start = prompt.index(self._special.start_of_transcript)
        if len(prompt) > MAX_LENGTH - LEAST_ROOM:
            raise InvalidOption("hotwords", "too long", f"text that fits in {MAX_LENGTH} tokens with prompt and prefix")
        options["max_length"] = capped_max_length(
            options["max_length"], prompt_length=len(prompt), start_index=start, seconds=encoded.audio_frames / 100
        )
        key = GenerateKey(
            prompt_length=len(prompt),
            start_index=start,
            timestamps=self._special.no_timestamps not in prompt,
            options=tuple(sorted((name, _hashable(value)) for name, value in options.items())),
            context=encoded.context,
        )
        return [self._calls.submit(key, (encoded.output, prompt))]

    def align(
        self,
        encoded: Encoded,
        start_sequence: Sequence[int],
        text_tokens: list[list[int]],
        num_frames: int,
        *,
        median_filter_width: int = 7,
    ) -> list[Any]:
        (tokens,) = text_tokens
        key = AlignKey(tuple(start_sequence), median_filter_width, empty=not tokens, context=encoded.context)

        def align(frames: int) -> Alignment:
            result: Alignment = self._calls.submit(key, (encoded.output, tokens, frames))
            return result

        room = STEP_FRAMES * encoded.context
        return [with_times(align, tokens=len(tokens), frames=num_frames, room=room)]

    def detect_language(self, encoded: Encoded) -> list[Any]:
        return [self._calls.submit(DetectKey(encoded.context), encoded.output)]


def context_frames(audio_context: int | None, audio_frames: int) -> int | None:
    """Mel frames that the encoder looks at: the smallest size that holds ``audio_context`` seconds and the audio."""
    if audio_context is None:
        return None
    wanted = max(100 * audio_context, audio_frames)
    return next((100 * seconds for seconds in CONTEXT_SECONDS if 100 * seconds >= wanted), None)


def capped_max_length(max_length: int, *, prompt_length: int, start_index: int, seconds: float) -> int:
    """``max_length`` for a window with ``seconds`` of audio.

    A row that loops holds the whole batch until the limit, so a short window gets a low one.
    CTranslate2 generates ``min(max_length // 2, max_length - prompt_length + 1)`` tokens.
    """
    wanted = 24 + (prompt_length - start_index) + TOKENS_PER_SECOND * seconds
    new_tokens = next((limit for limit in NEW_TOKEN_LIMITS if limit >= wanted), NEW_TOKEN_LIMITS[-1])
    if new_tokens == NEW_TOKEN_LIMITS[-1]:
        return max_length
    return min(max_length, max(2 * new_tokens, new_tokens + prompt_length - 1))


def _frames_before_padding(mel: Array) -> int:
    """Frames of ``mel``, shape (n_mels, frames), before the zeros that fill the window."""
    used = np.flatnonzero(mel.any(axis=0))
    return int(used[-1]) + 1 if used.size else 0


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
