"""Whisper through faster-whisper and CTranslate2, with calls merged across requests.

``faster_whisper.WhisperModel.transcribe`` runs as its authors wrote it, one call in one thread;
only its ``.model``, the CTranslate2 object, is replaced by a stand-in that hands each call to the
scheduler and waits (``whisper_calls``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import faster_whisper
import numpy as np

from kikitori.engines.base import Calls, Decoding, EngineConfig, Language
from kikitori.engines.registry import engine_info
from kikitori.engines.whisper_arguments import detection_threshold, upstream_arguments
from kikitori.engines.whisper_calls import (
    MAX_LENGTH,
    AlignKey,
    Array,
    DetectKey,
    EncodeKey,
    GenerateKey,
    MergedModel,
    SpecialTokens,
)
from kikitori.engines.whisper_features import BoundedFeatureExtractor
from kikitori.errors import InvalidOption, ModelLoadFailed, Unsupported
from kikitori.options import DecodeOptions
from kikitori.types import Audio, Segment, Word

INFO = engine_info("whisper")

USUAL_ROWS = 5
"""Rows of one window by default (beam_size, best_of): what the largest batch is meant for."""
CPU_ENCODE_BATCH = 1
"""On a CPU one encoder call uses all cores anyway: small ones let urgent calls in sooner."""


class WhisperEngine:
    """A Whisper model on one device."""

    def __init__(self, config: EngineConfig) -> None:
        _check_folder(Path(config.model))
        try:
            self._whisper = _WhisperModel(
                config.model,
                device=config.device,
                device_index=config.device_index,
                compute_type=config.compute_type,
                cpu_threads=config.cpu_threads,
                num_workers=config.workers,
                local_files_only=True,
                **config.extra,
            )
        except (RuntimeError, ValueError) as exc:
            raise ModelLoadFailed(f"The model {config.model} cannot be loaded: {exc}.") from exc
        self._model: Any = self._whisper.model
        self._whisper.feature_extractor = BoundedFeatureExtractor(**self._whisper.feat_kwargs)
        token_id = self._whisper.hf_tokenizer.token_to_id
        self._special = SpecialTokens(token_id("<|startoftranscript|>"), token_id("<|notimestamps|>"))
        self._on_cpu = config.device == "cpu"
        self.info = replace(
            INFO,
            languages=_languages(self._whisper),
            max_batch_size=config.max_batch_size,
        )
        self._runs: dict[type, Callable[[Any, Sequence[Any]], Sequence[Any]]] = {
            EncodeKey: self._encode,
            GenerateKey: self._generate,
            AlignKey: self._align,
            DetectKey: self._detect,
        }

    def transcribe(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Decoding:
        self._check(options)
        with _clear_errors():
            model = self._bound(calls, options.audio_context)
            segments, info = model.transcribe(audio, **upstream_arguments(options, self._tokens))
        return Decoding(Language(code=info.language, probability=float(info.language_probability)), _segments(segments))

    def detect_language(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Language:
        if not self._model.is_multilingual:
            return Language(code="en")
        code, probability, _ = self._bound(calls, options.audio_context).detect_language(
            audio=audio,
            language_detection_segments=options.language_detection_segments,
            language_detection_threshold=detection_threshold(options),
        )
        return Language(code=code, probability=float(probability))

    def batch_limit(self, key: Hashable) -> int:
        if self._on_cpu and isinstance(key, EncodeKey):
            return CPU_ENCODE_BATCH
        if isinstance(key, GenerateKey):
            # Every beam or candidate is a row with a memory of its own.
            options = dict(key.options)
            rows: int = max(options.get("beam_size", 1), options.get("num_hypotheses", 1))
            return max(1, min(self.info.max_batch_size, self.info.max_batch_size * USUAL_ROWS // rows))
        return self.info.max_batch_size

    def run(self, key: Hashable, payloads: Sequence[Any]) -> Sequence[Any]:
        return self._runs[type(key)](key, payloads)

    def close(self) -> None:
        self._model.unload_model()

    def _check(self, options: DecodeOptions) -> None:
        languages = self.info.languages or frozenset()
        if options.language and options.language not in languages:
            if not self._model.is_multilingual:
                raise Unsupported("This model knows English only.", param="language")
            raise InvalidOption("language", options.language, "one of " + ", ".join(sorted(languages)))
        # CTranslate2 writes to the place of a suppressed token without a look at how many there are.
        unknown = [token for token in options.suppress_tokens if token >= self._special.vocabulary_size]
        if unknown:
            last = self._special.vocabulary_size - 1
            raise InvalidOption("suppress_tokens", unknown[0], f"with this model, -1 to {last}")

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self._whisper.hf_tokenizer.encode(text, add_special_tokens=False).ids
        return tokens

    def _bound(self, calls: Calls, audio_context: int | None) -> Any:
        """faster-whisper's model for one request, its calls going through ``calls``.

        A copy of the thin outer object: ``chunk_length`` changes the feature extractor it is used with.
        Nothing in it may lead back to it: the window and its encoding, megabytes each, would stay in memory
        until Python looks for garbage, long after the window is done.
        """
        bound = copy.copy(self._whisper)
        bound.feature_extractor = copy.copy(self._whisper.feature_extractor)
        bound.model = MergedModel(self._model, self._special, calls, audio_context=audio_context)
        return bound

    def _encode(self, key: EncodeKey, windows: Sequence[Array]) -> Sequence[Array]:
        # Rows of one batch go their own ways afterwards, so they are brought to main memory.
        output = self._model.encode(_storage(windows), to_cpu=True)
        return _rows(_as_array(output))

    def _generate(self, key: GenerateKey, payloads: Sequence[tuple[Array, list[int]]]) -> Sequence[Any]:
        features = _storage([output for output, _ in payloads])
        results: Sequence[Any] = self._model.generate(features, [prompt for _, prompt in payloads], **dict(key.options))
        return results

    def _align(self, key: AlignKey, payloads: Sequence[tuple[Array, list[int], int]]) -> Sequence[Any]:
        results: Sequence[Any] = self._model.align(
            _storage([output for output, _, _ in payloads]),
            list(key.start_sequence),
            [tokens for _, tokens, _ in payloads],
            [frames for _, _, frames in payloads],
            median_filter_width=key.median_filter_width,
        )
        return results

    def _detect(self, key: DetectKey, outputs: Sequence[Array]) -> Sequence[Any]:
        results: Sequence[Any] = self._model.detect_language(_storage(outputs))
        return results


class _WhisperModel(faster_whisper.WhisperModel):  # type: ignore[misc]
    """Upstream's model, less the work that it does twice."""

    def detect_language(self, audio: Audio | None = None, features: Array | None = None, **arguments: Any) -> Any:
        """Upstream's detection, less the one frame of padding that its decoding leaves out.

        Then both look at the same window, which is encoded once: for short files half of the work.
        """
        if features is not None and features.shape[-1] > 1:
            features = features[..., :-1]
        return super().detect_language(audio=audio, features=features, **arguments)


