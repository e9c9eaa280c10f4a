"""A run that was interrupted goes on where it was, with nothing missing and nothing doubled."""

import wave
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from kikitori.engines.registry import engine_info, load_engine
from kikitori.inference.models import ModelSpec
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.pipeline.events import Progress, ResumePoint, SegmentDone, Started
from kikitori.pipeline.transcriber import Transcriber
from kikitori.testing import FakeCatalog
from kikitori.types import DecodeMode, Segment

SAMPLES = Path(__file__).parents[1] / "data" / "whisper-mini" / "samples"


@pytest.fixture
async def transcriber(mini_model: Path) -> AsyncIterator[Transcriber]:
    catalog = FakeCatalog([ModelSpec(id="mini", engine="whisper", path=str(mini_model))])
    async with ModelPool(catalog, load_engine=load_engine, engine_info=engine_info) as pool:
        yield Transcriber(pool, chunk_seconds=30.0)


Run = tuple[list[Segment], list[ResumePoint], str]


async def run(
    transcriber: Transcriber, media: str | Path, options: DecodeOptions, resume: ResumePoint | None = None
) -> Run:
    segments, points, language = [], [], ""
    path = media if isinstance(media, Path) else SAMPLES / f"{media}.wav"
    async with aclosing(transcriber.stream(path, options, resume=resume)) as events:
        async for event in events:
            if isinstance(event, SegmentDone):
                segments.append(event.segment)
            elif isinstance(event, Progress):
                assert event.resume is not None
                points.append(event.resume)
            elif isinstance(event, Started):
                language = event.language
    return segments, points, language


@pytest.mark.parametrize("name", ["en_multi_80s", "ja_multi_35s"])
async def test_a_resumed_run_gives_the_rest(transcriber: Transcriber, name: str) -> None:
    options = DecodeOptions(mode=DecodeMode.WINDOWED, temperature=(0.0,), beam_size=1)
    whole, points, language = await run(transcriber, name, options)
    assert len(points) >= 2
    for point in points[:-1]:
        rest, _, again = await run(transcriber, name, options, point)
        assert again == language
        assert [segment.id for segment in rest] == list(range(point.segments, len(whole)))
        assert [(s.start, s.text) for s in rest] == [(s.start, s.text) for s in whole[point.segments :]]
        assert all(segment.start >= point.seconds - 0.1 for segment in rest)


@pytest.fixture
async def long_chunks(mini_model: Path) -> AsyncIterator[Transcriber]:
    catalog = FakeCatalog([ModelSpec(id="mini", engine="whisper", path=str(mini_model))])
    async with ModelPool(catalog, load_engine=load_engine, engine_info=engine_info) as pool:
        yield Transcriber(pool)


@pytest.mark.parametrize("vad_filter", [False, True])
async def test_a_resumed_run_cuts_long_chunks_as_the_first_one_did(
    long_chunks: Transcriber, tmp_path: Path, vad_filter: bool
) -> None:
    """A chunk of a minute, and one of more: most points lie inside of them."""
    long = joined(tmp_path / "long.wav", "en_multi_80s", "en_multi_40s", "en_multi_80s")
    options = DecodeOptions(mode=DecodeMode.WINDOWED, temperature=(0.0,), beam_size=1, vad_filter=vad_filter)
    whole, points, _ = await run(long_chunks, long, options)
    inside = [point for point in points if point.chunk_start]
    assert len(inside) >= 3
    for point in (points[0], inside[0], inside[-1]):
        rest, _, _ = await run(long_chunks, long, options, point)
        assert [told(segment) for segment in rest] == [told(segment) for segment in whole[point.segments :]]


def told(segment: Segment) -> tuple[object, ...]:
    return segment.id, segment.start, segment.end, segment.text, segment.tokens


def joined(path: Path, *names: str) -> Path:
    with wave.open(str(path), "wb") as out:
        for number, name in enumerate(names):
            with wave.open(str(SAMPLES / f"{name}.wav"), "rb") as sample:
                if not number:
                    out.setparams(sample.getparams())
                out.writeframes(sample.readframes(sample.getnframes()))
    return path


async def test_nothing_is_left_after_the_last_point(transcriber: Transcriber) -> None:
    _, points, _ = await run(transcriber, "en_multi_40s", DecodeOptions())
    rest, again, language = await run(transcriber, "en_multi_40s", DecodeOptions(), points[-1])
    assert (rest, language) == ([], "en")
    assert [(point.seconds, point.segments) for point in again] == [(points[-1].seconds, points[-1].segments)]


async def test_sequential_runs_carry_the_text_on(transcriber: Transcriber) -> None:
    options = DecodeOptions(mode=DecodeMode.SEQUENTIAL, condition_on_previous_text=True, temperature=(0.0,))
    whole, points, _ = await run(transcriber, "en_multi_40s", options)
    middle = points[len(points) // 2]
    assert "".join(segment.text for segment in whole[: middle.segments]).endswith(middle.text.strip()[-40:])
    rest, _, _ = await run(transcriber, "en_multi_40s", options, middle)
    assert [segment.id for segment in rest] == list(range(middle.segments, middle.segments + len(rest)))
    assert rest[0].start >= middle.seconds - 0.1
