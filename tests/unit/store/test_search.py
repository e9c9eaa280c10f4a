from __future__ import annotations

import random
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.store.search import MAX_TERM, MAX_TERMS_BYTES, Term, mysql_word, owner_term, query_terms, terms_of


def terms(text: str) -> list[str]:
    first, *rest = terms_of(text, "ann")
    assert first == owner_term("ann")
    return rest


def asked(text: str) -> list[str]:
    return [term.text + ("*" if term.is_prefix else "") for term in query_terms(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" … !? — ", []),
        ("Hello, hello HELLO", ["hello"]),
        ("don't", ["don", "t"]),
        ("Café naïve Ünïcode", ["cafe", "naive", "unicode"]),
        ("e\u0301te\u0301", ["ete"]),
        ("Straße", ["strasse"]),
        ("foo_bar", ["foo", "bar"]),
        ("ＡＢＣ ｶﾅ", ["abc", "カ", "カナ", "ナ"]),
        ("が", ["が"]),
        ("東京都", ["東", "東京", "東京都", "京", "京都", "都"]),
        ("GPU上で", ["gpu", "上", "上で", "で"]),
        ("서울", ["서", "서울", "울"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("3.14", ["3", "14"]),
    ],
)
def test_a_text_is_found_by_its_words_and_stretches(text: str, found: list[str]) -> None:
    assert terms(text) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", []),
        ("*", []),
        ("Café*", ["cafe*"]),
        ("a* ab*", ["a", "ab*"]),
        ("hello hello", ["hello"]),
        ("東", ["東"]),
        ("東京", ["東京"]),
        ("東京都庁*", ["東京都", "京都庁"]),
        ('"quoted" -not OR (x)', ["quoted", "not", "or", "x"]),
    ],
)
def test_a_query_asks_for_whole_words_and_longest_stretches(query: str, found: list[str]) -> None:
    assert asked(query) == found


@given(st.text(max_size=60), st.text(max_size=10))
def test_every_text_is_found_by_itself_and_terms_need_no_quoting(text: str, owner: str) -> None:
    found = terms_of(text, owner)
    assert {term.text for term in query_terms(text)} <= set(found)
    assert len(found) == len(set(found))
    for term in found:
        assert not set(term) & set(" \"'\\*&|!()<>:-+%\x00\n\t")
        assert term == term.strip()
        assert mysql_word(term).isalnum()
        assert mysql_word(term).isascii()


def test_every_letter_of_unicode_can_be_looked_for() -> None:
    letters = [letter for letter in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(letter) in ("Lo", "Lu")]
    assert len(letters) > 100_000
    # Forms of Arabic marks alone, which are written on a space.
    alone = [letter for letter in letters if unicodedata.normalize("NFKC", letter).startswith(" ")]
    assert [letter for letter in letters if not query_terms(letter)] == alone


def test_long_words_and_long_texts_have_an_end() -> None:
    assert terms("x" * 5_000) == ["x" * MAX_TERM]
    assert asked("x" * 5_000 + "*") == ["x" * MAX_TERM + "*"]
    chance = random.Random(1)
    endless = "".join(chr(0x4E00 + chance.randrange(20_000)) for _ in range(300_000))
    found = terms_of(endless, "ann")
    assert MAX_TERMS_BYTES - 100 < sum(len(term.encode()) for term in found) <= MAX_TERMS_BYTES
    assert {term.text for term in query_terms(endless[:100])} <= set(found)


def test_no_text_names_an_owner() -> None:
    term = owner_term("ann")
    assert term not in terms_of(f"{term} ann", "bob")
    assert Term(term) not in query_terms(term)
    assert owner_term("bob") != term
