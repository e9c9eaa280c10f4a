import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import numpy as np

from kikitori.engines.base import Calls, Decoding, Language
from kikitori.inference.loaded import LoadedModel
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.pipeline.cutting import Cut
from kikitori.pipeline.decoding import ChannelDecoder
from kikitori.pipeline.windows import Piece, Window
from kikitori.testing import FakeCatalog, FakeEngine
from kikitori.types import SAMPLE_RATE, Audio, DecodeMode, Priority, Segment

FOUR_SECONDS = np.zeros(4 * SAMPLE_RATE, dtype=np.float32)
HALVES = Cut([Window((Piece(0.0, 2.0),)), Window((Piece(2.0, 4.0),))])
NO_WINDOWS = Cut()


class ScriptedEngine(FakeEngine):
    """Hears what ``script`` says, one entry for each decoding: a language and segments as (text, temperature)."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[tuple[str, list[tuple[str, float]]]] = [("en", [])]  # of the warm-up

    def transcribe(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Decoding:
        self.options.append(options)
        language, heard = self.script.pop(0) if self.script else ("en", [])
        return Decoding(Language(code=options.language or language), iter(scripted(heard)))


class FirstIsLast(FakeEngine):
    """Every window has a language of its own, and the first window is the last one that is ready."""

    def detect_language(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Language:
        return Language(code="aa" if audio[0] else "bb")

    def _segments(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Iterator[Segment]:
        return iter(scripted([(" text", 0.0)]))

    def transcribe(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Decoding:
        if audio[0]:
            self.gate.wait()
        decoding = super().transcribe(audio, options, calls)
        if not audio[0]:
            self.gate.set()
        return decoding


def scripted(heard: list[tuple[str, float]]) -> list[Segment]:
    return [
        Segment(id=0, start=float(index), end=index + 1.0, text=text, temperature=temperature)
        for index, (text, temperature) in enumerate(heard)
    ]


@asynccontextmanager
async def loaded(engine: FakeEngine) -> AsyncIterator[LoadedModel]:
    async with (
        ModelPool(FakeCatalog(), load_engine=lambda name, config: engine, engine_info=lambda name: engine.info) as pool,
        pool.use() as model,
    ):
        engine.options.clear()
        yield model


async def decode(decoder: ChannelDecoder, *, start: float, cut: Cut = NO_WINDOWS) -> None:
    async with aclosing(decoder.decode(FOUR_SECONDS, cut, start, whole=False)) as results:
        async for _ in results:
            pass


async def chunks(engine: FakeEngine, options: DecodeOptions, mode: DecodeMode, *, count: int = 2) -> ChannelDecoder:
    """The decoder after ``count`` chunks."""
    async with loaded(engine) as model:
        decoder = ChannelDecoder(model, options, mode, Priority.NORMAL)
        for index in range(count):
            await decode(decoder, start=4.0 * index, cut=HALVES)
    return decoder


async def test_only_the_first_window_of_a_file_begins_with_the_prefix() -> None:
    engine = FakeEngine()
    await chunks(engine, DecodeOptions(prefix="So"), DecodeMode.WINDOWED)
    assert sorted(str(asked.prefix) for asked in engine.options) == ["None", "None", "None", "So"]


async def test_a_prompt_outlives_a_chunk_without_text() -> None:
    engine = ScriptedEngine()
    await chunks(engine, DecodeOptions(initial_prompt="Names"), DecodeMode.SEQUENTIAL)
    assert [asked.initial_prompt for asked in engine.options] == ["Names", "Names"]


async def test_the_prompt_stands_before_the_text_that_is_carried_over() -> None:
    engine = ScriptedEngine()
    engine.script += [("en", [(" one", 0.0)]), ("en", [(" one", 0.0), (" two", 0.0)])]
    await chunks(engine, DecodeOptions(initial_prompt="Names"), DecodeMode.SEQUENTIAL)
    assert engine.options[1].initial_prompt == "Names one"


async def test_a_prompt_waits_for_the_first_clip() -> None:
    engine = ScriptedEngine()
    options = DecodeOptions(initial_prompt="Names", clip_timestamps=(5.0,), condition_on_previous_text=False)
    await chunks(engine, options, DecodeMode.SEQUENTIAL, count=3)
    assert [asked.initial_prompt for asked in engine.options] == ["Names", None]


async def test_text_that_needed_a_high_temperature_is_not_carried_over() -> None:
    engine = ScriptedEngine()
    engine.script += [("en", [(" noise", 1.0), (" words", 0.4)]), ("en", [(" noise", 0.6)])]
    await chunks(engine, DecodeOptions(), DecodeMode.SEQUENTIAL, count=3)
    assert [asked.initial_prompt for asked in engine.options] == [None, "words", None]


async def test_a_chunk_without_text_does_not_decide_the_language() -> None:
    for mode in (DecodeMode.SEQUENTIAL, DecodeMode.WINDOWED):
        engine = ScriptedEngine()
        engine.script += [("nn", []), ("ja", [(" は", 0.0)])]
        decoder = await chunks(engine, DecodeOptions(multilingual=mode is DecodeMode.WINDOWED), mode)
        assert decoder.language.code == "ja"


async def test_the_first_window_gives_the_language_even_when_it_is_ready_last() -> None:
    engine = FirstIsLast()
    async with loaded(engine) as model:
        engine.gate.clear()
        decoder = ChannelDecoder(model, DecodeOptions(multilingual=True), DecodeMode.WINDOWED, Priority.NORMAL)
        audio = np.concatenate([np.ones(2 * SAMPLE_RATE), np.zeros(2 * SAMPLE_RATE)]).astype(np.float32)
        async with asyncio.timeout(60), aclosing(decoder.decode(audio, HALVES, 0.0, whole=True)) as results:
            decoded = [result async for result in results]
    assert decoder.language.code == "aa"
    assert [result.seconds_done for result in decoded] == [2.0, 4.0]


async def test_a_language_that_was_asked_for_stays() -> None:
    engine = ScriptedEngine()
    engine.script += [("ja", [(" x", 0.0)])]
    decoder = await chunks(engine, replace(DecodeOptions(), language="ko"), DecodeMode.SEQUENTIAL)
    assert (decoder.language.code, [asked.language for asked in engine.options]) == ("ko", ["ko", "ko"])
