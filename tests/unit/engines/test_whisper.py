from collections.abc import Hashable
from typing import Any

import ctranslate2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.engines.whisper_alignment import MendedAlignment
from kikitori.engines.whisper_arguments import PREVIOUS_TOKENS, initial_prompt
from kikitori.engines.whisper_calls import (
    MAX_LENGTH,
    AlignKey,
    EncodeKey,
    GenerateKey,
    MergedModel,
    SpecialTokens,
    capped_max_length,
    context_frames,
)
from kikitori.errors import InvalidOption
from kikitori.options import DecodeOptions

FOUND = MendedAlignment(alignments=[(0, 0), (1, 5)], text_token_probs=[0.9])
START, NO_TIMESTAMPS, PREVIOUS = 50258, 50363, 50361
OPTIONS: dict[str, Any] = {"beam_size": 5, "max_length": MAX_LENGTH, "suppress_tokens": (1, 2)}


class Recorder:
    """Calls that answer with a fixed array and remember their keys."""

    def __init__(self) -> None:
        self.keys: list[Hashable] = []

    def submit(self, key: Hashable, payload: object) -> Any:
        self.keys.append(key)
        if isinstance(key, EncodeKey):
            return np.zeros((1, key.shape[-1] // 2, 2), dtype=np.float32)
        return FOUND

    def check(self) -> None:
        pass


def merged(calls: Recorder, *, audio_context: int | None = None) -> MergedModel:
    return MergedModel(object(), SpecialTokens(START, NO_TIMESTAMPS), calls, audio_context=audio_context)


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


@pytest.mark.parametrize(
    ("context", "seconds", "looks_at"),
    [(None, 3.0, None), (3, 1.0, 5), (3, 5.1, 10), (10, 3.0, 10), (12, 3.0, 15), (5, 29.0, 30), (30, 1.0, 30)],
)
def test_short_audio_can_be_encoded_in_a_short_window(context: int | None, seconds: float, looks_at: int) -> None:
    frames = context_frames(context, int(seconds * 100))
    assert frames == (100 * looks_at if looks_at else None)
    calls = Recorder()
    assert merged(calls, audio_context=context).encode(mel(int(seconds * 100))).context == 50 * (looks_at or 30)


def test_windows_of_different_contexts_do_not_share_a_call() -> None:
    calls = Recorder()
    for context in (None, 5, 10):
        model = merged(calls, audio_context=context)
        encoded = model.encode(mel(100))
        model.generate(encoded, [[START, 50259, 50359]], **OPTIONS)
        model.align(encoded, [START, 50259, 50359], [[5]], 100)
        model.detect_language(encoded)
    assert len(set(calls.keys)) == 12


class TestPreviousText:
    """A token a character."""

    @pytest.mark.parametrize(
        ("length", "shown"), [(0, 0), (14, 0), (15, 16), (30, 16), (31, 32), (70, 64), (95, 96), (900, 96)]
    )
    def test_it_is_shown_in_few_lengths(self, length: int, shown: int) -> None:
        before = "".join(chr(200 + number) for number in range(length))
        prompt = initial_prompt(DecodeOptions(previous_text=before or None), tokens)
        assert shown in (0, *PREVIOUS_TOKENS)
        assert prompt == (tokens(f" {before}")[-shown:] if shown else None)

    def test_it_follows_the_prompt(self) -> None:
        options = DecodeOptions(initial_prompt="Bo", previous_text="x" * 40)
        assert initial_prompt(options, tokens) == tokens(" Bo") + tokens("x" * 32)

    def test_a_prompt_alone_stays_text(self) -> None:
        assert initial_prompt(DecodeOptions(initial_prompt="Bo"), tokens) == "Bo"


def tokens(text: str) -> list[int]:
    return [ord(character) for character in text]
