"""Whisper as OpenAI published it: PyTorch, one recording at a time. Needs the extra ``openai-whisper``.

``whisper.transcribe`` runs as its authors wrote it. It slides one window over the audio, so this engine
is sequential in every mode. These options have no counterpart there and change nothing:
``multilingual``, ``language_detection_threshold``, ``language_detection_segments``, ``repetition_penalty``,
``no_repeat_ngram_size``, ``prompt_reset_on_temperature`` (0.5 there), ``chunk_length`` and ``audio_context``
(30 s there). ``hotwords`` are put before the prompt, which then is shown to every window.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
import whisper

from kikitori.engines.base import Calls, Decoding, EngineConfig, EngineInfo, Language, WorksAlone
from kikitori.engines.registry import engine_info
from kikitori.errors import InvalidOption, ModelLoadFailed, Unsupported
from kikitori.options import DecodeOptions
from kikitori.types import Audio, Segment, Word

HALF_PRECISION = frozenset({"default", "auto", "float16", "int8_float16"})
"""Compute types that mean float16 on a GPU; on a CPU everything is float32."""


class OpenAIWhisperEngine(WorksAlone):
    """A Whisper model in PyTorch."""

    def __init__(self, config: EngineConfig) -> None:
        """``config.model``: a ``.pt`` file, or a name of openai-whisper's, which it downloads when it is not here."""
        self._device = f"cuda:{config.device_index}" if config.device == "cuda" else "cpu"
        self._half = config.device == "cuda" and config.compute_type in HALF_PRECISION
        if config.cpu_threads:
            torch.set_num_threads(config.cpu_threads)
        self._model: Any = _load(config.model, self._device, config.extra)
        tokenizer = whisper.tokenizer.get_tokenizer(
            self._model.is_multilingual, num_languages=self._model.num_languages
        )
        languages = tokenizer.all_language_codes if self._model.is_multilingual else ("en",)
        self.info: EngineInfo = replace(engine_info("openai_whisper"), languages=frozenset(languages))

    def transcribe(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Decoding:
        if not len(audio):
            return Decoding(Language(code=options.language or "", probability=0.0), iter(()))
        self._check(options)
        watched = WatchedModel(self._model, calls)
        result = whisper.transcribe(
            watched, np.ascontiguousarray(audio), **arguments(options, len(audio)), fp16=self._half
        )
        code = str(result["language"])
        language = Language(code=code, probability=watched.language_probabilities.get(code, 1.0))
        return Decoding(language, _segments(result["segments"], options))

    def detect_language(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Language:
        if not self._model.is_multilingual:
            return Language(code="en")
        calls.check()
        window = whisper.pad_or_trim(np.ascontiguousarray(audio))
        mel = whisper.log_mel_spectrogram(window, self._model.dims.n_mels).to(self._device)
        watched = WatchedModel(self._model, calls)
        watched.detect_language(mel)
        code = max(watched.language_probabilities, key=lambda code: watched.language_probabilities[code])
        return Language(code=code, probability=watched.language_probabilities[code])

    def close(self) -> None:
        del self._model
        gc.collect()  # modules and their hooks refer to one another
        if self._device != "cpu":
            torch.cuda.empty_cache()

    def _check(self, options: DecodeOptions) -> None:
        known = self.info.languages or frozenset()
        if options.language and options.language not in known:
            if not self._model.is_multilingual:
                raise Unsupported("This model knows English only.", param="language")
            raise InvalidOption("language", options.language, "one of " + ", ".join(sorted(known)))


class WatchedModel:
    """Stands where ``whisper.transcribe`` expects the model; looks for cancellation at each token.

    It also keeps two things that ``whisper.transcribe`` does not tell or do: the probabilities of the languages,
    and a prefix for the first window only.
    """

    def __init__(self, model: Any, calls: Calls) -> None:
        self._model, self._calls = model, calls
        self._first_window: Any = None
        self.language_probabilities: Mapping[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, mel: Any, tokens: Any) -> Any:
        return self._model(mel, tokens)

    def detect_language(self, mel: Any) -> Any:
        self._calls.check()
        tokens, probabilities = self._model.detect_language(mel)
        self.language_probabilities = probabilities
        return tokens, probabilities

    def decode(self, mel: Any, options: Any) -> Any:
        if self._first_window is None:
            self._first_window = mel
        if mel is not self._first_window:
            options = replace(options, prefix=None)
        # PyTorch calls this before each step of the decoder; its error ends the decoding, which cleans up.
        hook = self._model.decoder.register_forward_pre_hook(lambda module, inputs: self._calls.check())
        try:
            self._calls.check()
            return self._model.decode(mel, options)
        finally:
            hook.remove()


def arguments(options: DecodeOptions, samples: int) -> dict[str, Any]:
    """``options`` as ``whisper.transcribe`` names them, for so many samples of audio."""
    prompt = " ".join(text for text in (options.hotwords, options.initial_prompt, options.previous_text) if text)
    # A clip that ends beyond the last frame would never be done.
    last = samples // whisper.audio.HOP_LENGTH / whisper.audio.FRAMES_PER_SECOND
    clips = [min(clip, last) for clip in options.clip_timestamps]
    return {
        "language": options.language,
        "task": options.task.value,
        "beam_size": options.beam_size,
        "best_of": options.best_of,
        "patience": options.patience,
        # Both divide by the length by default; only OpenAI's has another formula for every number.
        "length_penalty": None if options.length_penalty == 1 else options.length_penalty,
        "temperature": options.temperature,
        "compression_ratio_threshold": options.compression_ratio_threshold,
        "logprob_threshold": options.log_prob_threshold,
        "no_speech_threshold": options.no_speech_threshold,
        "condition_on_previous_text": options.condition_on_previous_text is not False,
        "initial_prompt": prompt or None,
        "carry_initial_prompt": bool(options.hotwords),
        "prefix": options.prefix,
        "suppress_blank": options.suppress_blank,
        "suppress_tokens": list(options.suppress_tokens),
        "without_timestamps": options.without_timestamps,
        "max_initial_timestamp": options.max_initial_timestamp,
        "sample_len": options.max_new_tokens,
        "word_timestamps": options.word_timestamps,
        "prepend_punctuations": options.prepend_punctuations,
        "append_punctuations": options.append_punctuations,
        "clip_timestamps": clips or "0",
        "hallucination_silence_threshold": options.hallucination_silence_threshold,
    }


def _load(name: str, device: str, extra: Mapping[str, Any]) -> Any:
    try:
        return whisper.load_model(name, device=device, **extra)
    except (RuntimeError, OSError, KeyError, TypeError, EOFError, UnpicklingError) as exc:
        raise ModelLoadFailed(
            f"{name} cannot be loaded by openai-whisper: {exc}.",
            remedy="It must be a .pt file of openai-whisper, or one of: " + ", ".join(whisper.available_models()) + ".",
        ) from exc


def _segments(segments: Sequence[Mapping[str, Any]], options: DecodeOptions) -> Iterator[Segment]:
    for segment in segments:
        if segment["text"]:  # the others are windows in which nothing was heard
            yield _segment(segment, options)


def _segment(segment: Mapping[str, Any], options: DecodeOptions) -> Segment:
    words = tuple(_word(word) for word in segment.get("words", ())) if options.word_timestamps else None
    return Segment(
        id=segment["id"],
        start=float(segment["start"]),
        end=float(segment["end"]),
        text=segment["text"],
        words=words,
        tokens=tuple(segment["tokens"]),
        temperature=float(segment["temperature"]),
        avg_logprob=_finite(segment["avg_logprob"]),
        compression_ratio=_finite(segment["compression_ratio"]),
        no_speech_prob=_finite(segment["no_speech_prob"]),
    )


def _word(word: Mapping[str, Any]) -> Word:
    return Word(
        word=word["word"], start=float(word["start"]), end=float(word["end"]), probability=_finite(word["probability"])
    )


def _finite(value: float) -> float:
    """JSON has no other numbers."""
    return float(value) if math.isfinite(value) else 0.0
