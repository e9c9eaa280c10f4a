from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kikitori.cli.db import app
from kikitori.store.database import head_revision

pytestmark = pytest.mark.usefixtures("data_dir")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def test_looking_makes_no_database(data_dir: Path) -> None:
    done = run("current")
    assert (done.exit_code, done.stdout) == (0, "none\n")
    assert "kikitori db upgrade" in done.stderr
    assert not data_dir.exists()


def test_a_database_is_made_and_upgraded(data_dir: Path) -> None:
    made = run("upgrade")
    assert made.exit_code == 0
    assert f"kikitori.db is upgraded from nothing to {head_revision()}." in made.stderr
    again = run("upgrade")
    assert f"kikitori.db is at {head_revision()}, the newest." in again.stderr
    current = run("current")
    assert (current.stdout, current.stderr) == (f"{head_revision()}\n", "")


def test_a_database_of_a_newer_version_is_left_alone(data_dir: Path) -> None:
    run("upgrade")
    with sqlite3.connect(data_dir / "kikitori.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for command in ("current", "upgrade"):
        done = run(command)
        assert (done.exit_code, "newer Kikitori" in done.stderr) == (3, True)


def test_a_database_that_is_not_there_is_said_without_its_password() -> None:
    done = run("upgrade", "--database-url", "postgresql://u:s3cret@127.0.0.1:9/d")
    assert (done.exit_code, "cannot be used" in done.stderr, "s3cret" in done.stderr) == (3, True, False)
