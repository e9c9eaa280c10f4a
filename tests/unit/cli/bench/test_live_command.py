from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.bench.test_metrics import final, journal
from typer.testing import CliRunner

from kikitori.cli.bench.journal import write_journals
from kikitori.cli.exits import ExitCode
from kikitori.cli.root import app


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "run.jsonl"
    path.write_text(write_journals([journal(final(2.8, "The doctor goes."))]), encoding="utf-8")
    return path


def test_a_log_is_counted_again_as_json(log: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "live", "--from-log", str(log), "--json"])
    assert result.exit_code == ExitCode.OK, result.stderr
    found = json.loads(result.stdout)
    assert found["most_held"] == 1
    assert found["levels"][0]["final_p50"] == pytest.approx(0.9)


def test_a_log_is_counted_again_as_a_table(log: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "live", "--from-log", str(log)])
    assert "0.90 / 0.90" in result.stdout
    assert "Most sessions held in real time: 1, the most that were tried." in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "about"),
    [
        (["--from-log", "nowhere.jsonl"], ExitCode.FAILED, "nowhere.jsonl"),
        (["--sessions", "many"], ExitCode.USAGE, "--sessions"),
        (["--truth", "nowhere.json"], ExitCode.FAILED, "nowhere.json"),
        (["--language", "xx", "--url", "http://127.0.0.1:9"], ExitCode.FAILED, "'xx'"),
        (["--url", "http://127.0.0.1:9"], ExitCode.UNAVAILABLE, "does not answer"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments: list[str], code: ExitCode, about: str) -> None:
    result = CliRunner().invoke(app, ["bench", "live", *arguments])
    assert result.exit_code == code
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("kikitori: ")]
    assert about in line
