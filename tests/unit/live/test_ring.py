"""The audio that is kept."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.live.fakes import positions

from kikitori.live.ring import BLOCK_SAMPLES, AudioRing
from kikitori.types import SAMPLE_RATE


@given(st.lists(st.integers(0, 2 * BLOCK_SAMPLES + 1), min_size=1, max_size=20), st.data())
def test_what_was_not_let_go_is_there(sizes: list[int], data: st.DataObject) -> None:
    ring, end = AudioRing(), 0
    for size in sizes:
        ring.append(positions(end, end + size))
        end += size
        ring.release(data.draw(st.integers(0, end + 5)))
        start = data.draw(st.integers(ring.start, end))
        assert (ring.slice(start, end) == positions(start, end)).all()
    assert ring.end == end


def test_what_was_let_go_is_an_error() -> None:
    ring = AudioRing()
    ring.append(positions(0, 100))
    ring.release(50)
    with pytest.raises(ValueError, match="49 to 60 are not in 50 to 100"):
        ring.slice(49, 60)


def test_memory_is_given_back() -> None:
    ring = AudioRing()
    tracemalloc.start()
    try:
        for start in range(0, 100 * SAMPLE_RATE, 1000):
            ring.append(positions(start, start + 1000))
            ring.release(ring.end - SAMPLE_RATE)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 200_000, "a second takes 64 kB"


def test_the_caller_may_use_its_buffer_again() -> None:
    ring, buffer = AudioRing(), np.ones(10, np.float32)
    ring.append(buffer)
    buffer[:] = 0
    assert ring.slice(0, 10).sum() == 10
