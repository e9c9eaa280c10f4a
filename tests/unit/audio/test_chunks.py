from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kikitori.audio.chunks import Chunk, find_silence, read_chunks

Audio = npt.NDArray[np.float32]
Speech = Callable[[str], Audio]

RATE = 16_000


def blocks_of(audio: Audio, lengths: list[int]) -> Iterator[Audio]:
    """``audio`` of shape (channels, n) in blocks of these lengths, and one with the rest."""
    start = 0
    for length in lengths:
        yield audio[:, start : start + length]
        start += length
    yield audio[:, start:]


def never(audio: Audio) -> None:
    return None


@settings(max_examples=120)
@given(
    samples=st.integers(0, 3_000),
    channels=st.integers(1, 3),
    lengths=st.lists(st.integers(0, 900), max_size=20),
    limit=st.integers(2, 700),
    first=st.none() | st.integers(2, 900),
    cuts=st.lists(st.none() | st.integers(0, 1_000), min_size=1, max_size=8),
)
def test_joined_chunks_are_the_recording(
    samples: int, channels: int, lengths: list[int], limit: int, first: int | None, cuts: list[int | None]
) -> None:
    audio = np.random.default_rng(samples).normal(size=(channels, samples)).astype(np.float32)
    turns = iter(cuts * 3_000)
    chunks = list(
        read_chunks(
            blocks_of(audio, lengths),
            max_seconds=limit / RATE,
            first_seconds=None if first is None else first / RATE,
            find_cut=lambda searched: next(turns),
        )
    )
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True] * bool(chunks)
    assert all(0 < chunk.audio.shape[1] <= limit for chunk in chunks)
    if first is not None and chunks:
        assert chunks[0].audio.shape[1] <= first
    joined = np.concatenate([chunk.audio for chunk in chunks], axis=1) if chunks else audio[:, :0]
    np.testing.assert_array_equal(joined, audio)
    starts = np.cumsum([0, *(chunk.audio.shape[1] for chunk in chunks)])[:-1]
    assert [chunk.start for chunk in chunks] == [start / RATE for start in starts]


def test_nothing_gives_no_chunk() -> None:
    assert list(read_chunks([])) == []
    assert list(read_chunks([np.zeros((1, 0), np.float32)])) == []


def test_what_fits_is_one_chunk() -> None:
    audio = np.ones((1, RATE), np.float32)
    chunks = list(read_chunks([audio], max_seconds=1, find_cut=lambda searched: pytest.fail("nothing to cut")))
    assert [(chunk.start, chunk.duration, chunk.last) for chunk in chunks] == [(0.0, 1.0, True)]


def test_without_a_silence_the_cut_is_at_the_limit() -> None:
    chunks = list(read_chunks([np.ones((2, 5 * RATE), np.float32)], max_seconds=2, find_cut=never))
    assert [chunk.duration for chunk in chunks] == [2.0, 2.0, 1.0]
    assert all(chunk.audio.shape[0] == 2 for chunk in chunks)


def test_the_cut_is_looked_for_in_the_second_half_of_all_channels() -> None:
    searched: list[tuple[int, ...]] = []

    def note(audio: Audio) -> None:
        searched.append(audio.shape)

    list(read_chunks([np.ones((2, 5 * RATE), np.float32)], max_seconds=4, find_cut=note))
    assert searched == [(2, 2 * RATE)]


def test_a_recording_is_cut_in_the_middle_of_a_silence(speech: Speech) -> None:
    talk = speech("en_multi_40s")[: 20 * RATE]
    audio = np.concatenate([talk[: 13 * RATE], np.zeros(2 * RATE, np.float32), talk[13 * RATE :]])
    first, second = read_chunks([audio[None]], max_seconds=20)
    assert 13.3 < first.duration < 14.7
    assert second.start == first.duration


def test_silence_of_one_channel_is_no_silence(speech: Speech) -> None:
    talk = speech("en_multi_40s")[: 10 * RATE]
    gap = np.zeros(2 * RATE, np.float32)
    left = np.concatenate([talk[: 6 * RATE], gap, talk[6 * RATE :]])
    right = np.concatenate([talk[: 8 * RATE], gap, talk[8 * RATE :]])
    assert find_silence(left[None]) == pytest.approx(7 * RATE, abs=0.5 * RATE)
    both = find_silence(np.stack([left, right]))
    assert both is None or not 6.5 * RATE < both < 7.5 * RATE


def test_the_last_good_silence_is_taken_without_looking_further(speech: Speech) -> None:
    talk = speech("en_multi_80s")[: 59 * RATE]
    gap = np.zeros(RATE, np.float32)
    audio = np.concatenate([talk[: 30 * RATE], gap, gap, gap, talk, gap])
    found = find_silence(audio[None])
    assert found is not None
    assert found > 32 * RATE


def test_a_silence_far_from_the_end_is_found(speech: Speech) -> None:
    voice = speech("en_01")[8_000:24_000]
    audio = np.concatenate([voice, voice, np.zeros(RATE, np.float32), np.tile(voice, 70)])
    found = find_silence(audio[None])
    assert found is not None
    assert 2 * RATE < found < 3.2 * RATE


def test_where_somebody_speaks_all_the_time_no_place_is_good(speech: Speech) -> None:
    vowels = np.tile(speech("en_01")[9_000:15_000], 20)
    assert find_silence(vowels[None]) is None


def test_silence_all_over_is_cut_somewhere_in_it() -> None:
    chunks = list(read_chunks([np.zeros((1, 10 * RATE), np.float32)], max_seconds=4))
    assert all(2.0 < chunk.duration <= 4.0 for chunk in chunks[:-1])


def test_blocks_are_read_only_when_they_are_needed() -> None:
    read = 0

    def blocks() -> Iterator[Audio]:
        nonlocal read
        for _ in range(10):
            read += 1
            yield np.ones((1, RATE), np.float32)

    chunks = read_chunks(blocks(), max_seconds=2, find_cut=never)
    assert isinstance(next(chunks), Chunk)
    assert read == 3


def test_memory_is_that_of_two_chunks() -> None:
    limit = 30
    chunk_bytes = limit * RATE * 4
    block = np.ones((1, 10 * RATE), np.float32)
    seconds = 0.0
    tracemalloc.start()
    try:
        for chunk in read_chunks((block for _ in range(30)), max_seconds=limit, find_cut=lambda searched: 1_000):
            seconds += chunk.duration
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds == pytest.approx(300)
    assert peak < 2.1 * chunk_bytes
