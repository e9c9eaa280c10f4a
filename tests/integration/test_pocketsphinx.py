"""The embedded engine on real audio: a synthesised voice, and recordings where there are some."""

import wave
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from kikitori.audio.decode import decode
from kikitori.engines.base import EngineConfig, Hypothesis
from kikitori.engines.pocketsphinx import BLOCK_SAMPLES, PocketSphinxEngine, utterances
from kikitori.errors import DecodingCancelled
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Audio, Segment

HELLO = "hello and welcome"
KENNEDY = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"


class Asked:
    """Calls of a request that goes away after ``patience`` looks."""

    def __init__(self, patience: float = float("inf")) -> None:
        self.patience, self.looks = patience, 0

    def submit(self, key: object, payload: object) -> Any:
        raise AssertionError("This engine merges no calls.")

    def check(self) -> None:
        self.looks += 1
        if self.looks > self.patience:
            raise DecodingCancelled


@pytest.fixture(scope="module")
def engine() -> Iterator[PocketSphinxEngine]:
    loaded = PocketSphinxEngine(EngineConfig())
    yield loaded
    loaded.close()


@pytest.fixture
def hello(hello_wav: Path) -> Audio:
    with wave.open(str(hello_wav)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    return samples.astype(np.float32) / np.float32(32_768)


def segments(engine: PocketSphinxEngine, audio: Audio, **options: Any) -> list[Segment]:
    return list(engine.transcribe(audio, DecodeOptions(**options), Asked()).segments)


def text(found: list[Segment]) -> str:
    return "".join(segment.text for segment in found)


def silence(seconds: float) -> Audio:
    return np.zeros(int(seconds * SAMPLE_RATE), dtype=np.float32)


def test_a_synthesised_voice(engine: PocketSphinxEngine, hello: Audio) -> None:
    found = segments(engine, hello)
    assert text(found) == f" {HELLO}"
    assert found[0].avg_logprob < 0
    assert engine.transcribe(hello, DecodeOptions(), Asked()).language.code == "en"


def test_words_lie_where_they_are_spoken(engine: PocketSphinxEngine, hello: Audio) -> None:
    audio = np.concatenate([silence(2), hello, silence(3), hello, silence(1)])
    found = segments(engine, audio, word_timestamps=True)
    assert [segment.text for segment in found] == [f" {HELLO}"] * 2
    length = len(hello) / SAMPLE_RATE
    for segment, begin in zip(found, (2.0, 5.0 + length), strict=True):
        words = segment.words or ()
        assert [word.word for word in words] == [" hello", " and", " welcome"]
        assert begin <= words[0].start and words[-1].end <= begin + length
        assert all(earlier.end <= later.start for earlier, later in pairwise(words))
        assert all(0 < word.probability <= 1 for word in words)
        assert (segment.start, segment.end) == (words[0].start, words[-1].end)


@pytest.mark.parametrize("seconds", [0, 0.01, 0.1, 5])
def test_silence_is_no_text(engine: PocketSphinxEngine, seconds: float) -> None:
    assert segments(engine, silence(seconds)) == []


def test_a_click_is_no_text(engine: PocketSphinxEngine) -> None:
    click = silence(1)
    click[8_000:8_160] = 0.9
    assert segments(engine, click) == []


def test_what_was_heard_before_changes_nothing(engine: PocketSphinxEngine, hello: Audio) -> None:
    before = segments(engine, hello, word_timestamps=True)
    noise = np.random.default_rng(1).normal(0, 0.2, SAMPLE_RATE).astype(np.float32)
    segments(engine, np.concatenate([noise, 0.01 * hello]))
    assert segments(engine, hello, word_timestamps=True) == before


def test_loudness_does_not_matter(engine: PocketSphinxEngine, hello: Audio) -> None:
    assert text(segments(engine, 0.05 * hello)) == text(segments(engine, hello))


def test_the_caller_is_looked_for_in_every_quarter_of_a_second(engine: PocketSphinxEngine, hello: Audio) -> None:
    calls = Asked()
    list(engine.transcribe(hello, DecodeOptions(), calls).segments)
    spoken = sum(span.end - span.start for span in utterances(hello))
    assert calls.looks >= spoken * SAMPLE_RATE / BLOCK_SAMPLES
    for patience in (0, 1, calls.looks - 1):
        with pytest.raises(DecodingCancelled):
            list(engine.transcribe(hello, DecodeOptions(), Asked(patience)).segments)
    assert text(segments(engine, hello)) == f" {HELLO}"


def test_nothing_is_decoded_before_it_is_asked_for(engine: PocketSphinxEngine, hello: Audio) -> None:
    calls = Asked(0)
    engine.transcribe(hello, DecodeOptions(), calls)
    assert calls.looks == 0


def heard_in_pieces(engine: PocketSphinxEngine, audio: Audio, size: int) -> tuple[list[Hypothesis], list[Segment]]:
    stream = engine.stream(DecodeOptions(word_timestamps=True))
    hypotheses = [stream.accept(audio[start : start + size]) for start in range(0, len(audio), size)]
    return hypotheses, list(stream.finish().segments)


@pytest.mark.parametrize("size", [160, 1_600, 100_000])
def test_a_stream_hears_while_audio_comes_in(engine: PocketSphinxEngine, hello: Audio, size: int) -> None:
    hypotheses, final = heard_in_pieces(engine, hello, size)
    assert text(final).strip() == HELLO
    assert hypotheses[-1].text.startswith("hello") and hypotheses[-1].provisional
    assert " ".join(word.word.strip() for word in hypotheses[-1].words) == hypotheses[-1].text


def test_streams_keep_apart(engine: PocketSphinxEngine, hello: Audio) -> None:
    streams = [engine.stream(DecodeOptions()) for _ in range(2)]
    for start in range(0, len(hello), 4_000):
        streams[0].accept(hello[start : start + 4_000])
        streams[1].accept(silence(0.25))
    assert [text(list(stream.finish().segments)).strip() for stream in streams] == [HELLO, ""]
    assert text(segments(engine, hello)) == f" {HELLO}"


@pytest.mark.parametrize("seconds", [0, 0.3])
def test_a_stream_of_little_or_nothing(engine: PocketSphinxEngine, seconds: float) -> None:
    stream = engine.stream(DecodeOptions())
    if seconds:
        assert stream.accept(silence(seconds)).text == ""
    assert list(stream.finish().segments) == []


def test_a_recording_of_a_person(engine: PocketSphinxEngine, speech_dir: Path) -> None:
    audio = np.concatenate([block[0] for block in decode(speech_dir / "jfk.flac")])
    assert jiwer.wer(KENNEDY, text(segments(engine, audio)).strip()) < 0.3
