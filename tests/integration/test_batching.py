"""Merged decoding gives exactly what each request gets alone, from the library itself."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Hashable
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_whisper import WhisperModel
from faster_whisper.audio import decode_audio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kikitori.engines.base import EngineConfig
from kikitori.engines.whisper import INFO, WhisperEngine
from kikitori.engines.whisper_alignment import with_times
from kikitori.engines.whisper_arguments import upstream_arguments
from kikitori.engines.whisper_calls import EncodeKey, GenerateKey
from kikitori.errors import InvalidOption
from kikitori.inference.loaded import LoadedModel
from kikitori.inference.models import ModelSpec
from kikitori.inference.placement import Hardware
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.testing import FakeCatalog
from kikitori.types import Audio, DecodeMode, Segment, Task

MINI = Path(__file__).parents[1] / "data" / "whisper-mini"
SHORT = ("en_01", "en_02", "ja_01", "ja_02", "ko_03", "ko_04")

Heard = list[tuple[float, float, str, tuple[int, ...], tuple[tuple[str, float, float], ...]]]


class WithTimes:
    """The library's model, but that words without times get some: the one thing that we do otherwise."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def align(self, output: Any, start: Any, tokens: Any, frames: int, **options: Any) -> list[Any]:
        def align(frames: int) -> Any:
            return self._model.align(output, start, tokens, frames, **options)[0]

        return [with_times(align, tokens=len(tokens[0]), frames=frames, room=3_000)]


@cache
def library() -> WhisperModel:
    model = WhisperModel(str(MINI / "model"), device="cpu", cpu_threads=1)
    model.model = WithTimes(model.model)
    return model


@cache
def sample(name: str) -> Audio:
    audio: Audio = decode_audio(str(MINI / "samples" / f"{name}.wav"))
    return audio


def heard(segments: Any) -> Heard:
    return [
        (s.start, s.end, s.text, tuple(s.tokens), tuple((w.word, w.start, w.end) for w in s.words or ()))
        for s in segments
    ]


@cache
def alone(name: str, options: DecodeOptions) -> Heard:
    segments, _ = library().transcribe(sample(name), **upstream_arguments(options, lambda text: ()))
    return heard(segments)


@pytest.fixture
async def model() -> AsyncIterator[LoadedModel]:
    catalog = FakeCatalog([ModelSpec(id="mini", engine="whisper", path=str(MINI / "model"))])
    async with (
        ModelPool(
            catalog,
            load_engine=lambda name, config: WhisperEngine(config),
            engine_info=lambda name: INFO,
            hardware=Hardware(cpu_threads=1, max_batch_size=16),
        ) as pool,
        pool.use() as model,
    ):
        yield model


async def together(model: LoadedModel, requests: list[tuple[str, DecodeOptions]]) -> list[Heard]:
    async def one(name: str, options: DecodeOptions) -> Heard:
        async with aclosing(model.decode(sample(name), options)) as results:
            return heard([result async for result in results if isinstance(result, Segment)])

    return await asyncio.gather(*(one(name, options) for name, options in requests))


class Watched:
    """Calls that run alone and at once, and know which windows are still in memory."""

    def __init__(self, engine: WhisperEngine) -> None:
        self._engine = engine
        self._windows: list[weakref.ref[Any]] = []

    def submit(self, key: Hashable, payload: Any) -> Any:
        if isinstance(key, EncodeKey):
            self._windows.append(weakref.ref(payload))
        (result,) = self._engine.run(key, [payload])
        if isinstance(key, EncodeKey):
            self._windows.append(weakref.ref(result))
        return result

    def check(self) -> None:
        pass

    @property
    def in_memory(self) -> list[bool]:
        return [window() is not None for window in self._windows]


requests = st.tuples(
    st.sampled_from(SHORT),
    st.builds(
        DecodeOptions,
        language=st.sampled_from(["en", "ja", "ko", None]),
        task=st.sampled_from(Task),
        temperature=st.just((0.0,)),
        beam_size=st.sampled_from([1, 3]),
        initial_prompt=st.sampled_from([None, "The doctor likes tea.", "one two three four five six seven"]),
        hotwords=st.sampled_from([None, "water"]),
        without_timestamps=st.booleans(),
        word_timestamps=st.booleans(),
        repetition_penalty=st.sampled_from([1.0, 1.2]),
    ),
)


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(requests, min_size=6, max_size=12))
async def test_mixed_requests_get_what_they_get_alone(
    model: LoadedModel, drawn: list[tuple[str, DecodeOptions]]
) -> None:
    assert await together(model, drawn) == [alone(name, options) for name, options in drawn]


async def test_every_sample_at_once_in_its_language(model: LoadedModel) -> None:
    wanted = [
        (name, DecodeOptions(temperature=(0.0,), language=language)) for name in SHORT for language in (name[:2], None)
    ]
    assert await together(model, wanted) == [alone(name, options) for name, options in wanted]
    assert model.replicas[0].status().mean_batch_size > 1


