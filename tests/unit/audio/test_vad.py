from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import faster_whisper.vad as library
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kikitori.audio import vad
from kikitori.audio.decode import decode
from kikitori.audio.pcm import to_wav_bytes
from kikitori.audio.vad import SpeechFinder, VadOptions, VadStream, file_speech_spans, speech_spans
from kikitori.errors import DecodingCancelled, TooLarge, Unavailable
from kikitori.options import DecodeOptions
from kikitori.types import SpeechSpan

Audio = npt.NDArray[np.float32]
Speech = Callable[[str], Audio]

FRAME = 512
OPTIONS = [
    VadOptions(),
    VadOptions(min_silence_duration_ms=160, max_speech_duration_s=30),
    VadOptions(min_silence_duration_ms=160, max_speech_duration_s=2, speech_pad_ms=0),
    VadOptions(min_silence_duration_ms=500, max_speech_duration_s=1.5, speech_pad_ms=100),
    VadOptions(threshold=0.3, neg_threshold=0.6, min_silence_duration_ms=100, speech_pad_ms=30),
    VadOptions(min_speech_duration_ms=700, min_silence_duration_ms=60, speech_pad_ms=200),
    VadOptions(neg_threshold=0.05, min_silence_duration_ms=300),
    VadOptions(min_silence_duration_ms=0, max_speech_duration_s=1, speech_pad_ms=1_000),
]
all_options = st.builds(
    VadOptions,
    threshold=st.sampled_from([0.1, 0.3, 0.35, 0.5, 0.9]),
    neg_threshold=st.sampled_from([None, 0.05, 0.2, 0.5, 0.7]),
    min_speech_duration_ms=st.sampled_from([0, 32, 100, 250, 1_000]),
    max_speech_duration_s=st.sampled_from([math.inf, 30.0, 5.0, 2.0, 1.0]),
    min_silence_duration_ms=st.sampled_from([0, 32, 100, 160, 500, 2_000]),
    speech_pad_ms=st.sampled_from([0, 16, 30, 100, 400, 1_000]),
)
stretches = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.35, 0.5, 0.6, 1.0]), st.integers(1, 30)), max_size=25)
"""Runs of frames of one probability."""


def of_library(audio: Audio, options: VadOptions) -> list[SpeechSpan]:
    theirs = library.VadOptions(**{item.name: getattr(options, item.name) for item in fields(options)})
    found = library.get_speech_timestamps(audio, theirs)
    return [SpeechSpan(start=span["start"] / 16_000, end=span["end"] / 16_000) for span in found]


def probabilities(audio: Audio, cuts: list[int]) -> npt.NDArray[np.float32]:
    stream = VadStream()
    edges = sorted({0, len(audio), *(place % (len(audio) + 1) for place in cuts)})
    parts = [stream.push(audio[start:end]) for start, end in pairwise(edges)]
    return np.concatenate([*parts, stream.flush()])


def test_options_are_those_of_decoding() -> None:
    assert VadOptions.of(DecodeOptions()) == VadOptions()
    options = DecodeOptions(vad_threshold=0.7, vad_neg_threshold=0.1, vad_max_speech_duration_s=20)
    assert VadOptions.of(options) == VadOptions(threshold=0.7, neg_threshold=0.1, max_speech_duration_s=20)
    names = {item.name for item in fields(options) if item.name.startswith("vad_")} - {"vad_filter"}
    assert names == {f"vad_{item.name}" for item in fields(VadOptions)}


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 10**6), max_size=30))
def test_probabilities_do_not_depend_on_the_pieces(hello: Audio, cuts: list[int]) -> None:
    np.testing.assert_allclose(probabilities(hello, cuts), probabilities(hello, []), atol=1e-4)


def test_live_pieces_of_20_ms_are_enough(hello: Audio) -> None:
    cuts = list(range(0, len(hello), 320))
    np.testing.assert_allclose(probabilities(hello, cuts), probabilities(hello, []), atol=1e-4)


@pytest.mark.parametrize("beyond", [0, 1, 447, 448, 449, 500, 511])
def test_probabilities_are_those_of_the_library(hello: Audio, beyond: int) -> None:
    audio = hello[3_000 : 3_000 + 20 * FRAME + beyond]
    expected = library.get_vad_model()(np.pad(audio, (0, FRAME - len(audio) % FRAME)))
    np.testing.assert_allclose(probabilities(audio, [5_000]), expected, atol=1e-4)


def test_a_long_recording_is_scored_in_pieces_that_fit_together(speech: Speech) -> None:
    audio = speech("en_multi_40s")
    assert len(audio) > 2 * vad.RUN_FRAMES * FRAME
    expected = library.get_vad_model()(np.pad(audio, (0, FRAME - len(audio) % FRAME)))
    np.testing.assert_allclose(probabilities(audio, []), expected, atol=1e-4)


