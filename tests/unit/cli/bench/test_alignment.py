from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.cli.bench.alignment import Errors, align, common_beginning, normalize, normalize_truth, repeats
from kikitori.cli.bench.truth import TrueWord

words = st.lists(st.sampled_from("abc"), max_size=12)


@pytest.mark.parametrize(
    ("text", "language", "units"),
    [
        ("I'd like, water—and RICE.", "en", ["id", "like", "water", "and", "rice"]),
        ("  ", "en", []),
        ("母はご飯が好き。", "ja", list("母はご飯が好き")),
        ("부엌 불을 켜 주세요.", "ko", ["부엌", "불을", "켜", "주세요"]),
        ("Ｆｕｌｌ １２", "en", ["full", "12"]),
        ("हिन्दी", "hi", ["हिन्दी"]),
    ],
)
def test_texts_are_compared_without_case_and_punctuation(text: str, language: str, units: list[str]) -> None:
    assert normalize(text, language) == units


def test_the_characters_of_a_word_share_its_time() -> None:
    (first, second) = normalize_truth([TrueWord(word="会議", start=1.0, end=2.0)], "ja")
    assert (first.word, first.start, first.end) == ("会", 1.0, 1.5)
    assert (second.word, second.start, second.end) == ("議", 1.5, 2.0)


@pytest.mark.parametrize(
    ("said", "heard", "changes"),
    [
        ("a b c", "a b c", (0, 0, 0)),
        ("a b c", "a x c", (1, 0, 0)),
        ("a b c", "a c", (0, 1, 0)),
        ("a b", "a b b", (0, 0, 1)),
        ("", "a", (0, 0, 1)),
        ("a b", "", (0, 2, 0)),
    ],
)
def test_changes_are_counted(said: str, heard: str, changes: tuple[int, int, int]) -> None:
    errors = align(said.split(), heard.split()).errors
    assert (errors.substitutions, errors.deletions, errors.insertions) == changes
    assert errors.reference == len(said.split())


def test_what_is_lost_is_named() -> None:
    found = align("the doctor goes to the bank".split(), "the doctor to bank".split())
    assert found.deleted == {2, 4}
    assert found.equal == ((0, 0), (1, 1), (3, 2), (5, 3))


@given(words, words)
def test_an_alignment_adds_up(said: list[str], heard: list[str]) -> None:
    found = align(said, heard)
    errors = found.errors
    assert len(found.equal) + errors.substitutions + errors.deletions == len(said)
    assert len(found.equal) + errors.substitutions + errors.insertions == len(heard)
    assert all(said[row] == heard[column] for row, column in found.equal)
    assert (errors.rate == 0) == (said == heard or not said)


def test_errors_add_up_over_sessions() -> None:
    total = align(["a", "b"], ["a"]).errors + align(["a", "b"], ["x", "b"]).errors
    assert total == Errors(substitutions=1, deletions=1, insertions=0, reference=4)
    assert total.rate == 0.5
    assert Errors().rate == 0


def test_common_beginnings() -> None:
    assert common_beginning("a b c".split(), "a b d e".split()) == 2
    assert common_beginning([], ["a"]) == 0


@pytest.mark.parametrize(
    ("said", "heard", "count"),
    [
        ("a b c d", "a b c d", 0),
        ("a b c d", "a b c d a b c d", 1),
        ("a b c d a b c d", "a b c d a b c d", 0),
        ("a b c d", "w x y z", 0),
        ("a b c", "a b c a b c", 0),
    ],
)
def test_runs_that_were_said_once_and_heard_twice(said: str, heard: str, count: int) -> None:
    assert repeats(said.split(), heard.split()) == count
