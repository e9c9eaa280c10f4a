from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kikitori.audio import vad
from kikitori.audio.vad import Probabilities, VadStream
from kikitori.audio.vad_batch import VadBatch, VadState
from kikitori.errors import Unavailable

Audio = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def voices(hello: Audio, speech: Callable[[str], Audio]) -> list[Audio]:
    noise = np.random.default_rng(3).normal(0, 0.1, 12_345).astype(np.float32)
    muted = np.concatenate([hello[:8_000], np.zeros(16_000, np.float32), hello[8_000:]])
    return [hello, speech("ja_01")[:30_000], noise, np.zeros(20_000, np.float32), muted]


@settings(max_examples=15)
@given(
    rounds=st.lists(
        st.lists(
            st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 320, 511, 512, 513, 4_000, 9_999])),
            min_size=1,
            max_size=8,
        ),
        max_size=12,
    )
)
def test_each_session_hears_what_it_would_hear_alone(voices: list[Audio], rounds: list[list[tuple[int, int]]]) -> None:
    batch, states = VadBatch(), [VadState() for _ in voices]
    at = [0] * len(voices)
    found: list[list[Probabilities]] = [[] for _ in voices]
    everything_left = [(index, len(voice)) for index, voice in enumerate(voices)]
    for calls in [*rounds, everything_left]:
        work = []
        for index, count in calls:
            work.append((states[index], voices[index][at[index] : at[index] + count]))
            at[index] += count
        for (index, _), probabilities in zip(calls, batch.run(work), strict=True):
            found[index].append(probabilities)
    for parts, voice in zip(found, voices, strict=True):
        np.testing.assert_allclose(np.concatenate(parts), VadStream().push(voice), atol=1e-4)


def test_each_audio_gives_the_frames_it_completes(hello: Audio) -> None:
    batch, one, two = VadBatch(), VadState(), VadState()
    work = [(320, 0), (320, 1), (128, 640), (1_600, 10_000)]
    counts = [tuple(map(len, batch.run([(one, hello[:a]), (two, hello[:b])]))) for a, b in work]
    assert counts == [(0, 0), (1, 0), (0, 1), (3, 19)]


def test_a_session_that_is_reset_is_a_new_one(hello: Audio) -> None:
    batch, state = VadBatch(), VadState()
    [first] = batch.run([(state, hello[:10_100])])
    batch.reset(state)
    [second] = batch.run([(state, hello[:10_100])])
    np.testing.assert_array_equal(first, second)
    assert first.max() > 0.5


def test_threads_may_hear_different_sessions_at_once(voices: list[Audio]) -> None:
    batch = VadBatch()
    found: dict[int, Probabilities] = {}

    def listen(index: int) -> None:
        state = VadState()
        parts = [batch.run([(state, voices[index][at : at + 700])])[0] for at in range(0, len(voices[index]), 700)]
        found[index] = np.concatenate(parts)

    threads = [threading.Thread(target=listen, args=(index,)) for index in range(len(voices))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, voice in enumerate(voices):
        np.testing.assert_allclose(found[index], VadStream().push(voice), atol=1e-4)


def test_nothing_to_do_is_done() -> None:
    assert VadBatch().run([]) == []


def test_the_model_is_needed_when_the_batch_is_made_and_not_for_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> object:
        raise Unavailable("The speech detector is missing.")

    monkeypatch.setattr(vad, "_session", missing)
    VadState()
    with pytest.raises(Unavailable):
        VadBatch()
