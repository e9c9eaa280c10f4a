"""Everything is said in every language."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

import kikitori.console
from kikitori.console import here
from kikitori.console.words import TABLES, say_in, table_of, words
from kikitori.console.words.phrase import Phrase

FOLDER = Path(kikitori.console.__file__).parent


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_there_is_a_table_for_each_module() -> None:
    modules = {path.stem for path in (FOLDER / "words").glob("*.py")} - {"__init__", "phrase"}
    assert modules == set(TABLES)
    assert set(Phrase._fields) == set(here.LANGUAGES)


@pytest.mark.parametrize("table", TABLES)
def test_every_phrase_has_every_language_with_the_same_places(table: str) -> None:
    for key, phrase in table_of(table).items():
        assert key.startswith(f"{table}."), key
        assert all(text.strip() for text in phrase), key
        assert len({frozenset(places(text)) for text in phrase}) == 1, key


def test_every_key_that_is_said_is_there_and_every_phrase_is_said() -> None:
    said, stems = said_keys()
    assert sorted(said - words().keys()) == []
    unsaid = [key for key in words() if key not in said and not any(key.startswith(stem) for stem in stems)]
    assert unsaid == []


def said_keys() -> tuple[set[str], set[str]]:
    """Keys that are written out anywhere in the console, and the beginnings of those that are put together."""
    keys: set[str] = set()
    stems: set[str] = set()
    for path in FOLDER.rglob("*.py"):
        if path.parent.name == "words":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
                stems.add(str(node.values[0].value))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in words():
                keys.add(node.value)
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("say") and node.args:
                if isinstance(node.args[0], ast.Constant):
                    keys.add(str(node.args[0].value))
    return keys, {stem for stem in stems if re.match(rf"({'|'.join(TABLES)})\.", stem)}


def test_facts_are_filled_in() -> None:
    assert say_in("ja", "file.position", position=3) == "順番待ち：3 番目"


@pytest.mark.parametrize(
    ("wanted", "language"),
    [(["ja-JP"], "ja"), (["fr", "ko-KR", "en"], "ko"), (["zh_Hant_TW"], "zh"), (["fr"], "en"), ([], "en")],
)
def test_the_language_is_the_first_that_is_spoken(wanted: list[str], language: str) -> None:
    assert here.spoken(wanted) == language
