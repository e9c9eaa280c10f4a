"""Texts that grow, cut into what is spoken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.replies.sentences import LONGEST, SentenceCutter, speakable


def pieces(text: str, *, step: int = 3) -> list[str]:
    cutter = SentenceCutter()
    found = [piece for at in range(0, len(text), step) for piece in cutter.push(text[at : at + step])]
    return [piece.text for piece in [*found, *cutter.finish()]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It costs 3.14 euros at example.org today. Fine.", ["It costs 3.14 euros at example.org today.", "Fine."]),
        ("Mrs. Lee and Dr. A. Smith came e.g. by car. Yes.", ["Mrs. Lee and Dr. A. Smith came e.g. by car.", "Yes."]),
        ('He said "Go!" She went.', ['He said "Go!"', "She went."]),
        ("Wait... what?! Really.", ["Wait...", "what?!", "Really."]),
        (
            "今日は晴れです。散歩に行きましょう！「はい。」と言った。",
            ["今日は晴れです。", "散歩に行きましょう！", "「はい。」", "と言った。"],
        ),
        ("你好！今天怎么样？", ["你好！", "今天怎么样？"]),
        ("안녕하세요. 반갑습니다.", ["안녕하세요.", "반갑습니다."]),
        ("First line\nsecond line\n\nthird", ["First line", "second line", "third"]),
        ("1. Apples\n2. Pears", ["1. Apples", "2. Pears"]),
        ("... !!! ???", []),
    ],
)
def test_sentences_end_where_people_would_pause(text: str, found: list[str]) -> None:
    for step in (1, 3, 1_000):
        assert pieces(text, step=step) == found


def test_only_the_first_piece_ends_at_a_comma() -> None:
    text = "As far as I can remember that, it was warm, and nobody, as far as I know, was cold. Later, maybe."
    assert pieces(text) == [
        "As far as I can remember that,",
        "it was warm, and nobody, as far as I know, was cold.",
        "Later, maybe.",
    ]


def test_a_text_without_any_mark_is_cut_at_a_space() -> None:
    found = pieces("word " * 200)
    assert all(len(piece) <= LONGEST and piece.endswith("word") for piece in found)
    assert " ".join(found) == ("word " * 200).strip()


def test_a_text_without_any_space_is_cut_anyway() -> None:
    assert "".join(pieces("あ" * 1_000)) == "あ" * 1_000


@given(st.lists(st.text(alphabet='ab .,!?。、\n1"」 ', max_size=12), max_size=30))
def test_nothing_is_lost_or_said_twice(parts: list[str]) -> None:
    cutter = SentenceCutter()
    found = [piece for part in parts for piece in cutter.push(part)]
    found += cutter.finish()
    text = "".join(parts)
    ends = [piece.end for piece in found]
    assert ends == sorted(ends)
    assert all(end <= len(text) for end in ends)
    spoken = [char for piece in found for char in piece.text if char.isalnum()]
    assert spoken == [char for char in text if char.isalnum()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("**Hello** _there_, `x`", "Hello _there_, x"),
        ("# Title", "Title"),
        ("- one thing", "one thing"),
        ("See [the page](https://example.org/x).", "See the page."),
        ("Great 🎉👍!", "Great !"),
        ("🎉", ""),
        ("***", ""),
        ("2 * 3 - 1", "2 3 - 1"),
    ],
)
def test_what_is_for_eyes_is_not_spoken(text: str, said: str) -> None:
    assert speakable(text) == said
