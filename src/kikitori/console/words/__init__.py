"""What the console says, in the language of its reader."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from kikitori.console.words.phrase import Phrase

TABLES = ("common", "file", "live", "tasks", "models")
"""A module each: ``WORDS`` maps keys to phrases, and every key begins with the name of its table and a point."""


def say(key: str, **facts: object) -> str:
    """The phrase ``key`` with ``facts`` in its {places}. Raises KeyError for a key that is in no table."""
    from kikitori.console.here import language

    return say_in(language(), key, **facts)


def say_in(language: str, key: str, **facts: object) -> str:
    """As ``say``, in a language of ours."""
    phrase: str = getattr(words()[key], language)
    return phrase.format(**facts) if facts else phrase


@cache
def words() -> Mapping[str, Phrase]:
    """All tables as one."""
    return {key: phrase for table in TABLES for key, phrase in table_of(table).items()}


def table_of(name: str) -> Mapping[str, Phrase]:
    table: Mapping[str, Phrase] = import_module(f"kikitori.console.words.{name}").WORDS
    return table
