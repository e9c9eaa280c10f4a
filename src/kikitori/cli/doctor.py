"""``kikitori doctor``: what works here, what does not, and what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.config import load_settings
from kikitori.cli.exits import ExitCode, guarded
from kikitori.cli.flags import with_flags
from kikitori.cli.serve import serve_flags
from kikitori.cli.shared_flags import AsJson

app = App()

MARKS = {"ok": ("ok  ", "green"), "off": ("off ", "bright_black"), "warn": ("warn", "yellow"), "fail": ("fail", "red")}


@app.command(epilog="Exit codes: 0 nothing failed; 1 something did.")
@guarded
@with_flags("settings", serve_flags())
def doctor(
    *,
    load: Annotated[bool, typer.Option("--load", help="Load the default model too, and let it hear a sample.")] = False,
    as_json: AsJson = False,
    settings: dict[str, Any],
) -> None:
    """Check this installation, with the settings a server would have."""
    from kikitori.cli.checks import Line, State, all_lines

    loaded = load_settings(settings)
    lines: list[Line] = []
    for line in all_lines(loaded, load=load):
        lines.append(line)
        if not as_json:
            _show(line)
    if as_json:
        typer.echo(json.dumps([asdict(line) for line in lines], ensure_ascii=False, indent=2))
    failed = sum(line.state is State.FAIL for line in lines)
    if failed and not as_json:
        typer.echo(f"\n{failed} of {len(lines)} checks failed.")
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)


def _show(line: Any) -> None:
    mark, color = MARKS[line.state]
    typer.echo(f"{typer.style(mark, fg=color)}  {line.name:<22} {' '.join(line.detail.split())}")
    if line.remedy:
        typer.echo(f"      → {line.remedy}")
