"""A phrase in every language of the console."""

from __future__ import annotations

from typing import NamedTuple


class Phrase(NamedTuple):
    """The same in each language; ``{places}`` are filled in, and are the same in each, too."""

    en: str
    ja: str
    ko: str
    zh: str
