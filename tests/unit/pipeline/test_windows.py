from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.pipeline.decoding import relative_clips
from kikitori.pipeline.windows import Piece, Window, join, tile
from kikitori.types import SAMPLE_RATE, Audio, Segment, SpeechSpan, Word


def spans(*pairs: tuple[float, float]) -> list[SpeechSpan]:
    return [SpeechSpan(start=start, end=end) for start, end in pairs]


def silence(seconds: float) -> Audio:
    return np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)


def edges(windows: list[Window]) -> list[tuple[float, float]]:
    return [(window.pieces[0].start, window.end) for window in windows]


def test_a_short_file_is_one_window_that_covers_it() -> None:
    assert edges(tile(silence(12), spans((3, 5)))) == [(0, 12)]


def test_a_file_without_speech_has_no_windows() -> None:
    assert tile(silence(100), []) == []
    assert join(silence(100), []) == []
    assert tile(silence(0), []) == []


def test_windows_are_cut_in_the_longest_late_pause() -> None:
    speech = spans((0, 25), (26, 27), (27.2, 40))
    assert edges(tile(silence(40), speech)) == [(0, 25.5), (25.5, 40)]


def test_without_a_late_pause_the_last_one_is_taken() -> None:
    assert edges(tile(silence(40), spans((0, 5), (6, 10), (11, 40))))[0] == (0, 10.5)


def test_without_any_pause_the_cut_is_where_it_is_quietest() -> None:
    audio = np.ones(40 * SAMPLE_RATE, dtype=np.float32)
    audio[25 * SAMPLE_RATE : 26 * SAMPLE_RATE] = 0.01
    (first, _) = tile(audio, spans((0, 40)))
    assert 25 <= first.end <= 26


def test_windows_without_speech_are_left_out() -> None:
    windows = tile(silence(120), spans((1, 5), (100, 110)))
    assert all(
        any(span.start < end and span.end > start for span in spans((1, 5), (100, 110)))
        for start, end in edges(windows)
    )
    assert sum(end - start for start, end in edges(windows)) <= 90


def test_joined_speech_fills_windows() -> None:
    windows = join(silence(100), spans((0, 10), (20, 35), (50, 60)))
    assert [[piece.seconds for piece in window.pieces] for window in windows] == [[10, 15], [10]]


def test_joined_speech_longer_than_a_window_is_split() -> None:
    windows = join(silence(100), spans((0, 70)))
    assert all(piece.seconds <= 30 for window in windows for piece in window.pieces)
    assert sum(piece.seconds for window in windows for piece in window.pieces) == pytest.approx(70)


def test_times_of_a_joined_window_are_restored() -> None:
    window = Window((Piece(10, 12), Piece(20, 25)))  # window seconds 0-2 and 2-7
    segment = window.restore(Segment(id=0, start=0.5, end=2.0, text=" a"))
    assert (segment.start, segment.end) == (10.5, 12.0)
    segment = window.restore(Segment(id=0, start=2.0, end=6.0, text=" b"))
    assert (segment.start, segment.end) == (20.0, 24.0)


def test_words_decide_the_times_of_their_segment() -> None:
    window = Window((Piece(10, 12), Piece(20, 25)))
    words = (Word(word=" a", start=1.0, end=1.8, probability=1), Word(word=" b", start=1.9, end=2.9, probability=1))
    segment = window.restore(Segment(id=0, start=1.0, end=2.9, text=" a b", words=words))
    assert segment.words is not None
    assert [round(time, 6) for word in segment.words for time in (word.start, word.end)] == [11.0, 11.8, 19.9, 20.9]


@st.composite
def speech_and_duration(draw: st.DrawFn) -> tuple[list[SpeechSpan], float]:
    lengths = draw(st.lists(st.tuples(st.floats(0.1, 20), st.floats(0.2, 50)), max_size=12))
    found, now = [], 0.0
    for gap, length in lengths:
        found.append(SpeechSpan(start=now + gap, end=now + gap + length))
        now += gap + length
    return found, now + draw(st.floats(0.1, 5))


@given(speech_and_duration())
def test_every_moment_of_speech_is_in_exactly_one_window(drawn: tuple[list[SpeechSpan], float]) -> None:
    speech, duration = drawn
    windows = tile(silence(duration), speech)
    bounds = edges(windows)
    assert all(0 < end - start <= 30 + 1e-6 for start, end in bounds)
    assert all(before[1] <= after[0] + 1e-9 for before, after in pairwise(bounds))
    for span in speech:
        covered = sum(max(0.0, min(end, span.end) - max(start, span.start)) for start, end in bounds)
        assert covered == pytest.approx(min(span.end, len(silence(duration)) / SAMPLE_RATE) - span.start, abs=1e-3)


@given(speech_and_duration())
def test_joined_windows_hold_all_speech_in_order(drawn: tuple[list[SpeechSpan], float]) -> None:
    speech, duration = drawn
    pieces = [piece for window in join(silence(duration), speech) for piece in window.pieces]
    assert all(before.end <= after.start + 1e-9 for before, after in pairwise(pieces))
    assert sum(piece.seconds for piece in pieces) == pytest.approx(sum(span.end - span.start for span in speech))


@pytest.mark.parametrize(
    ("clips", "start", "seconds", "inside"),
    [
        ((5.0, 10.0), 0.0, 60.0, (5.0, 10.0)),
        ((5.0, 70.0), 60.0, 60.0, (0.0, 10.0)),
        ((5.0,), 60.0, 60.0, (0.0, 60.0)),
        ((5.0, 10.0), 60.0, 60.0, ()),
        ((5.0, 10.0, 50.0, 65.0), 0.0, 60.0, (5.0, 10.0, 50.0, 60.0)),
    ],
)
def test_clips_of_a_chunk(clips: tuple[float, ...], start: float, seconds: float, inside: tuple[float, ...]) -> None:
    assert relative_clips(clips, start, seconds) == inside


@pytest.mark.parametrize("limit", [1.0, 3.0, 6.0, 30.0])
@pytest.mark.parametrize("cut", [tile, join])
def test_windows_of_any_length_can_be_cut(cut: Callable[..., list[Window]], limit: float) -> None:
    audio = np.random.default_rng(0).standard_normal(35 * SAMPLE_RATE).astype(np.float32)
    windows = cut(audio, spans((0, 35)), limit=limit)
    lengths = [sum(piece.seconds for piece in window.pieces) for window in windows]
    assert sum(lengths) == pytest.approx(35)
    assert max(lengths) <= limit
    assert min(lengths[:-1]) >= limit / 2
