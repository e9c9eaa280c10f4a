"""Words as they are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.live.words import ends_sentence, norm, norms, split_marks, units, words_of
from kikitori.types import Segment, Word


def spoken(text: str, start: float = 0.0, end: float = 1.0) -> Word:
    return Word(word=text, start=start, end=end, probability=0.5)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Hello", " hello,"), ("Ｈｅｌｌｏ", "hello"), ("don't", "Don't!"), ("「東京", "東京」"), ("straße", "STRASSE")],
)
def test_case_width_and_marks_do_not_matter(one: str, other: str) -> None:
    assert norm(one) == norm(other) != ""


def test_marks_inside_words_do() -> None:
    assert norm("e-mail") != norm("email")


def test_a_word_is_a_unit_with_its_space() -> None:
    (one, two) = units([spoken(" Hello,", 1.0, 1.5), spoken(" world", 1.5, 2.0)], offset=10.0)
    assert (one.text, one.norm, one.start, one.end) == (" Hello,", "hello", 11.0, 11.5)
    assert (two.text, two.norm, two.probability) == (" world", "world", 0.5)


def test_scripts_without_spaces_are_compared_by_character() -> None:
    cut_one_way = units([spoken("今日は", 0.0, 0.6), spoken("いい天気", 0.6, 1.4)])
    cut_another_way = units([spoken("今", 0.0, 0.2), spoken("日はいい", 0.2, 1.0), spoken("天気。", 1.0, 1.4)])
    assert [unit.norm for unit in cut_one_way] == [unit.norm for unit in cut_another_way] == list("今日はいい天気")
    assert cut_another_way[-1].text == "気。"
    assert [round(unit.end, 2) for unit in cut_one_way] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4]


def test_korean_is_compared_by_word() -> None:
    assert norms("안녕하세요 세계") == ["안녕하세요", "세계"]


def test_thai_vowels_stay_with_their_consonants() -> None:
    assert "".join(unit.text for unit in units([spoken("สวัสดี")])) == "สวัสดี"
    assert len(units([spoken("สวัสดี")])) == 4


def test_marks_alone_join_their_neighbour() -> None:
    assert [unit.text for unit in units([spoken(" -"), spoken(" yes"), spoken(" ..."), spoken(" no")])] == [
        " - yes ...",
        " no",
    ]


@given(st.lists(st.text(max_size=8), max_size=6))
def test_no_letter_is_lost(texts: list[str]) -> None:
    found = units([spoken(text) for text in texts])
    assert all(unit.norm for unit in found)
    if found:
        assert "".join(unit.text for unit in found) == "".join(texts)


@pytest.mark.parametrize(("text", "parts"), [(" world?!", (" world", "?!")), (" C++", (" C++", "")), ("", ("", ""))])
def test_marks_at_the_end(text: str, parts: tuple[str, str]) -> None:
    assert split_marks(text) == parts


@pytest.mark.parametrize("text", ["That is all.", "Really?", "はい。", 'He said "no."', "Stop! "])
def test_a_finished_sentence(text: str) -> None:
    assert ends_sentence(text)


@pytest.mark.parametrize("text", ["and then", "well...", "so…", "first,", ""])
def test_an_unfinished_sentence(text: str) -> None:
    assert not ends_sentence(text)


def test_an_engine_without_times_of_words_still_gives_words() -> None:
    words = words_of(Segment(id=0, start=1.0, end=3.0, text=" ab cd"))
    assert [(word.word, word.start, word.end) for word in words] == [(" ab", 1.0, 2.0), (" cd", 2.0, 3.0)]
    assert words_of(Segment(id=0, start=1.0, end=3.0, text=" ")) == ()
