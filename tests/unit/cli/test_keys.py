from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kikitori.cli.keys import app

pytestmark = pytest.mark.usefixtures("data_dir")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def test_a_key_is_made_shown_and_revoked(data_dir: Path) -> None:
    made = run("create", "--name", "laptop", "--owner", "mika", "--scopes", "transcribe,models")
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert secret.startswith("kk_")
    assert "\n" not in secret
    assert "Key 1 of mika may: models, transcribe." in made.stderr
    assert secret not in made.stderr
    assert (data_dir / "kikitori.db").exists()

    shown = run("list").stdout
    assert secret not in shown
    assert all(word in shown for word in (secret[:11], "laptop", "mika", "models, transcribe"))
    (key,) = json.loads(run("list", "--json").stdout)
    assert (key["id"], key["prefix"], key["revoked_at"]) == (1, secret[:11], None)

    revoked = run("revoke", secret[:11])
    assert revoked.exit_code == 0
    assert "is revoked" in revoked.stderr
    (key,) = json.loads(run("list", "--json").stdout)
    assert key["revoked_at"].endswith("+00:00")


def test_without_keys_the_list_says_how_to_make_one() -> None:
    shown = run("list")
    assert shown.stdout == ""
    assert "kikitori keys create" in shown.stderr
    assert json.loads(run("list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("revoke", "7"), 1, "There is no key '7'. `kikitori keys list` shows them."),
        (("create", "--scopes", "root"), 2, "--scopes is 'root'. Allowed: one or more of transcribe, models, admin."),
        (("create", "--name", ""), 2, "--name is ''"),
        (("list", "--database-url", "oracle://h/d"), 2, "--database-url is"),
        (("list", "--database-url", "postgresql://u:s3cret@127.0.0.1:9/d"), 3, "cannot be used"),
        (("list", "--config", "none.toml"), 2, "--config is 'none.toml'"),
        (("create", "--wrong"), 2, "No such option"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr
    assert done.stdout == ""


def test_debug_shows_where_an_error_comes_from() -> None:
    done = run("revoke", "7", "--debug")
    assert done.exit_code == 1
    assert "Traceback" in done.stderr
