"""What our own options and mendings do to a real model's text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from kikitori.cli.bench.truth import Sentence, read_sentences
from kikitori.engines.whisper import INFO, WhisperEngine
from kikitori.inference.loaded import LoadedModel
from kikitori.inference.models import ModelSpec
from kikitori.inference.placement import Hardware
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.testing import FakeCatalog
from kikitori.types import SAMPLE_RATE, Segment

MINI = Path(__file__).parents[1] / "data" / "whisper-mini"
WITHOUT_TIMES = "Close the box."
"""A sentence of the samples whose words get no time from the library, which then leaves the text out."""


@pytest.fixture
async def model() -> AsyncIterator[LoadedModel]:
    catalog = FakeCatalog([ModelSpec(id="mini", engine="whisper", path=str(MINI / "model"))])
    async with (
        ModelPool(
            catalog,
            load_engine=lambda name, config: WhisperEngine(config),
            engine_info=lambda name: INFO,
            hardware=Hardware(cpu_threads=1),
        ) as pool,
        pool.use() as model,
    ):
        yield model


@pytest.fixture(scope="module")
def sentences() -> list[Sentence]:
    return read_sentences(MINI / "samples" / "samples.json", "en")


async def hear(model: LoadedModel, sentence: Sentence, **options: object) -> list[Segment]:
    decoding = model.decode(sentence.audio, DecodeOptions(language="en", beam_size=1, **options))  # type: ignore[arg-type]
    async with aclosing(decoding) as results:
        return [result async for result in results if isinstance(result, Segment)]


def text_of(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments).strip()


async def test_a_text_whose_words_get_no_times_is_not_lost(model: LoadedModel, sentences: list[Sentence]) -> None:
    short = [sentence for sentence in sentences if len(sentence.audio) < 3 * SAMPLE_RATE]
    texts = [text_of(await hear(model, sentence)) for sentence in short]
    assert WITHOUT_TIMES in texts
    for sentence, text in zip(short, texts, strict=True):
        segments = await hear(model, sentence, word_timestamps=True)
        assert text_of(segments) == text
        words = [word for segment in segments for word in segment.words or ()]
        assert "".join(word.word for word in words).strip() == text
        times = [at for word in words for at in (word.start, word.end)]
        assert times == sorted(times) and times[-1] > times[0]
        assert times[-1] <= len(sentence.audio) / SAMPLE_RATE + 0.05


async def test_a_short_window_hears_the_same_words(model: LoadedModel, sentences: list[Sentence]) -> None:
    whole = [text_of(await hear(model, sentence)) for sentence in sentences[:6]]
    short = [text_of(await hear(model, sentence, audio_context=5)) for sentence in sentences[:6]]
    assert sum(one == other for one, other in zip(whole, short, strict=True)) >= 5


async def test_a_window_that_holds_more_is_not_cut(model: LoadedModel, sentences: list[Sentence]) -> None:
    long = Sentence(audio=np.concatenate([sentence.audio for sentence in sentences[:6]]), words=())
    assert 10 * SAMPLE_RATE < len(long.audio) < 30 * SAMPLE_RATE
    segments = await hear(model, long, audio_context=5)
    assert segments[-1].end > 10
    assert text_of(segments).endswith(text_of(await hear(model, sentences[5])))
