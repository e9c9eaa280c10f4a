"""The pages say what is true: links lead somewhere, every logged action is explained, every command of make exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INNER = [page for page in ROOT.glob("t*/**/README.md") if "node_modules" not in page.parts]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *INNER])


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_named_files_exist(page: Path) -> None:
    """What is written as `docs/…`, `tests/…`, `tools/…` or `src/…`."""
    named = re.findall(r"`((?:docs|tests|tools|src|requirements)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_make_has_every_target_that_the_pages_name() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"`make (?:[A-Z]+=\S+ )?([a-z-]+)", page.read_text(encoding="utf-8"))
    }
    assert named <= targets


def test_every_logged_action_is_explained_at_its_level() -> None:
    """Rows ``| `action` | level | …`` of docs/logging.md are the calls of loggers in the source."""
    text = (ROOT / "docs" / "logging.md").read_text(encoding="utf-8")
    explained = {
        (action, level)
        for action, cell in re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", text, flags=re.MULTILINE)
        for level in cell.split(", ")
    }
    logged = logged_actions()
    assert explained <= logged
    assert {action for action, _ in explained} == {action for action, _ in logged}


def logged_actions() -> set[tuple[str, str]]:
    """Action and level of each ``logger.<level>(…, extra={"action": …})``."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and _is_logger_call(call):
                levels = _levels(call)
                found |= {(action, level) for action in _actions(call, path) for level in levels}
    return found


def _is_logger_call(call: ast.Call) -> bool:
    function = call.func
    return isinstance(function, ast.Attribute) and ast.unparse(function.value) == "logger"


def _levels(call: ast.Call) -> set[str]:
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr != "log":
        return {"error" if call.func.attr == "exception" else call.func.attr}
    return {level.lower() for level in re.findall(r"logging\.([A-Z]+)", ast.unparse(call.args[0]))}


def _actions(call: ast.Call, path: Path) -> set[str]:
    extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
    if isinstance(extra, ast.Name):  # built just before
        source = path.read_text(encoding="utf-8")
        return set(re.findall(rf'{extra.id} = {{"action": "(\w+)"', source))
    assert isinstance(extra, ast.Dict), f"{path}:{call.lineno} logs without an action"
    value = next(value for key, value in zip(extra.keys, extra.values, strict=True) if _is_action(key))
    return {str(node.value) for node in _results(value) if isinstance(node, ast.Constant)}


def _results(value: ast.expr) -> list[ast.expr]:
    return [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]


def _is_action(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "action"
