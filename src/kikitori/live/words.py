"""Words as they are compared: units with a normal form and times since the session began.

In scripts that write without spaces a unit is a character, because engines cut such text differently each time.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kikitori.types import Segment, Word

UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""Scripts without spaces between words."""
SENTENCE_ENDS = ".?!。？！．"
ELLIPSES = ("...", "…", "。。。")
"""The speaker trails off: more comes."""
CLOSERS = "\"'”’»)]」』）"
"""May stand after the end of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A word, or a character of a script without spaces; times are seconds since the session began."""

    text: str
    """As written, with the space before it and the marks around it."""
    norm: str
    """Without case, marks and space; never empty."""
    start: float
    end: float
    probability: float = 1.0

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


def norm(text: str) -> str:
    """``text`` without case, and without marks and space at its ends."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    first = next((n for n, char in enumerate(folded) if _counts(char)), len(folded))
    last = next((n for n in range(len(folded), first, -1) if _counts(folded[n - 1])), first)
    return folded[first:last]


def units(words: Iterable[Word], offset: float = 0.0) -> list[Unit]:
    """``words`` as units, ``offset`` seconds later. Marks that stand alone join the unit before them."""
    found: list[Unit] = []
    leading = ""
    for word in words:
        for text, start, end in _pieces(word):
            form = norm(text)
            if not form:
                if found:
                    found[-1] = replace(found[-1], text=found[-1].text + text)
                else:
                    leading += text
                continue
            found.append(
                Unit(
                    text=leading + text,
                    norm=form,
                    start=offset + start,
                    end=offset + end,
                    probability=word.probability,
                )
            )
            leading = ""
    return found


def words_of(segment: Segment) -> tuple[Word, ...]:
    """The words of ``segment``; without times of words they share the segment's time by their length."""
    if segment.words:
        return segment.words
    texts = [f" {text}" for text in segment.text.split()]
    if texts and not segment.text[:1].isspace():
        texts[0] = texts[0][1:]
    shares = _shares([len(text) for text in texts], segment.start, segment.end)
    return tuple(
        Word(word=text, start=start, end=end, probability=1.0) for text, (start, end) in zip(texts, shares, strict=True)
    )


def norms(text: str) -> list[str]:
    """The normal forms of the units of ``text``."""
    return [unit.norm for unit in units([Word(word=part, start=0, end=0, probability=1) for part in text.split()])]


def split_marks(text: str) -> tuple[str, str]:
    """``text`` and the marks at its end: ``" world?"`` → ``(" world", "?")``."""
    cut = len(text)
    while cut and unicodedata.category(text[cut - 1])[0] == "P":
        cut -= 1
    return text[:cut], text[cut:]


def ends_sentence(text: str) -> bool:
    """Whether ``text`` closes with a full stop, a question mark or an exclamation mark."""
    bare = text.rstrip().rstrip(CLOSERS)
    return bare.endswith(tuple(SENTENCE_ENDS)) and not bare.endswith(ELLIPSES)


def is_unspaced(char: str) -> bool:
    """Whether ``char`` belongs to a script without spaces."""
    code = ord(char)
    return code >= UNSPACED[0][0] and any(first <= code <= last for first, last in UNSPACED)


def _counts(char: str) -> bool:
    return unicodedata.category(char)[0] not in "PZC"


def _pieces(word: Word) -> Iterator[tuple[str, float, float]]:
    """``word`` cut at characters of scripts without spaces, each with its share of the time."""
    if not any(is_unspaced(char) for char in word.word):
        yield word.word, word.start, word.end
        return
    texts: list[str] = []
    for char in word.word:
        joins = texts and (
            unicodedata.combining(char)
            or unicodedata.category(char)[0] == "M"
            or not _counts(char)
            or not texts[-1].strip()
            or not (is_unspaced(char) or is_unspaced(texts[-1][-1]))
        )
        if joins:
            texts[-1] += char
        else:
            texts.append(char)
    for text, (start, end) in zip(texts, _shares([len(text) for text in texts], word.start, word.end), strict=True):
        yield text, start, end


def _shares(lengths: Sequence[int], start: float, end: float) -> list[tuple[float, float]]:
    """``start`` to ``end``, divided in proportion to ``lengths``."""
    total, done, shares = sum(lengths) or 1, 0, []
    for length in lengths:
        shares.append((start + (end - start) * done / total, start + (end - start) * (done + length) / total))
        done += length
    return shares
