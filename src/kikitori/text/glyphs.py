"""How wide text is, and where it may be broken: the typography that subtitles need."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import Enum
from functools import cache


class Break(Enum):
    """What a break between two pieces of text would cut."""

    GLUED = "glued"  # nothing may be cut here
    RUN = "run"  # a run of Chinese or Japanese characters
    WORD = "word"  # two words, or the end of a Japanese phrase
    CLAUSE = "clause"  # after a comma and the like
    SENTENCE = "sentence"  # after a full stop and the like


ZERO_WIDTH_JOINER = "\u200d"

OPENING = frozenset("([{<«‹“‘„‚¿¡（［｛〈《「『【〔〖〘〚｟｢〝")
"""A line never ends with one of these."""

CLOSING = frozenset(".,!?;:)]}>»›”’…%、。，．・：；！？）］｝〉》」』】〕〗〙〛｠｣､｡･〟‥％‰؟،؛।॥၊။།៖។")
"""A line never begins with one of these."""

SMALL_KANA = frozenset(
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿｧｨｩｪｫｬｭｮｯー～〜ｰ々〻ゝゞヽヾ゛゜ﾞﾟ"
)
"""Nor with these, which belong to the character before."""

HONORIFIC = frozenset("おご")
"""Prefixes of the word that follows: お茶, ご飯."""

SENTENCE_ENDS = frozenset(".!?…。．｡！？‼⁇⁈⁉؟۔।॥။།។።")
CLAUSE_ENDS = frozenset(",;:、､，；：،؛—–၊៖፣")
QUOTES = frozenset("\"'")
AFTER_A_STOP = (CLOSING | QUOTES) - SENTENCE_ENDS - CLAUSE_ENDS - frozenset("%％‰・･")
"""Brackets and quotes that close with the sentence."""

ABBREVIATIONS = frozenset(
    "mr. mrs. ms. dr. prof. st. jr. sr. vs. e.g. i.e. approx. gen. sgt. capt. lt. col. rev. mt. sra. mme. mlle.".split()
)
"""A full stop after these ends no sentence."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_HIRAGANA = re.compile("[\u3041-\u309f]")
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
_EAST_ASIAN = re.compile(
    "[\u2e80-\u2fdf\u3000-\u3130\u3190-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f"
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff9f\uffe0-\uffe6\U0001b000-\U0001b2ff\U00020000-\U0003ffff]"
)
"""Chinese and Japanese characters and their punctuation (full-width letters and digits are words)."""
_SPACELESS = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\uaa60-\uaa7f]")
"""Thai, Lao, Tibetan, Myanmar, Khmer: words stand side by side, as in Chinese and Japanese."""


def clean(text: str) -> str:
    """``text`` without control characters; whitespace stays."""
    return _CONTROL.sub("", text)


@cache
def char_width(char: str) -> int:
    """Columns of one character: 2 for East Asian wide ones, 0 for marks that sit on another."""
    if "\u1160" <= char <= "\u11ff" or "\U0001f3fb" <= char <= "\U0001f3ff":
        return 0  # Korean vowels and finals after a leading consonant; skin tones
    if unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def width(text: str) -> int:
    """Columns that ``text`` takes on a screen."""
    return sum(map(char_width, text))


def clusters(text: str) -> list[str]:
    """The smallest pieces that may stand apart: a character with the marks that sit on it."""
    pieces: list[str] = []
    for char in text:
        if pieces and (char_width(char) == 0 or pieces[-1].endswith(ZERO_WIDTH_JOINER)):
            pieces[-1] += char
        else:
            pieces.append(char)
    return pieces


def fit(text: str, limit: int) -> list[str]:
    """``text`` cut by force into pieces of at most ``limit`` columns."""
    pieces, used = [""], 0
    for cluster in clusters(text):
        columns = width(cluster)
        if pieces[-1] and used + columns > limit:
            pieces.append("")
            used = 0
        pieces[-1] += cluster
        used += columns
    return pieces


def words(text: str) -> Iterator[tuple[str, bool]]:
    """Words, and each Chinese or Japanese character on its own; True: whitespace stands before."""
    for match in re.finditer(r"\S+", text):
        spaced, run = match.start() > 0, ""
        for cluster in clusters(match[0]):
            if _EAST_ASIAN.match(cluster):
                if run:
                    yield run, spaced
                    spaced, run = False, ""
                yield cluster, spaced
                spaced = False
            else:
                run += cluster
        if run:
            yield run, spaced


def is_spaceless(char: str) -> bool:
    """Whether ``char`` belongs to a script that writes without spaces."""
    return bool(_EAST_ASIAN.match(char) or _SPACELESS.match(char))


def break_between(before: str, after: str, *, spaced: bool, tail: str = "") -> Break:
    """What a break between two pieces would cut; ``tail`` is the text up to and with ``before``."""
    left, right = _last(before), after[0]
    if _forbidden(before, after, spaced=spaced):
        return Break.GLUED
    if _ends_sentence(tail or before):
        if not (right.islower() or _is_abbreviation(before)):
            return Break.SENTENCE
        return Break.WORD if left == "." else Break.CLAUSE
    if left in CLAUSE_ENDS:
        return Break.CLAUSE
    if spaced or (_HIRAGANA.match(left) and left not in HONORIFIC and not _HIRAGANA.match(right)):
        return Break.WORD
    return Break.RUN


def _forbidden(before: str, after: str, *, spaced: bool) -> bool:
    if spaced:  # French sets spaces inside « quotes » and before ? and !
        return all(char in OPENING for char in before) or all(char in CLOSING for char in after)
    left, right = _last(before), after[0]
    if left in OPENING or right in CLOSING or right in SMALL_KANA or left in QUOTES or right in QUOTES:
        return True
    if _KATAKANA.match(left) and _KATAKANA.match(right):
        return True
    return not (is_spaceless(left) or is_spaceless(right))


def _ends_sentence(text: str) -> bool:
    """A full stop, perhaps with closing quotes and brackets after it."""
    for char in reversed(text):
        if char in SENTENCE_ENDS:
            return True
        if char not in AFTER_A_STOP and char_width(char):
            return False
    return False


def _is_abbreviation(word: str) -> bool:
    """``Mr.``, or an initial: ``J.``"""
    bare = word.lstrip("".join(OPENING | QUOTES))
    return bare.lower() in ABBREVIATIONS or (len(bare) == 2 and bare[0].isupper() and bare[1] == "." and bare != "I.")


def _last(text: str) -> str:
    """The last character that takes room."""
    if char_width(text[-1]):
        return text[-1]
    return next((char for char in reversed(text) if char_width(char)), text[-1])