async def test_finding_the_language_costs_no_second_encoding(model: LoadedModel) -> None:
    before = model.replicas[0].status().batches
    await together(model, [("ja_01", DecodeOptions(temperature=(0.0,)))])
    assert model.replicas[0].status().batches - before == 3  # encode, detect_language, generate


@pytest.mark.parametrize("options", [DecodeOptions(), DecodeOptions(language="ja", word_timestamps=True)])
def test_a_window_that_is_done_leaves_the_memory_at_once(options: DecodeOptions) -> None:
    """It must not wait until Python looks for garbage, which for hours of audio adds up."""
    engine = WhisperEngine(EngineConfig(model=str(MINI / "model")))
    calls = Watched(engine)
    gc.disable()
    try:
        decoding = engine.transcribe(sample("ja_01"), options, calls)
        assert [segment.text for segment in decoding.segments]
        del decoding
        assert calls.in_memory == [False, False]  # the window, and what the encoder made of it
    finally:
        gc.enable()
        engine.close()


async def test_the_samples_recorded_texts_are_reproduced(model: LoadedModel) -> None:
    """samples.json holds what the library itself said when the model was made."""
    recorded = {
        row["file"].removesuffix(".wav"): row for row in json.loads((MINI / "samples/samples.json").read_text())
    }
    got = await together(model, [(name, DecodeOptions(language=recorded[name]["language"])) for name in SHORT])
    for name, segments in zip(SHORT, got, strict=True):
        assert [text for _, _, text, _, _ in segments] == [row["text"] for row in recorded[name]["model_int8_beam5"]]


@pytest.mark.parametrize("condition", [True, False])
async def test_long_files_at_once_in_sequential_mode(model: LoadedModel, condition: bool) -> None:
    names = ("en_multi_40s", "ja_multi_35s", "ko_multi_35s")
    options = DecodeOptions(
        mode=DecodeMode.SEQUENTIAL, condition_on_previous_text=condition, temperature=(0.0,), beam_size=2
    )
    assert await together(model, [(name, options) for name in names]) == [alone(name, options) for name in names]


async def test_one_request_cannot_change_the_windows_of_another(model: LoadedModel) -> None:
    """``chunk_length`` is written into the feature extractor that upstream shares between calls."""
    short = DecodeOptions(temperature=(0.0,), language="en", chunk_length=5)
    usual = DecodeOptions(temperature=(0.0,), language="en")
    await together(model, [("en_multi_40s", short)])
    assert await together(model, [("en_multi_40s", usual)]) == [alone("en_multi_40s", usual)]


async def test_every_option_may_be_switched_off(model: LoadedModel) -> None:
    off = DecodeOptions(
        temperature=(0.0,),
        suppress_tokens=(),
        language_detection_threshold=None,
        language_detection_segments=2,
        compression_ratio_threshold=None,
        log_prob_threshold=None,
        no_speech_threshold=None,
    )
    assert await together(model, [("en_01", off)]) == [alone("en_01", off)]


@pytest.mark.parametrize(
    "options",
    [
        DecodeOptions(language="yue"),  # only the newest vocabularies have it
        DecodeOptions(suppress_tokens=(51_865,)),  # would be written behind the logits
        DecodeOptions(hotwords="water " * 600, initial_prompt="tea " * 600),
    ],
)
async def test_what_the_library_cannot_take_is_refused(model: LoadedModel, options: DecodeOptions) -> None:
    with pytest.raises(InvalidOption):
        await together(model, [("en_01", options)])
    assert await together(model, [("en_01", DecodeOptions(suppress_tokens=(51_864,)))]) != [[]]


async def test_ten_milliseconds_and_silence_are_no_trouble(model: LoadedModel) -> None:
    for samples in (160, 1, 16_000):
        audio = np.zeros(samples, dtype=np.float32)
        async with aclosing(model.decode(audio, DecodeOptions())) as results:
            assert [result.text for result in [r async for r in results] if isinstance(result, Segment)] == []


def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path: Path) -> None:
    from kikitori.errors import ModelLoadFailed

    with pytest.raises(ModelLoadFailed, match=r"model\.bin, config\.json, tokenizer\.json missing"):
        WhisperEngine(EngineConfig(model=str(tmp_path)))


async def test_wide_searches_make_small_batches(model: LoadedModel) -> None:
    """Every beam is a row with a memory of its own: a few requests must not take all there is."""
    engine = model.replicas[0].engine
    limits = {
        (beams, candidates): engine.batch_limit(
            GenerateKey(3, 0, True, (("beam_size", beams), ("num_hypotheses", candidates)))
        )
        for beams, candidates in ((1, 1), (5, 1), (1, 5), (50, 1), (1, 50))
    }
    assert limits == {(1, 1): 16, (5, 1): 16, (1, 5): 16, (50, 1): 1, (1, 50): 1}
