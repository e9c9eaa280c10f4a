"""The table of layers in docs/architecture.md is what the imports are."""

from __future__ import annotations

import ast
import graphlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
HEAVY = ("numpy", "ctranslate2", "av", "onnxruntime", "faster_whisper", "pocketsphinx", "torch", "whisper")
"""Slow to import."""


@dataclass(frozen=True, slots=True)
class Layer:
    number: int
    may_import: frozenset[str]
    """Parts (``text``) and modules (``audio.pcm``), besides layer 0."""


@dataclass(frozen=True, slots=True)
class Import:
    importer: str
    target: str
    at_start: bool
    """Runs when the importer is imported; not in a function, not for type checkers alone."""


@cache
def layers() -> dict[str, Layer]:
    """The rows ``| 2 | `engines` | `audio.pcm` | … |`` of the page, by part."""
    rows: dict[str, Layer] = {}
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| (\d) \| ([^|]*) \| ([^|]*) \|", line):
            names, targets = (re.findall(r"`([\w.]+)`", cell) for cell in match.groups()[1:])
            rows |= dict.fromkeys(names, Layer(int(match[1]), frozenset(targets)))
    return rows


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(found for path in sorted(SRC.rglob("*.py")) for found in imports_of(path))


def imports_of(path: Path) -> Iterator[Import]:
    module = ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = {id(inner) for node in ast.walk(tree) if _runs_later(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; write the whole name"
            targets = [_target(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        yield from (Import(module, target, id(node) not in later) for target in targets)


def _runs_later(node: ast.AST) -> bool:
    for_checkers = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return for_checkers or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _target(package: str, name: str) -> str:
    """``from kikitori.audio import pcm`` means the module, ``from kikitori.types import Word`` the module types."""
    path = SRC.joinpath(*package.split("."), name)
    return f"{package}.{name}" if path.with_suffix(".py").exists() or path.is_dir() else package


def part_of(module: str) -> str:
    """``kikitori.audio.pcm`` → ``audio``; the package itself, which holds the version only, is ``kikitori``."""
    return module.removeprefix("kikitori.").split(".")[0]


def test_every_part_has_a_row() -> None:
    found = {part_of(each.importer) for each in all_imports()} - {"kikitori"}
    assert found == set(layers())


def test_rows_name_lower_layers_only() -> None:
    for part, layer in layers().items():
        for target in layer.may_import:
            assert layers()[target.split(".")[0]].number < layer.number, f"{part} may not import {target}"


def test_imports_keep_to_the_table() -> None:
    wrong = []
    for each in all_imports():
        importer, target = part_of(each.importer), part_of(each.target)
        if not each.target.startswith("kikitori.") or importer == target or importer == "kikitori":
            continue
        allowed = layers()[importer].may_import | {part for part, layer in layers().items() if layer.number == 0}
        name = each.target.removeprefix("kikitori.")
        if not any(name == row or name.startswith(f"{row}.") for row in allowed):
            wrong.append(f"{each.importer} imports {each.target}")
    assert wrong == []


def test_no_module_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for each in all_imports():
        if each.at_start and each.target.startswith("kikitori"):
            graph.setdefault(each.importer, set()).add(each.target)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which shows the circle


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("torch", {"kikitori.engines.openai_whisper"}),
        ("whisper", {"kikitori.engines.openai_whisper"}),
        ("sqlalchemy", {"kikitori.store"}),
        ("alembic", {"kikitori.store"}),
        ("fastapi", {"kikitori.web"}),
        ("typer", {"kikitori.cli"}),
        ("rich", {"kikitori.cli"}),
    ],
)
def test_libraries_stay_at_home(library: str, homes: set[str]) -> None:
    users = {each.importer for each in all_imports() if each.target.split(".")[0] == library}
    assert {user for user in users if not any(f"{user}.".startswith(f"{home}.") for home in homes)} == set()


def test_engines_do_not_know_asyncio() -> None:
    users = {each.importer for each in all_imports() if each.target.split(".")[0] in ("asyncio", "anyio")}
    assert {user for user in users if part_of(user) == "engines"} == set()


@pytest.mark.parametrize(
    "module", ["kikitori.cli.root", *(f"kikitori.{name}" for name in ("types", "options", "settings"))]
)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    program = f"import json, sys, {module}; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in json.loads(done.stdout)} & set(HEAVY) == set()
