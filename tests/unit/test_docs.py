"""The pages made from the code are what the code says, and every setting, option, command and exit code is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kikitori.cli.exits import ExitCode
from kikitori.cli.root import Commands
from kikitori.options import option_table
from kikitori.settings import Settings
from kikitori.text.subtitle_options import layout_table

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def make_docs(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "make_docs.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment})


def test_the_pages_are_current() -> None:
    done = make_docs("--check")
    assert (done.returncode, done.stderr) == (0, "")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"| `KIKITORI_{name.upper()}` |" in page("settings.md")
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("name", [row.name for row in (*option_table(), *layout_table())])
def test_every_option_is_documented(name: str) -> None:
    assert f"| `{name}` |" in page("options.md")
    assert f"--{name.replace('_', '-')}" in page("cli.md")


def test_every_command_and_exit_code_is_documented() -> None:
    text = page("cli.md")
    assert [entry.name for entry in Commands.entries if f"## `kikitori {entry.name}`" not in text] == []
    assert [code for code in ExitCode if f"| {code.value} |" not in text] == []


def test_the_pages_are_the_same_everywhere(tmp_path: Path) -> None:
    odd = {"HOME": str(tmp_path), "COLUMNS": "40", "TERM": "dumb", "KIKITORI_PORT": "9", "KIKITORI_API_KEY": "s3cret"}
    assert make_docs("--check", **odd).returncode == 0
