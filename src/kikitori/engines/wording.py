"""Words of recognisers that tell little of them: where they stand in the text, and about when they were said."""

from __future__ import annotations

from collections.abc import Sequence

from kikitori.types import Word


def place(text: str, words: Sequence[str]) -> list[str]:
    """``words`` with what stands around them in ``text``; joined they are the text, if all of them are in it."""
    placed: list[str] = []
    at = 0
    for word in words:
        found = text.find(word, at)
        if found < 0:
            placed.append(f" {word}")
            continue
        gap = text[at:found]
        cut = len(gap.rstrip()) if placed else 0
        if placed:
            placed[-1] += gap[:cut]
        placed.append(gap[cut:] + word)
        at = found + len(word)
    if placed:
        placed[-1] += text[at:].rstrip()
    return placed


def estimate(text: str, start: float, end: float, *, probability: float = 0.0) -> tuple[Word, ...]:
    """The words of a text of which only start and end are known, each with its share of the letters."""
    parts = text.split()
    placed = place(text, parts)
    total = sum(map(len, parts)) or 1
    words, at = [], start
    for part, shown in zip(parts, placed, strict=True):
        after = at + (end - start) * len(part) / total
        words.append(Word(word=shown, start=at, end=after, probability=probability))
        at = after
    return tuple(words)


def bare(word: str) -> str:
    """Without case, space and punctuation, to compare by."""
    return "".join(character for character in word.casefold() if character.isalnum())
