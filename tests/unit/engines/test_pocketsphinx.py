"""Cutting, reading and cleaning up, without a search; tests/integration/test_pocketsphinx.py listens."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kikitori.engines import pocketsphinx as module
from kikitori.engines.base import EngineConfig
from kikitori.engines.pocketsphinx import (
    IDLE_DECODERS,
    LONGEST_SECONDS,
    PocketSphinxEngine,
    blocks,
    pcm,
    to_segment,
    utterances,
)
from kikitori.engines.pocketsphinx_process import DecoderFailed, Heard
from kikitori.errors import DecodingCancelled, ModelLoadFailed, Unavailable
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Audio, SpeechSpan


class Asked:
    """Calls of a request that goes away after ``patience`` looks."""

    def __init__(self, patience: float = float("inf")) -> None:
        self.patience = patience

    def submit(self, key: object, payload: object) -> Any:
        raise AssertionError("This engine merges no calls.")

    def check(self) -> None:
        self.patience -= 1
        if self.patience < 0:
            raise DecodingCancelled


class FakeDecoder:
    """Hears ``one two`` in every utterance; ``fail`` names the call that fails."""

    made: list["FakeDecoder"]

    def __init__(self, settings: dict[str, Any]) -> None:
        self.fail, self.settings = settings.get("fail", ""), settings
        self.alive, self.in_utterance = True, False
        self.made.append(self)
        self._call("init")

    def _call(self, name: str) -> None:
        assert self.alive
        if self.fail == name:
            self.alive = False
            raise DecoderFailed(f"{name} failed")

    def level(self, audio: bytes) -> str:
        assert not self.in_utterance
        self._call("level")
        return "1,2,3"

    def start(self, level: str) -> None:
        assert not self.in_utterance and level == "1,2,3"
        self._call("start")
        self.in_utterance = True

    def feed(self, audio: bytes) -> None:
        assert self.in_utterance
        self._call("feed")

    def words(self) -> list[Heard]:
        self._call("words")
        return [Heard("one", 0.1, 0.3, 0.0)]

    def end(self) -> list[Heard]:
        self.in_utterance = False
        self._call("end")
        return [Heard("one", 0.1, 0.3, 0.5), Heard("two", 0.4, 0.6, 0.5)]

    def close(self) -> None:
        self.alive = False


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PocketSphinxEngine]:
    """Builds an engine on fake decoders that hears speech everywhere."""
    FakeDecoder.made = []
    monkeypatch.setattr(module, "DecoderProcess", FakeDecoder)
    monkeypatch.setattr(module, "utterances", lambda audio: [SpeechSpan(start=n, end=n + 1.0) for n in (1.0, 2.0)])
    return lambda **extra: PocketSphinxEngine(EngineConfig(extra=extra))


def transcribe(engine: PocketSphinxEngine, patience: float = float("inf"), **options: Any) -> list[Any]:
    audio = np.zeros(3 * SAMPLE_RATE, dtype=np.float32)
    return list(engine.transcribe(audio, DecodeOptions(**options), Asked(patience)).segments)


# Reading


def test_a_segment_begins_with_its_first_word_and_ends_with_its_last() -> None:
    segment = to_segment([Heard("oh", 0.25, 0.5, 1.0), Heard("yes", 0.5, 0.75, 1.0)], 1.0, with_words=False)
    assert (segment.start, segment.end, segment.text, segment.words) == (1.25, 1.75, " oh yes", None)
    assert segment.avg_logprob == 0.0


def test_doubt_lowers_the_logarithm() -> None:
    segment = to_segment([Heard("a", 0, 0.5, 0.0), Heard("b", 0.5, 1, 1.0)], 0.0, with_words=True)
    assert segment.avg_logprob == pytest.approx(np.log(1e-4) / 2)
    assert [word.probability for word in segment.words or ()] == [0.0, 1.0]


# Cutting


def tones(*stretches: tuple[float, float]) -> Audio:
    """Harmonics that pass for a voice, (seconds, loudness) after one another."""
    parts = []
    for seconds, loudness in stretches:
        time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        wave = sum(np.sin(2 * np.pi * 140 * n * time) / n for n in range(1, 20))
        parts.append(loudness * wave * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)))
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 1.0, 60.0])
def test_silence_has_no_utterances(seconds: float) -> None:
    assert utterances(np.zeros(int(seconds * SAMPLE_RATE), dtype=np.float32)) == []


def test_utterances_are_cut_at_pauses() -> None:
    spans = utterances(tones((1, 0), (1.5, 0.2), (1, 0), (1.5, 0.2), (1, 0)))
    assert len(spans) == 2
    assert [round(span.start) for span in spans] == [1, 3]
    assert all(0 <= span.start < span.end <= 6 for span in spans)


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    audio = tones((15, 0.2), (0.2, 0.02), (15, 0.2))
    spans = utterances(audio)
    assert len(spans) == 2
    assert spans[0].end == spans[1].start == pytest.approx(15.1, abs=0.1)
    assert all(span.end - span.start <= LONGEST_SECONDS for span in spans)


def test_samples_outside_the_range_are_clipped() -> None:
    loud = pcm(np.array([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=np.float32))
    assert np.frombuffer(loud, dtype=np.int16).tolist() == [-32767, -32767, 0, 32767, 32767]


def test_blocks_hold_every_sample_once() -> None:
    audio = np.linspace(-1, 1, 10_001, dtype=np.float32)
    assert b"".join(blocks(audio)) == pcm(audio)


# The engine


def test_words_only_when_they_are_asked_for(make: Callable[..., PocketSphinxEngine]) -> None:
    engine = make()
    plain, timed = transcribe(engine), transcribe(engine, word_timestamps=True)
    assert [(segment.text, segment.words) for segment in plain] == [(" one two", None)] * 2
    assert [(word.word, word.start) for segment in timed for word in segment.words] == [
        (" one", 1.1),
        (" two", 1.4),
        (" one", 2.1),
        (" two", 2.4),
    ]
    assert len(FakeDecoder.made) == 1


@pytest.mark.parametrize("call", ["level", "start", "feed", "end"])
def test_a_decoder_that_fails_is_not_used_again(call: str, make: Callable[..., PocketSphinxEngine]) -> None:
    engine = make()
    FakeDecoder.made[0].fail = call
    with pytest.raises(Unavailable, match=f"{call} failed"):
        transcribe(engine)
    assert transcribe(engine)[0].text == " one two"
    assert len(FakeDecoder.made) == 2


@pytest.mark.parametrize("patience", range(8))
def test_going_away_ends_the_utterance_and_keeps_the_decoder(
    patience: int, make: Callable[..., PocketSphinxEngine]
) -> None:
    engine = make()
    with pytest.raises(DecodingCancelled):
        transcribe(engine, patience)
    assert not FakeDecoder.made[0].in_utterance
    assert len(transcribe(engine)) == 2
    assert len(FakeDecoder.made) == 1


def test_closing_the_segments_early_keeps_the_decoder(make: Callable[..., PocketSphinxEngine]) -> None:
    engine = make()
    segments: Any = engine.transcribe(np.zeros(SAMPLE_RATE, dtype=np.float32), DecodeOptions(), Asked()).segments
    next(segments)
    segments.close()
    transcribe(engine)
    assert len(FakeDecoder.made) == 1


def test_settings_of_the_operator_win(make: Callable[..., PocketSphinxEngine]) -> None:
    make(fwdflat=True, lw=7.0)
    assert FakeDecoder.made[0].settings["fwdflat"] is True
    assert FakeDecoder.made[0].settings["lw"] == 7.0


def test_a_decoder_that_cannot_start(make: Callable[..., PocketSphinxEngine]) -> None:
    with pytest.raises(ModelLoadFailed, match="KIKITORI_ENGINE_OPTIONS"):
        make(fail="init")


def test_only_some_decoders_are_kept(make: Callable[..., PocketSphinxEngine]) -> None:
    engine = make()
    for decoder in [engine.take_decoder() for _ in range(IDLE_DECODERS + 2)]:
        engine.give_back(decoder)
    assert len(FakeDecoder.made) == IDLE_DECODERS + 2
    assert sum(decoder.alive for decoder in FakeDecoder.made) == IDLE_DECODERS


def test_closing_ends_every_decoder_also_one_in_use(make: Callable[..., PocketSphinxEngine]) -> None:
    engine = make()
    used, idle = engine.take_decoder(), engine.take_decoder()
    engine.give_back(idle)
    engine.close()
    engine.give_back(used)
    assert not any(decoder.alive for decoder in FakeDecoder.made)


@pytest.mark.parametrize("call", ["level", "start", "feed", "words"])
def test_a_stream_that_fails(call: str, make: Callable[..., PocketSphinxEngine]) -> None:
    engine = make()
    FakeDecoder.made[0].fail = call
    with pytest.raises(Unavailable, match=f"{call} failed"):
        engine.stream(DecodeOptions()).accept(np.zeros(2 * SAMPLE_RATE, dtype=np.float32))
    assert transcribe(engine)


def test_nothing_is_merged(make: Callable[..., PocketSphinxEngine]) -> None:
    engine = make()
    assert engine.batch_limit("any") == 1
    with pytest.raises(NotImplementedError):
        engine.run("any", [1])
