"""A text that grows, cut into pieces to be spoken: sentences, or clauses where one has to be quick."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 300
"""Characters; a text without any mark is cut at a space, or anywhere."""
SHORTEST = 2
FIRST_CLAUSE = 24
"""The first piece may end at a comma after so many: the sooner it ends, the sooner something is heard."""

_WIDE_ENDS = "。！？｡…⋯"
_ENDS = ".!?" + _WIDE_ENDS
_CLOSERS = "\"'”’»)]}」』）】》〉"
_CLAUSES = ",;:，、；：—–"
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“])(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|No|vs|etc|e\.g|i\.e|bzw|usw|z\.B|d\.h|Nr|ca|M|Mme|Sra|approx)\.$"
    r"|(?:^|\n)\s*\d+\.$"  # the numbers of a list
)
_MARKUP = re.compile(r"```\w*|`|\*{1,3}|_{2,3}|^\s{0,3}(?:#{1,6}|[-*+]|>)\s+", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_PICTURES = re.compile("[\u2190-\u21ff\u2300-\u23ff\u2500-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the text; ``end`` characters of the text are behind it."""

    text: str
    end: int


class SentenceCutter:
    """``push`` text as it comes; pieces together are the text, without what stands between them."""

    def __init__(self) -> None:
        self._waiting = ""
        self._done = 0
        self._first = True

    def push(self, text: str) -> list[Piece]:
        """The pieces that are complete now."""
        self._waiting += text
        pieces = []
        while (end := self._next_end()) is not None:
            pieces += self._cut(end)
        return pieces

    def finish(self) -> list[Piece]:
        """The rest."""
        return self._cut(len(self._waiting))

    def _cut(self, end: int) -> list[Piece]:
        text, self._waiting = self._waiting[:end], self._waiting[end:]
        self._done += end
        if not any(char.isalnum() for char in text):
            return []
        self._first = False
        return [Piece(text.strip(), self._done)]

    def _next_end(self) -> int | None:
        """Where the next piece ends; None: that is not known yet."""
        text = self._waiting
        for at, char in enumerate(text):
            if char == "\n" and text[:at].strip():
                return at + 1
            if char in _ENDS and (end := _sentence_end(text, at)):
                return end
            if char in _CLAUSES and self._first and (end := _clause_end(text, at)):
                return end
        return _forced_end(text) if len(text) > LONGEST else None


def speakable(text: str) -> str:
    """``text`` without what is for eyes: marks of Markdown, addresses of links, pictures. May be empty."""
    plain = _PICTURES.sub(" ", _MARKUP.sub("", _LINK.sub(r"\1", text)))
    plain = " ".join(plain.split())
    return plain if any(char.isalnum() for char in plain) else ""


def _sentence_end(text: str, at: int) -> int:
    """Where the sentence ends whose mark is at ``at``, with what closes it; 0: nowhere, or not known yet."""
    end = at + 1
    while end < len(text) and text[end] in _ENDS + _CLOSERS:
        end += 1
    if end == len(text):
        return 0  # more of it may come
    if text[end - 1] not in _WIDE_ENDS + _CLOSERS and text[at] not in _WIDE_ENDS and not text[end].isspace():
        return 0  # 3.14, example.org
    if text[at] in ".!?" and not text[end].isspace() and not _is_wide(text[end]):
        return 0
    if text[at] == "." and _ABBREVIATION.search(text[: at + 1]):
        return 0
    return end if len(text[:end].strip()) >= SHORTEST else 0


def _clause_end(text: str, at: int) -> int:
    if at < FIRST_CLAUSE and not (_is_wide(text[at]) and at * 2 >= FIRST_CLAUSE):
        return 0
    if at + 1 == len(text):
        return 0
    return at + 1 if text[at + 1].isspace() or _is_wide(text[at]) else 0


def _forced_end(text: str) -> int:
    space = text.rfind(" ", LONGEST // 2, LONGEST)
    return space + 1 if space > 0 else LONGEST


def _is_wide(char: str) -> bool:
    """Of the scripts that put no space between words, and their marks."""
    return char >= "\u2e80"
