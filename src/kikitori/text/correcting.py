"""A segment with the text that a person gave it: words that stayed keep their times. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from kikitori.text.durations import finite
from kikitori.text.glyphs import clean, is_spaceless, width
from kikitori.text.glyphs import words as tokens_of
from kikitori.types import Segment, Word

MOST_COMPARED = 1_000_000
"""Letters of the one text times letters of the other: more are not compared one by one."""
SURE = 1.0
"""The probability of a word that a person wrote."""


@dataclass(frozen=True, slots=True)
class _Token:
    """A word of the new text, as its letters ``first`` to ``last`` without the spaces."""

    text: str
    first: int
    last: int


def corrected(segment: Segment, text: str) -> Segment:
    """``segment`` saying ``text``, on one line; the space before it stays as it was.

    Words that are the same keep their times, others share the time of those they stand for. What the model said of
    the old text (its tokens) goes.
    """
    plain = " ".join(clean(text).split())
    new = f"{_space_before(segment.text, plain)}{plain}" if plain else ""
    if new == segment.text:
        return segment
    words = None if segment.words is None else _aligned(segment, new)
    return replace(segment, text=new, words=words, tokens=())


def same_text(one: str, other: str) -> bool:
    """Whether two texts of a segment are the same but for their spaces."""
    return one.split() == other.split()


def _space_before(old: str, new: str) -> str:
    if old.strip():
        return old[: len(old) - len(old.lstrip())]
    return "" if not new or is_spaceless(new[0]) else " "


def _aligned(segment: Segment, text: str) -> tuple[Word, ...]:
    heard = segment.words or ()
    tokens = list(_tokens(text))
    kept = _kept(heard, text, tokens)
    words: list[Word] = []
    changed: list[_Token] = []
    at = 0
    while at < len(tokens):
        first = tokens[at].first
        if first not in kept:
            changed.append(tokens[at])
            at += 1
            continue
        word, last = kept[first]
        words += _spread(changed, _end_of(words, segment), finite(word.start))
        same = ""
        while at < len(tokens) and tokens[at].last <= last:
            same += tokens[at].text
            at += 1
        words.append(replace(word, word=same))
        changed = []
    return (*words, *_spread(changed, _end_of(words, segment), finite(segment.end)))


def _tokens(text: str) -> Iterator[_Token]:
    """Together they are ``text``: each with the space before it."""
    first = 0
    lead = text[: len(text) - len(text.lstrip())]
    for number, (token, spaced) in enumerate(tokens_of(text)):
        space = (lead if number == 0 else " ") if spaced else ""
        yield _Token(space + token, first, first + len(token))
        first += len(token)


def _kept(heard: Sequence[Word], text: str, tokens: Sequence[_Token]) -> Mapping[int, tuple[Word, int]]:
    """Words that are whole words of the new text, too: by the number of their first letter, with that of the end."""
    old, new = ("".join(each.split()) for each in ("".join(word.word for word in heard), text))
    place = _places(old, new)
    firsts, lasts = {token.first for token in tokens}, {token.last for token in tokens}
    kept: dict[int, tuple[Word, int]] = {}
    at = 0
    for word in heard:
        letters = len("".join(word.word.split()))
        places = [place.get(letter) for letter in range(at, at + letters)]
        at += letters
        if not places or places[0] is None:
            continue
        first, last = places[0], places[0] + letters
        if places == list(range(first, last)) and first in firsts and last in lasts:
            kept[first] = (word, last)
    return kept


def _places(old: str, new: str) -> dict[int, int]:
    """For letters of ``old`` that are still there, where they are in ``new``."""
    most = min(len(old), len(new))
    before = next((at for at in range(most) if old[at] != new[at]), most)
    after = next((at for at in range(most - before) if old[-1 - at] != new[-1 - at]), most - before)
    places = {at: at for at in range(before)}
    places |= {len(old) - 1 - at: len(new) - 1 - at for at in range(after)}
    middles = old[before : len(old) - after], new[before : len(new) - after]
    if len(middles[0]) * len(middles[1]) <= MOST_COMPARED:
        for block in SequenceMatcher(None, *middles, autojunk=False).get_matching_blocks():
            places |= {before + block.a + at: before + block.b + at for at in range(block.size)}
    return places


def _end_of(words: Sequence[Word], segment: Segment) -> float:
    return finite(words[-1].end if words else segment.start)


def _spread(tokens: Sequence[_Token], start: float, end: float) -> Iterator[Word]:
    """``tokens`` from ``start`` to ``end``, each as long as it is wide."""
    total = sum(max(1, width(token.text)) for token in tokens)
    length, done = max(0.0, end - start), 0
    for token in tokens:
        begin = start + length * done / total
        done += max(1, width(token.text))
        yield Word(word=token.text, start=begin, end=start + length * done / total, probability=SURE)
