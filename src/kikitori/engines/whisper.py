"""Whisper through faster-whisper and CTranslate2, with calls merged across requests.

``faster_whisper.WhisperModel.transcribe`` runs as its authors wrote it, one call in one thread;
only its ``.model``, the CTranslate2 object, is replaced by a stand-in that hands each call to the
scheduler and waits. What CTranslate2 shares in one call decides the keys (its
``src/models/whisper.cc``): in one ``generate`` every prompt has ``<|startoftranscript|>`` at the
same place and the same number of tokens after it, so languages and tasks may mix; options may not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import ctranslate2
import faster_whisper
import numpy as np
import numpy.typing as npt

from kikitori.engines.base import Calls, Decoding, EngineConfig, Language
from kikitori.engines.registry import engine_info
from kikitori.engines.whisper_arguments import detection_threshold, upstream_arguments
from kikitori.engines.whisper_features import BoundedFeatureExtractor
from kikitori.errors import InvalidOption, ModelLoadFailed, Unsupported
from kikitori.options import DecodeOptions
from kikitori.types import Audio, Segment, Word

Array = npt.NDArray[Any]

INFO = engine_info("whisper")

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
USUAL_ROWS = 5
"""Rows of one window by default (beam_size, best_of): what the largest batch is meant for."""
CPU_ENCODE_BATCH = 1
"""On a CPU one encoder call uses all cores anyway: small ones let urgent calls in sooner."""


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
    kind: ClassVar[str] = "generate"


@dataclass(frozen=True, slots=True)
class AlignKey:
    """Alignments with one start sequence (language and task)."""

    start_sequence: tuple[int, ...]
    median_filter_width: int
    empty: bool
    kind: ClassVar[str] = "align"


@dataclass(frozen=True, slots=True)
class DetectKey:
    kind: ClassVar[str] = "detect_language"


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The encoder's output for one window, shape (1, frames, d_model), in main memory."""

    output: Array
    audio_frames: int
    """Mel frames before the padding (100 a second)."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids that differ between English-only and multilingual vocabularies."""

    start_of_transcript: int
    no_timestamps: int

    @property
    def vocabulary_size(self) -> int:
        return self.no_timestamps + 1 + TIMESTAMPS


class WhisperEngine:
    """A Whisper model on one device."""

    def __init__(self, config: EngineConfig) -> None:
        _check_folder(Path(config.model))
        try:
            self._whisper = faster_whisper.WhisperModel(
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
            segments, info = self._bound(calls).transcribe(audio, **upstream_arguments(options))
        return Decoding(Language(code=info.language, probability=float(info.language_probability)), _segments(segments))

    def detect_language(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Language:
        if not self._model.is_multilingual:
            return Language(code="en")
        code, probability, _ = self._bound(calls).detect_language(
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

    def _bound(self, calls: Calls) -> Any:
        """faster-whisper's model for one request, its calls going through ``calls``.

        A copy of the thin outer object: ``chunk_length`` changes the feature extractor it is used with.
        """
        bound = copy.copy(self._whisper)
        bound.feature_extractor = copy.copy(self._whisper.feature_extractor)
        bound.model = MergedModel(self._model, self._special, calls)
        bound.detect_language = partial(_detect_on_the_first_window, self._whisper.__class__.detect_language, bound)
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


class MergedModel:
    """Stands where faster-whisper expects ``ctranslate2.models.Whisper``; one request's view of it."""

    def __init__(self, model: Any, special: SpecialTokens, calls: Calls) -> None:
        self._model, self._special, self._calls = model, special, calls
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
        key = AlignKey(tuple(start_sequence), median_filter_width, empty=not tokens)
        return [self._calls.submit(key, (encoded.output, tokens, num_frames))]

    def detect_language(self, encoded: Encoded) -> list[Any]:
        return [self._calls.submit(DetectKey(), encoded.output)]


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


def _detect_on_the_first_window(detect: Callable[..., Any], bound: Any, **arguments: Any) -> Any:
    """Upstream's detection, less the one frame of padding that its decoding leaves out.

    Then both look at the same window, which is encoded once: for short files half of the work.
    """
    features = arguments.get("features")
    if features is not None and features.shape[-1] > 1:
        arguments["features"] = features[..., :-1]
    return detect(bound, **arguments)


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


def _frames_before_padding(mel: Array) -> int:
    """Frames of ``mel``, shape (n_mels, frames), before the zeros that fill the window."""
    used = np.flatnonzero(mel.any(axis=0))
    return int(used[-1]) + 1 if used.size else 0


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _storage(arrays: Sequence[Array]) -> Any:
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(joined))


def _as_array(storage: Any) -> Array:
    if storage.dtype == ctranslate2.DataType.bfloat16:  # NumPy has no such type
        storage = storage.to(ctranslate2.DataType.float32)
    return np.asarray(storage)


def _rows(batch: Array) -> list[Array]:
    return [batch[index : index + 1] for index in range(len(batch))]