def test_after_a_flush_a_new_stretch_begins(hello: Audio) -> None:
    stream = VadStream()
    first = np.concatenate([stream.push(hello), stream.flush()])
    second = np.concatenate([stream.push(hello), stream.flush()])
    np.testing.assert_array_equal(first, second)


def test_streams_of_many_threads_do_not_disturb_each_other(hello: Audio) -> None:
    expected = probabilities(hello, [])
    results: list[npt.NDArray[np.float32]] = []
    threads = [
        threading.Thread(target=lambda: results.append(probabilities(hello, list(range(0, len(hello), 4_000)))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["en_01", "ja_01", "en_multi_40s", "silence_5s"])
def test_spans_are_those_of_the_library(speech: Speech, name: str, options: VadOptions) -> None:
    audio = speech(name)
    assert speech_spans(audio, options) == of_library(audio, options)


@pytest.mark.parametrize("options", OPTIONS[:4])
@pytest.mark.parametrize("name", ["jfk.flac", "two_cities.wav"])
def test_spans_of_people_are_those_of_the_library(speech_dir: Path, name: str, options: VadOptions) -> None:
    audio = np.concatenate(list(decode(speech_dir / name)), axis=1)[0]
    spans = speech_spans(audio, options)
    assert spans
    assert spans == of_library(audio, options)


@settings(max_examples=300)
@given(stretches=stretches, options=all_options, beyond=st.integers(0, FRAME - 1), cut=st.integers(1, 40))
def test_any_probabilities_give_the_spans_of_the_library(
    stretches: list[tuple[float, int]], options: VadOptions, beyond: int, cut: int
) -> None:
    frames = np.concatenate([[0.0], *(np.full(count, value) for value, count in stretches)]).astype(np.float32)
    samples = (len(frames) - 1) * FRAME + beyond
    finder = SpeechFinder(options)
    spans = [span for start in range(0, len(frames), cut) for span in finder.push(frames[start : start + cut])]
    spans += finder.finish(samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "get_vad_model", lambda: lambda audio: frames)
        assert spans == of_library(np.zeros(samples, np.float32), options)


def test_speech_in_the_first_frame_is_found() -> None:
    finder = SpeechFinder(VadOptions(min_silence_duration_ms=100, speech_pad_ms=0))
    frames = np.array([0.9] * 10 + [0.0] * 10, np.float32)
    assert finder.push(frames) == [SpeechSpan(start=0.0, end=0.32)]


def test_a_span_comes_as_soon_as_it_is_sure() -> None:
    finder = SpeechFinder(VadOptions(min_silence_duration_ms=320, speech_pad_ms=160))
    speech, silence = np.ones(10, np.float32), np.zeros(1, np.float32)
    assert finder.push(speech) == []
    given_out = [finder.push(silence) for _ in range(20)]
    assert given_out[10] == [SpeechSpan(start=0.0, end=0.48)]
    assert sum(map(len, given_out)) == 1
    assert finder.finish(30 * FRAME) == []


def test_silence_and_nothing_have_no_speech() -> None:
    assert speech_spans(np.zeros(80_000, np.float32)) == []
    assert speech_spans(np.zeros(160, np.float32)) == []
    assert speech_spans(np.zeros(0, np.float32)) == []


def test_a_file_is_scored_as_a_stream(tmp_path: Path, speech: Speech) -> None:
    audio = speech("en_multi_40s")
    path = tmp_path / "talk.wav"
    path.write_bytes(to_wav_bytes(audio))
    options = VadOptions(min_silence_duration_ms=200, speech_pad_ms=50)
    spans, seconds = file_speech_spans(path, options)
    assert len(spans) > 3
    assert spans == speech_spans(audio, options)
    assert seconds == len(audio) / 16_000
    with pytest.raises(TooLarge):
        file_speech_spans(path, options, max_seconds=10)


def test_the_search_in_a_file_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(to_wav_bytes(np.zeros(100 * 16_000, np.float32)))
    blocks = 0

    def check() -> None:
        nonlocal blocks
        blocks += 1
        if blocks == 2:
            raise DecodingCancelled

    with pytest.raises(DecodingCancelled):
        file_speech_spans(path, check=check)
    assert blocks == 2
    assert str(path) not in [file.path for file in psutil.Process().open_files()]


def test_the_search_in_audio_asks_every_half_minute_whether_it_is_wanted() -> None:
    asked: list[None] = []
    assert speech_spans(np.zeros(100 * 16_000, np.float32), check=lambda: asked.append(None)) == []
    assert len(asked) == 4

    def stop() -> None:
        raise DecodingCancelled

    with pytest.raises(DecodingCancelled):
        speech_spans(np.zeros(100, np.float32), check=stop)


def test_the_library_is_not_imported_for_its_model() -> None:
    code = "import sys; from kikitori.audio.vad import VadStream; VadStream(); print('faster_whisper' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_missing_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "_loaded", [])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="faster-whisper"):
        VadStream()
