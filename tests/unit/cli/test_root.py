from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import typer.main
from typer.testing import CliRunner

from kikitori import __version__
from kikitori.cli.root import Commands, app

RUN = [sys.executable, "-m", "kikitori"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *arguments], capture_output=True, text=True, env={**os.environ, **environment})


def test_help_lists_every_command_without_importing_it() -> None:
    program = (
        "import json, sys\n"
        "from kikitori.cli.root import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: print(json.dumps([*sys.modules]), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert all(f"  {entry.name} " in done.stdout for entry in Commands.entries)
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert not loaded & {entry.module for entry in Commands.entries}
    assert not loaded & {
        "numpy",
        "av",
        "ctranslate2",
        "onnxruntime",
        "fastapi",
        "sqlalchemy",
        "httpx",
        "pydantic",
        "rich",
    }


@pytest.mark.parametrize("entry", Commands.entries, ids=lambda entry: entry.name)
def test_every_command_has_help(entry: object) -> None:
    name = getattr(entry, "name")  # noqa: B009
    shown = CliRunner().invoke(app, [name, "-h"])
    assert shown.exit_code == 0
    assert f"Usage: root {name}" in shown.output or f"Usage: kikitori {name}" in shown.output


def test_help_speaks_to_people_not_to_python() -> None:
    """Typer shows the Python type of an option that has no word for its value."""
    group = typer.main.get_command(app)
    assert isinstance(group, Commands)
    loaded = [group.load(entry.name) for entry in group.entries]
    commands = [each for command in loaded for each in getattr(command, "commands", {"": command}).values()]
    assert len(commands) > len(loaded)
    wordless = [
        f"{command.name} {parameter.name}"
        for command in commands
        for parameter in command.params
        if not (parameter.metavar or getattr(parameter, "is_flag", False))
    ]
    assert wordless == []


def test_the_version_is_said_in_three_ways() -> None:
    for arguments in (["--version"], ["-V"], ["version"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0
        assert done.output.startswith(f"kikitori {__version__}")


def test_a_mistyped_command_is_guessed() -> None:
    done = run("trnscribe", "x.wav")
    assert done.returncode == 2
    assert "Did you mean 'transcribe'?" in done.stderr
    assert done.stdout == ""


def test_no_command_shows_help() -> None:
    done = run()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("kikitori ", "transcribe"),
        ("kikitori tr", "transcribe"),
        ("kikitori keys ", "revoke"),
        ("kikitori transcribe --beam", "--beam-size"),
        ("kikitori transcribe --task ", "translate"),
        ("kikitori transcribe -f s", "srt"),
        ("kikitori serve --log-f", "--log-format"),
    ],
)
def test_the_shell_completes(typed: str, offered: str) -> None:
    done = CliRunner().invoke(app, prog_name="kikitori", env=completing(typed))
    assert (done.exit_code, offered in done.stdout.split()) == (0, True)


def completing(typed: str) -> dict[str, str]:
    """The environment in which Bash asks what may come next."""
    return {
        "_KIKITORI_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(" ")) - 1),
    }


def test_the_shell_completes_by_a_process() -> None:
    assert "transcribe" in run(**completing("kikitori ")).stdout.split()


def test_commands_are_loaded_by_name() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, Commands)
    assert [group.load(entry.name).name for entry in group.entries] == [entry.name for entry in group.entries]
