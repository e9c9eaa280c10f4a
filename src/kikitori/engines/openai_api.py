"""Any transcription endpoint that speaks OpenAI's API, as an engine: a small machine forwards what it hears."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kikitori.audio.pcm import to_wav_bytes
from kikitori.engines.base import REMOTE_AT_ONCE, Calls, Decoding, EngineConfig, EngineInfo, Language, WorksAlone
from kikitori.engines.openai_http import Client, Endpoint, Refused
from kikitori.engines.registry import engine_info
from kikitori.engines.wording import place
from kikitori.options import DecodeOptions
from kikitori.text.languages import LANGUAGE_NAMES
from kikitori.types import SAMPLE_RATE, Audio, Segment, Task, Word

SILENCE = 1e-3
"""Audio that is nowhere louder is not sent."""
SHORTEST_SAMPLES = SAMPLE_RATE // 10
"""Endpoints refuse less: shorter audio is filled up with silence."""
LANGUAGE_SAMPLES = 30 * SAMPLE_RATE
_CODES = {name: code for code, name in LANGUAGE_NAMES.items()}
_DETAILED, _PLAIN = "verbose_json", "json"


class OpenAIEngine(WorksAlone):
    """``config.model`` is the endpoint's name of the model; ``config.extra`` has base_url, api_key, timeout_seconds."""

    def __init__(self, config: EngineConfig) -> None:
        """Asks nobody. Raises ModelLoadFailed without an address."""
        self.info: EngineInfo = engine_info("openai")
        extra = config.extra
        self.endpoint = Endpoint.of(
            str(extra.get("base_url", "")), str(extra.get("api_key", "")), float(extra.get("timeout_seconds", 120.0))
        )
        self.model = config.model
        self._format = _PLAIN if config.model.startswith("gpt-") else _DETAILED
        self._client = Client(self.endpoint, threads=REMOTE_AT_ONCE * 2)

    def transcribe(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Decoding:
        calls.check()
        if not len(audio) or float(np.abs(audio).max()) < SILENCE:
            return Decoding(Language(code=options.language or "", probability=0.0), iter(()))
        answer = self._ask(audio, options, calls)
        return Decoding(_language(answer, options), _segments(answer, len(audio) / SAMPLE_RATE, options))

    def detect_language(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Language:
        return self.transcribe(audio[:LANGUAGE_SAMPLES], options, calls).language

    def close(self) -> None:
        self._client.close()

    def _ask(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Mapping[str, Any]:
        """The answer. A model that knows no times is asked without, from then on."""
        padded = np.pad(audio, (0, max(0, SHORTEST_SAMPLES - len(audio))))
        file = ("audio.wav", to_wav_bytes(padded))
        path = "/audio/translations" if options.task is Task.TRANSLATE else "/audio/transcriptions"
        try:
            return self._client.post(path, _fields(self.model, self._format, options), file, calls.check)
        except Refused as exc:
            if exc.status != 400 or "response_format" not in exc.quote or self._format == _PLAIN:
                raise
        self._format = _PLAIN
        return self._client.post(path, _fields(self.model, self._format, options), file, calls.check)


def _fields(model: str, answer: str, options: DecodeOptions) -> list[tuple[str, str]]:
    fields = [("model", model), ("response_format", answer)]
    transcribes = options.task is Task.TRANSCRIBE
    if options.language and transcribes:
        fields.append(("language", options.language))
    if prompt := prompt_of(options):
        fields.append(("prompt", prompt))
    if answer == _DETAILED and options.word_timestamps and transcribes:
        fields += [("timestamp_granularities[]", name) for name in ("segment", "word")]
    return fields


def prompt_of(options: DecodeOptions) -> str:
    """Words to listen for, and what was said before."""
    return ". ".join(filter(None, (options.hotwords, options.initial_prompt)))


def _language(answer: Mapping[str, Any], options: DecodeOptions) -> Language:
    said = answer.get("language")
    if isinstance(said, str) and said and options.task is Task.TRANSCRIBE:
        name = said.strip().lower()
        return Language(code=_CODES.get(name, name.partition("-")[0]))
    return Language(code=options.language or "", probability=1.0 if options.language else 0.0)


def _segments(answer: Mapping[str, Any], seconds: float, options: DecodeOptions) -> Iterator[Segment]:
    """Those of the answer; of an answer without times, one."""
    text = answer.get("text")
    given = [part for part in _list(answer, "segments") if isinstance(part.get("text"), str)]
    if not given and isinstance(text, str) and text.strip():
        given = [{"text": f" {text.strip()}", "start": 0.0, "end": seconds}]
    words = sorted(_list(answer, "words"), key=lambda word: _number(word, "start", 0.0))
    for part in given:
        segment = _segment(part, seconds)
        if not segment.text.strip():
            continue
        mine = [word for word in words if segment.start <= _middle(word) < segment.end or part is given[-1]]
        words = words[len(mine) :] if mine else words
        yield _with_words(segment, mine) if options.word_timestamps and mine else segment


def _segment(part: Mapping[str, Any], seconds: float) -> Segment:
    start = min(max(0.0, _number(part, "start", 0.0)), seconds)
    return Segment(
        id=0,
        start=start,
        end=min(max(start, _number(part, "end", seconds)), seconds),
        text=part["text"],
        temperature=_number(part, "temperature", 0.0),
        avg_logprob=_number(part, "avg_logprob", 0.0),
        compression_ratio=_number(part, "compression_ratio", 1.0),
        no_speech_prob=_number(part, "no_speech_prob", 0.0),
    )


def _with_words(segment: Segment, given: Sequence[Mapping[str, Any]]) -> Segment:
    """Words as they stand in the text, with the space before and the punctuation after them."""
    probability = min(1.0, math.exp(segment.avg_logprob))
    texts = place(segment.text, [str(word.get("word", "")).strip() for word in given])
    words, earliest = [], segment.start
    for text, word in zip(texts, given, strict=True):
        start = min(max(earliest, _number(word, "start", earliest)), segment.end)
        earliest = min(max(start, _number(word, "end", start)), segment.end)
        words.append(Word(word=text, start=start, end=earliest, probability=probability))
    return Segment(
        id=0,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        words=tuple(words),
        temperature=segment.temperature,
        avg_logprob=segment.avg_logprob,
        compression_ratio=segment.compression_ratio,
        no_speech_prob=segment.no_speech_prob,
    )


def _list(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = answer.get(name)
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _middle(word: Mapping[str, Any]) -> float:
    return (_number(word, "start", 0.0) + _number(word, "end", 0.0)) / 2


def _number(part: Mapping[str, Any], name: str, default: float) -> float:
    value = part.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else default
