"""Words compared with words. Pure."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kikitori.cli.bench.truth import TrueWord

CHARACTER_LANGUAGES = frozenset({"ja", "lo", "my", "th", "yue", "zh"})
"""Written without spaces: compared by character."""
REPEAT_LENGTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """What an alignment found."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference: int = 0
    """Words there should be."""

    @property
    def rate(self) -> float:
        return (self.substitutions + self.deletions + self.insertions) / self.reference if self.reference else 0.0

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            substitutions=self.substitutions + other.substitutions,
            deletions=self.deletions + other.deletions,
            insertions=self.insertions + other.insertions,
            reference=self.reference + other.reference,
        )


def normalize(text: str, language: str) -> list[str]:
    """The words of ``text`` (characters, in scripts without spaces) without case and punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(character if _counts(character) else " " for character in folded if character not in "'’")
    return list("".join(kept.split())) if language in CHARACTER_LANGUAGES else kept.split()


def _counts(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


def normalize_truth(words: Sequence[TrueWord], language: str) -> list[TrueWord]:
    """As ``normalize``, with times; the units of one word share its time evenly."""
    return list(_split(words, language))


def _split(words: Sequence[TrueWord], language: str) -> Iterator[TrueWord]:
    for word in words:
        units = normalize(word.word, language)
        share = (word.end - word.start) / max(1, len(units))
        for number, unit in enumerate(units):
            begin = word.start + number * share
            yield TrueWord(word=unit, start=begin, end=begin + share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The fewest changes that make what was heard of what was said."""

    errors: Errors
    equal: tuple[tuple[int, int], ...]
    """Pairs of positions: said, heard."""
    deleted: frozenset[int]
    """Positions of words that were said, and have nothing in their place."""


def align(reference: Sequence[str], heard: Sequence[str]) -> Alignment:
    """``reference`` is what was said."""
    rows, columns = len(reference), len(heard)
    cost = [[0] * (columns + 1) for _ in range(rows + 1)]
    for row in range(rows + 1):
        cost[row][0] = row
    cost[0] = list(range(columns + 1))
    for row in range(1, rows + 1):
        above, here, wanted = cost[row - 1], cost[row], reference[row - 1]
        for column in range(1, columns + 1):
            change = above[column - 1] + (wanted != heard[column - 1])
            here[column] = min(change, above[column] + 1, here[column - 1] + 1)
    return _walk_back(cost, reference, heard)


def _walk_back(cost: list[list[int]], reference: Sequence[str], heard: Sequence[str]) -> Alignment:
    row, column = len(reference), len(heard)
    substitutions = insertions = 0
    equal: list[tuple[int, int]] = []
    deleted: set[int] = set()
    while row or column:
        here = cost[row][column]
        same = row and column and reference[row - 1] == heard[column - 1]
        if row and column and cost[row - 1][column - 1] + (not same) == here:
            row, column = row - 1, column - 1
            if same:
                equal.append((row, column))
            else:
                substitutions += 1
        elif row and cost[row - 1][column] + 1 == here:
            row -= 1
            deleted.add(row)
        else:
            column -= 1
            insertions += 1
    errors = Errors(
        substitutions=substitutions, deletions=len(deleted), insertions=insertions, reference=len(reference)
    )
    return Alignment(errors=errors, equal=tuple(equal[::-1]), deleted=frozenset(deleted))


def common_beginning(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words both begin with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def repeats(reference: Sequence[str], heard: Sequence[str]) -> int:
    """Runs of four words that were heard more often than they were said."""
    extra = _runs(heard) - _runs(reference)
    return sum(count for run, count in extra.items() if _runs(heard)[run] > 1)


def _runs(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + REPEAT_LENGTH]) for at in range(len(words) - REPEAT_LENGTH + 1))
