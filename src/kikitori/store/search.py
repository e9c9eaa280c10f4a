"""What a text can be found by, the same on every database. Pure.

Words are found whole, whatever their case and accents; ``word*`` finds all that begin so. Scripts that are written
without spaces, and Korean, whose words carry endings, are found by any stretch of letters: their text is kept as every
stretch of one to three letters, and a longer one is asked for by all of its three letters.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_TERM = 40
"""Longer words are cut: what follows is hardly ever what tells two apart."""
LONGEST_STRETCH = 3
MAX_TERMS_BYTES = 1_000_000
"""A little less than PostgreSQL holds in one value: all of many hours of speech. What comes after it is not found."""
LEAST_PREFIX = 2

DENSE = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Burmese
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff"  # Hangul
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
INDIC_MARKS = "\u0900-\u0963\u0966-\u0dff"
"""Vowel signs: parts of a word that Python does not count as letters."""
RUN = re.compile(rf"[{DENSE}]+|(?:(?![{DENSE}_])[\w{INDIC_MARKS}])+")
QUERY = re.compile(rf"({RUN.pattern})(\*?)")
DENSE_RUN = re.compile(rf"[{DENSE}]")
ACCENTS = re.compile("[\u0300-\u036f]")
OWNER_MARK = "\ue000"
"""No text has it, so nobody finds another owner's text by naming the owner."""


@dataclass(frozen=True, slots=True)
class Term:
    text: str
    is_prefix: bool = False


def terms_of(text: str, owner: str) -> list[str]:
    """All that ``text`` is found by, each once; ``owner`` too, so that one's texts are found among a million."""
    found = dict.fromkeys([owner_term(owner)])
    for run in RUN.findall(_folded(text)):
        found.update(dict.fromkeys(_stretches(run) if DENSE_RUN.match(run) else [run[:MAX_TERM]]))
    return list(_bounded(found))


def query_terms(text: str) -> list[Term]:
    """What must all be in a text that is looked for; nothing: there is no word in ``text``."""
    found: dict[Term, None] = {}
    for run, star in QUERY.findall(_folded(text)):
        if DENSE_RUN.match(run):
            starts = range(max(1, len(run) - LONGEST_STRETCH + 1))
            found.update(dict.fromkeys(Term(run[at : at + LONGEST_STRETCH]) for at in starts))
        else:
            found[Term(run[:MAX_TERM], bool(star) and len(run) >= LEAST_PREFIX)] = None
    return list(found)


def owner_term(owner: str) -> str:
    return OWNER_MARK + hashlib.sha256(owner.encode()).hexdigest()[:16]


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    if plain.isascii():
        return plain
    # Only letters with accents are taken apart: syllables of Korean and voiced kana stay whole.
    return "".join(ACCENTS.sub("", unicodedata.normalize("NFD", c)) if _may_have_accent(c) else c for c in plain)


def _may_have_accent(letter: str) -> bool:
    return "\x7f" < letter < "\u0530" or "\u1e00" <= letter < "\u2000"


def _stretches(run: str) -> Iterator[str]:
    for at in range(len(run)):
        for end in range(at + 1, min(at + LONGEST_STRETCH, len(run)) + 1):
            yield run[at:end]


def _bounded(terms: Iterable[str]) -> Iterator[str]:
    left = MAX_TERMS_BYTES
    for term in terms:
        left -= len(term.encode())
        if left < 0:
            return
        yield term


def mysql_word(term: str) -> str:
    """A word that MySQL takes as it is: plain letters, long enough for its index, and none that it leaves out."""
    return "k" + term.encode().hex()
