import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.text.glyphs import Break, break_between, clean, clusters, fit, width, words


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", 0),
        ("plain text", 10),
        ("日本語", 6),
        ("ｶﾅ", 2),  # half-width katakana
        ("ＡＢ", 4),  # full-width letters
        ("한국어", 6),
        ("\u1112\u1161\u11ab", 2),  # the same script, letter by letter: one syllable
        ("e\u0301", 1),
        ("か\u3099", 2),
        ("नमस्ते", 4),
        ("Привет", 6),
        ("“quoted…”", 9),
        ("👍🏽", 2),
        ("a\u200bb", 2),
    ],
)
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


def test_clean_keeps_whitespace() -> None:
    assert clean("a\x00b\x1b\tc\n\u3000d\x85\x7f") == "ab\tc\n\u3000d\x85"


def test_clusters_keep_marks_with_their_character() -> None:
    assert clusters("e\u0301a👩\u200d👧か\u3099") == ["e\u0301", "a", "👩\u200d👧", "か\u3099"]


@given(st.text(), st.integers(2, 20))
def test_pieces_fit_and_lose_nothing(text: str, limit: int) -> None:
    pieces = fit(text, limit)
    assert "".join(pieces) == text
    assert all(width(piece) <= max([limit, *map(width, clusters(piece))]) for piece in pieces)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (" Two  words ", [("Two", True), ("words", True)]),
        ("二 三", [("二", False), ("三", True)]),
        (
            "新しいiPhone 15です。",
            [("新", 0), ("し", 0), ("い", 0), ("iPhone", 0), ("15", 1), ("で", 0), ("す", 0), ("。", 0)],
        ),
        ("한국어 문장.", [("한국어", False), ("문장.", True)]),
        ("\n", []),
    ],
)
def test_words(text: str, parts: list[tuple[str, bool]]) -> None:
    assert list(words(text)) == parts


@given(st.text())
def test_words_lose_nothing(text: str) -> None:
    assert "".join(word for word, _ in words(text)) == "".join(text.split())


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("well", " known", Break.WORD),
        ("well", "-known", Break.GLUED),
        ("Yes.", " No", Break.SENTENCE),
        ('done."', " He", Break.SENTENCE),
        ('"Who?"', " he", Break.CLAUSE),
        ("Mr.", " Smith", Break.WORD),
        ("(Mr.", " Smith", Break.WORD),
        ("J.", " Smith", Break.WORD),
        ("so am I.", " She", Break.SENTENCE),
        ("e.g.", " this", Break.WORD),
        ("first,", " second", Break.CLAUSE),
        ("va", " ?", Break.GLUED),
        ("«", " Oui", Break.GLUED),
        ("mes", " amis", Break.WORD),
        ("amis", " »", Break.GLUED),
        ("gesagt", " »Hallo", Break.WORD),
        ("uses", " .NET", Break.WORD),
        ("갑니다.", " 의사는", Break.SENTENCE),
        ("す。", "次", Break.SENTENCE),
        ("は、", "今", Break.CLAUSE),
        ("は", "東", Break.WORD),
        ("は", "ア", Break.WORD),
        ("は", "な", Break.RUN),
        ("お", "茶", Break.RUN),
        ("ご", "飯", Break.RUN),
        ("東", "京", Break.RUN),
        ("東", "は", Break.RUN),
        ("す", "。", Break.GLUED),
        ("す", "」", Break.GLUED),
        ("「", "東", Break.GLUED),
        ("（", "東", Break.GLUED),
        ("ち", "ょ", Break.GLUED),
        ("コ", "ン", Break.GLUED),
        ("タ", "ー", Break.GLUED),
        ("時", "々", Break.GLUED),
        ("は", '"', Break.GLUED),
        ("iPhone", "を", Break.RUN),
        ("2026", "年", Break.RUN),
        ("सही।", " फिर", Break.SENTENCE),
        ("نعم؟", " لا", Break.SENTENCE),
        ("วันนี้", "อากาศ", Break.RUN),
    ],
)
def test_break_between(before: str, after: str, kind: Break) -> None:
    assert break_between(before, after.strip(), spaced=after.startswith(" ")) is kind


def test_a_closing_bracket_is_judged_with_what_stands_before_it() -> None:
    assert break_between("」", "次", spaced=False) is Break.RUN
    assert break_between("」", "次", spaced=False, tail="です。」") is Break.SENTENCE