def _languages(whisper: Any) -> frozenset[str]:
    """Languages the vocabulary has a token for; upstream counts all that any Whisper model knows."""
    codes: list[str] = whisper.supported_languages
    if not whisper.model.is_multilingual:
        return frozenset(codes)
    return frozenset(code for code in codes if whisper.hf_tokenizer.token_to_id(f"<|{code}|>") is not None)


def _check_folder(folder: Path) -> None:
    """A local model is complete, or the error says what is missing; the hub is never asked."""
    missing = [name for name in ("model.bin", "config.json", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        raise ModelLoadFailed(
            f"The folder {folder} is not a whole CTranslate2 Whisper model: {', '.join(missing)} missing.",
            remedy="Convert with ct2-transformers-converter --copy_files tokenizer.json preprocessor_config.json.",
            param="model",
        )


def _segments(upstream: Iterator[Any]) -> Iterator[Segment]:
    with _clear_errors():
        for segment in upstream:
            yield Segment(
                id=segment.id,
                start=float(segment.start),
                end=float(segment.end),
                text=segment.text,
                words=None if segment.words is None else tuple(_word(word) for word in segment.words),
                tokens=tuple(segment.tokens),
                temperature=float(segment.temperature or 0.0),
                avg_logprob=float(segment.avg_logprob),
                compression_ratio=float(segment.compression_ratio),
                no_speech_prob=float(segment.no_speech_prob),
            )


def _word(word: Any) -> Word:
    return Word(word=word.word, start=float(word.start), end=float(word.end), probability=float(word.probability))


@contextmanager
def _clear_errors() -> Iterator[None]:
    """faster-whisper's complaint about a prompt and ``max_new_tokens`` that do not fit, as ours."""
    try:
        yield
    except ValueError as exc:
        if "max_new_tokens" not in str(exc):
            raise
        raise InvalidOption(
            "max_new_tokens", "too large", f"prompt and new tokens together fit in {MAX_LENGTH} tokens"
        ) from exc


def _storage(arrays: Sequence[Array]) -> Any:
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(joined))


def _as_array(storage: Any) -> Array:
    if storage.dtype == ctranslate2.DataType.bfloat16:  # NumPy has no such type
        storage = storage.to(ctranslate2.DataType.float32)
    return np.asarray(storage)


def _rows(batch: Array) -> list[Array]:
    return [batch[index : index + 1] for index in range(len(batch))]
