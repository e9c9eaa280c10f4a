"""Windowed and sequential decoding of real recordings, against what the library makes of the same audio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from faster_whisper import WhisperModel

from kikitori.audio.chunks import read_chunks
from kikitori.audio.decode import decode
from kikitori.audio.pcm import to_wav_bytes
from kikitori.audio.vad import speech_spans
from kikitori.engines.registry import engine_info, load_engine
from kikitori.engines.whisper_arguments import upstream_arguments
from kikitori.inference.models import ModelSpec
from kikitori.inference.placement import Hardware
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.pipeline.cutting import CERTAIN_SILENCE
from kikitori.pipeline.transcriber import FIRST_CHUNK_SECONDS, Transcriber
from kikitori.pipeline.windows import tile
from kikitori.testing import FakeCatalog
from kikitori.types import SAMPLE_RATE, Audio, DecodeMode, Task, Transcript

if TYPE_CHECKING:
    from tests.conftest import Sample

Samples = Mapping[str, "Sample"]
SHORT = ("en_01", "en_02", "en_04", "ja_01", "ja_02", "ko_03", "ko_04")
LONG = ("en_multi_80s", "ja_multi_35s", "ko_multi_35s")
Times = list[tuple[str, float, float]]


@cache
def library(model: Path) -> WhisperModel:
    return WhisperModel(str(model), device="cpu", cpu_threads=1)


@pytest.fixture
async def transcriber(mini_model: Path) -> AsyncIterator[Transcriber]:
    catalog = FakeCatalog([ModelSpec(id="mini", engine="whisper", path=str(mini_model))])
    async with ModelPool(
        catalog, load_engine=load_engine, engine_info=engine_info, hardware=Hardware(cpu_threads=1)
    ) as pool:
        yield Transcriber(pool)


def options(mode: str, **others: Any) -> DecodeOptions:
    values: dict[str, Any] = {"mode": mode, "condition_on_previous_text": False, "temperature": (0.0,)}
    return DecodeOptions(**(values | others))


def times(transcript: Transcript) -> Times:
    return [(segment.text, round(segment.start, 2), round(segment.end, 2)) for segment in transcript.segments]


def heard(model: Path, audio: Audio, options: DecodeOptions, *, offset: float = 0.0) -> Times:
    segments, _ = library(model).transcribe(audio, **upstream_arguments(options, lambda text: ()))
    return [(found.text, round(found.start + offset, 2), round(found.end + offset, 2)) for found in segments]


def samples_of(path: Path) -> Audio:
    audio: Audio = np.concatenate(list(decode(path)), axis=1)[0]
    return audio


def windows_of(path: Path) -> Iterator[tuple[float, Audio]]:
    """Where each window begins, and its samples."""
    for chunk in read_chunks(decode(path), first_seconds=FIRST_CHUNK_SECONDS):
        audio = chunk.audio[0]
        for window in tile(audio, speech_spans(audio, CERTAIN_SILENCE)):
            yield chunk.start + window.pieces[0].start, window.audio(audio)


@pytest.mark.parametrize("name", SHORT)
async def test_short_files_are_the_same_in_both_modes(
    transcriber: Transcriber, samples: Samples, name: str, mini_model: Path
) -> None:
    path = samples[name].path
    windowed = await transcriber.transcribe(path, options("windowed"))
    sequential = await transcriber.transcribe(path, options("sequential"))
    assert times(windowed) == times(sequential) == heard(mini_model, samples_of(path), options("sequential"))
    assert (windowed.mode, sequential.mode) == (DecodeMode.WINDOWED, DecodeMode.SEQUENTIAL)


@pytest.mark.parametrize("name", LONG)
async def test_long_files_differ_at_window_cuts_alone(
    transcriber: Transcriber, samples: Samples, name: str, mini_model: Path
) -> None:
    """Each window holds what the library makes of it; the same file in one go is the library's own."""
    path, language = samples[name].path, samples[name].language
    audio = samples_of(path)
    asked = options("windowed", language=language, beam_size=1)
    windowed = await transcriber.transcribe(path, asked)
    windows = list(windows_of(path))
    assert len(windows) > 1
    expected = [found for start, window in windows for found in heard(mini_model, window, asked, offset=start)]
    assert _close(times(windowed), expected)
    asked = options("sequential", language=language, beam_size=1)
    sequential = await transcriber.transcribe(path, asked)
    assert times(sequential) == heard(mini_model, audio, asked)


