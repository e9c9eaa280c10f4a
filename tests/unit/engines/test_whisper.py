from collections.abc import Hashable
from typing import Any

import ctranslate2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.engines.whisper import (
    MAX_LENGTH,
    AlignKey,
    GenerateKey,
    MergedModel,
    SpecialTokens,
    capped_max_length,
)
from kikitori.errors import InvalidOption

START, NO_TIMESTAMPS, PREVIOUS = 50258, 50363, 50361
OPTIONS: dict[str, Any] = {"beam_size": 5, "max_length": MAX_LENGTH, "suppress_tokens": (1, 2)}


class Recorder:
    """Calls that answer with a fixed array and remember their keys."""

    def __init__(self) -> None:
        self.keys: list[Hashable] = []

    def submit(self, key: Hashable, payload: object) -> Any:
        self.keys.append(key)
        return np.zeros((1, 4, 2), dtype=np.float32)

    def check(self) -> None:
        pass


def merged(calls: Recorder) -> MergedModel:
    return MergedModel(object(), SpecialTokens(START, NO_TIMESTAMPS), calls)


def mel(frames: int = 3_000, *, seed: int = 1) -> Any:
    window = np.zeros((1, 80, 3_000), dtype=np.float32)
    window[:, :, :frames] = np.random.default_rng(seed).random((1, 80, frames))
    return ctranslate2.StorageView.from_array(window)


def key_of(prompt: list[int], *, frames: int = 3_000, **options: Any) -> GenerateKey:
    calls = Recorder()
    model = merged(calls)
    model.generate(model.encode(mel(frames)), [prompt], **(OPTIONS | options))
    key = calls.keys[-1]
    assert isinstance(key, GenerateKey)
    return key


def test_languages_and_tasks_share_a_batch() -> None:
    assert key_of([START, 50259, 50359]) == key_of([START, 50266, 50358])


@pytest.mark.parametrize(
    "other",
    [
        key_of([START, 50259, 50359, NO_TIMESTAMPS]),
        key_of([PREVIOUS, 11, START, 50259, 50359]),
        key_of([START, 50259, 50359], beam_size=1),
        key_of([START, 50259, 50359], suppress_tokens=(1,)),
    ],
)
def test_what_the_call_shares_keeps_requests_apart(other: GenerateKey) -> None:
    assert key_of([START, 50259, 50359]) != other


def test_a_prefix_is_not_mistaken_for_previous_text() -> None:
    assert key_of([PREVIOUS, 11, START, 50259, 50359]) != key_of([START, 50259, 50359, 50364, 11])


def test_windows_of_about_the_same_length_share_a_limit() -> None:
    assert key_of([START, 50259, 50359], frames=2_900) == key_of([START, 50259, 50359], frames=2_100)
    assert key_of([START, 50259, 50359], frames=100) != key_of([START, 50259, 50359], frames=2_900)


@given(
    seconds=st.floats(0, 30),
    prompt_length=st.integers(3, 230),
    asked=st.one_of(st.just(MAX_LENGTH), st.integers(10, MAX_LENGTH)),
)
def test_the_cap_leaves_room_for_the_fastest_speech(seconds: float, prompt_length: int, asked: int) -> None:
    capped = capped_max_length(asked, prompt_length=prompt_length, start_index=prompt_length - 3, seconds=seconds)

    def new_tokens(length: int) -> int:
        return min(length // 2, length - prompt_length + 1)

    assert capped <= asked
    assert new_tokens(capped) >= min(new_tokens(asked), 27 + 20 * seconds, 224)


def test_a_looping_short_window_ends_early() -> None:
    assert capped_max_length(MAX_LENGTH, prompt_length=3, start_index=0, seconds=1.0) == 128


def test_the_same_window_is_encoded_once() -> None:
    calls = Recorder()
    model = merged(calls)
    first, again, other = model.encode(mel()), model.encode(mel()), model.encode(mel(seed=2))
    assert first is again
    assert other is not first
    assert len(calls.keys) == 2


def test_alignments_are_grouped_by_language_and_task() -> None:
    calls = Recorder()
    model = merged(calls)
    encoded = model.encode(mel())
    for start, tokens in (([START, 50259, 50359], [5]), ([START, 50266, 50359], [5]), ([START, 50259, 50359], [])):
        model.align(encoded, start, [tokens], 3_000)
    keys = [key for key in calls.keys if isinstance(key, AlignKey)]
    assert len(set(keys)) == 3


def test_padding_is_not_counted_as_audio() -> None:
    assert merged(Recorder()).encode(mel(frames=1_234)).audio_frames == 1_234
    assert merged(Recorder()).encode(mel(frames=0)).audio_frames == 0


def test_lists_of_the_library_may_be_empty() -> None:
    assert key_of([START, 50259, 50359], suppress_tokens=[]) == key_of([START, 50259, 50359], suppress_tokens=())


def test_a_prompt_without_room_for_text_is_refused() -> None:
    key_of([PREVIOUS, *[11] * 442, START, 50259, 50359])
    with pytest.raises(InvalidOption, match="hotwords"):
        key_of([PREVIOUS, *[11] * 443, START, 50259, 50359])