async def test_the_language_of_a_long_file_is_found_once_for_all_windows(
    transcriber: Transcriber, samples: Samples
) -> None:
    transcript = await transcriber.transcribe(samples["ja_multi_35s"].path, DecodeOptions())
    assert (transcript.language, transcript.mode) == ("ja", DecodeMode.WINDOWED)
    assert transcript.language_probability > 0.9


@pytest.mark.parametrize("mode", ["windowed", "sequential"])
@pytest.mark.parametrize("name", ["en_01", "en_multi_40s"])
async def test_windows_that_fail_are_tried_again_hotter(
    transcriber: Transcriber, samples: Samples, mode: str, name: str
) -> None:
    never_good_enough = options(mode, temperature=(0.0, 0.2), log_prob_threshold=0.0, language="en")
    transcript = await transcriber.transcribe(samples[name].path, never_good_enough)
    assert {segment.temperature for segment in transcript.segments} == {0.2}


@pytest.mark.parametrize("mode", ["windowed", "sequential"])
async def test_left_out_silence_does_not_move_the_times(
    transcriber: Transcriber, samples: Samples, mode: str, tmp_path: Path, mini_model: Path
) -> None:
    pause = np.zeros(6 * SAMPLE_RATE, dtype=np.float32)
    audio = np.concatenate([pause, samples_of(samples["en_01"].path), pause, samples_of(samples["en_02"].path)])
    (tmp_path / "pauses.wav").write_bytes(to_wav_bytes(audio, SAMPLE_RATE))
    asked = options(mode, vad_filter=True, language="en", word_timestamps=True)
    transcript = await transcriber.transcribe(tmp_path / "pauses.wav", asked)
    expected = heard(mini_model, audio, asked)
    assert [text for text, _, _ in times(transcript)] == [text for text, _, _ in expected]
    assert _close(times(transcript), expected, tolerance=0.1)
    assert 5.5 < transcript.segments[0].start < 8


async def test_word_times_lie_in_their_segments_in_order(transcriber: Transcriber, samples: Samples) -> None:
    transcript = await transcriber.transcribe(samples["en_multi_80s"].path, DecodeOptions(word_timestamps=True))
    words = [word for segment in transcript.segments for word in segment.words or ()]
    assert "".join(word.word for word in words).strip() == transcript.text
    assert [word.start for word in words] == sorted(word.start for word in words)
    for segment in transcript.segments:
        assert segment.words
        assert segment.start == segment.words[0].start
        assert segment.end == segment.words[-1].end


async def test_translation_is_english(transcriber: Transcriber, samples: Samples) -> None:
    transcript = await transcriber.transcribe(samples["ja_01"].path, DecodeOptions(task=Task.TRANSLATE))
    assert transcript.text.isascii()
    assert transcript.language == "ja"
    assert transcript.task is Task.TRANSLATE


async def test_clips_alone_are_heard(transcriber: Transcriber, samples: Samples) -> None:
    path = samples["en_multi_40s"].path
    transcript = await transcriber.transcribe(path, DecodeOptions(clip_timestamps=(6.5, 9.5), language="en"))
    assert transcript.mode is DecodeMode.SEQUENTIAL
    assert transcript.segments
    assert all(6.5 <= segment.start < segment.end <= 9.6 for segment in transcript.segments)


def _close(ours: Times, theirs: Times, *, tolerance: float = 0.011) -> bool:
    return len(ours) == len(theirs) and all(
        one[0] == other[0] and abs(one[1] - other[1]) <= tolerance and abs(one[2] - other[2]) <= tolerance
        for one, other in zip(ours, theirs, strict=True)
    )
