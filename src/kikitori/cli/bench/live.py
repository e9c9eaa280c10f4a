"""``kikitori bench live``: how late live text is, how right, and how many sessions a machine holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kikitori.cli.apps import App
from kikitori.cli.exits import guarded, say
from kikitori.cli.flags import with_fields
from kikitori.cli.shared_flags import ApiKey, AsJson
from kikitori.errors import InvalidInput, InvalidOption

if TYPE_CHECKING:
    from kikitori.cli.bench.measuring import Measured, Plan

MOST_SESSIONS = 10_000
LEAST_WIDTH = 146
"""Columns that the table needs."""


def register(app: App) -> None:
    app.command()(live)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What was typed."""

    sessions: Annotated[
        str, typer.Option(metavar="N,…", help="How many clients at once: one number after the other.")
    ] = "1,2,4,8"
    search: Annotated[
        bool,
        typer.Option("--search", help="Stop at the first number that is too much, and find the largest that is not."),
    ] = False
    seconds: Annotated[float, typer.Option(metavar="X", min=5, max=3_600, help="How long each client speaks.")] = 60.0
    duty: Annotated[float, typer.Option(metavar="X", min=0.05, max=1, help="Part of the time that is speech.")] = 0.6
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="Model to listen with; default: the server's.", show_default=False)
    ] = ""
    language: Annotated[
        str, typer.Option("--language", "-l", metavar="CODE", help="Language of the recordings: en, ja, ko.")
    ] = "en"
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON that names recordings, words and times. Default: that of the repository.",
            show_default=False,
        ),
    ] = None
    endpoint_ms: Annotated[
        int, typer.Option(metavar="MS", min=100, max=10_000, help="Silence that ends an utterance.")
    ] = 500
    frame_ms: Annotated[int, typer.Option(metavar="MS", min=10, max=1_000, help="Length of a frame of audio.")] = 40
    interim: Annotated[bool, typer.Option(help="Ask for text that may still change.")] = True
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A further field of start, such as audio_context=10 or carry_context=false; may be repeated.",
            show_default=False,
        ),
    ] = None
    url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Measure this server. Default: one started for it.",
            show_default=False,
            rich_help_panel="Server",
        ),
    ] = ""
    api_key: ApiKey = ""
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what each client saw, a line of JSON each.", show_default=False),
    ] = None
    from_log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measure nothing: count again what a log says.", show_default=False),
    ] = None
    as_json: AsJson = False


@guarded
@with_fields("line")
def live(*, line: CommandLine) -> None:
    """Measure live text: how late, how right, how many sessions.

    Clients speak recordings at the speed they were spoken, over real sockets, and note which text comes when. A number
    of sessions is held in real time when 95 of 100 finals come within 1 s of the endpoint, the lag does not grow, and
    every session ends without an error.
    """
    from kikitori.cli.bench.journal import write_journals
    from kikitori.cli.bench.measuring import count_again, run_plan
    from kikitori.cli.outputs import write_whole

    if line.from_log is not None:
        show(count_again(_lines(line.from_log)), as_json=line.as_json)
        return
    measured = run_plan(plan_of(line), say)
    if line.log is not None:
        write_whole(line.log, write_journals(measured.journals).encode())
    show(measured, as_json=line.as_json)


def plan_of(line: CommandLine) -> Plan:
    """Raises InvalidOption."""
    from kikitori.cli.bench.measuring import Plan
    from kikitori.cli.bench.truth import REPOSITORY_TRUTH

    return Plan(
        counts=read_counts(line.sessions),
        search=line.search,
        seconds=line.seconds,
        duty=line.duty,
        truth=line.truth or REPOSITORY_TRUTH,
        language=line.language,
        model=line.model,
        start={"interim": line.interim, **read_fields(line.given or [])},
        endpoint_seconds=line.endpoint_ms / 1000,
        frame_seconds=line.frame_ms / 1000,
        url=line.url,
        api_key=line.api_key,
    )


def read_counts(text: str) -> tuple[int, ...]:
    """``"1,2,4"``. Raises InvalidOption."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and 1 <= int(part) <= MOST_SESSIONS for part in parts):
        raise InvalidOption("sessions", text, f"numbers from 1 to {MOST_SESSIONS} with commas, such as 1,2,4,8")
    return tuple(int(part) for part in parts)


def read_fields(given: Sequence[str]) -> dict[str, object]:
    """``["a=1", "b=text"]``: values are JSON, or else text. Raises InvalidOption."""
    fields: dict[str, object] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InvalidOption("set", item, "NAME=VALUE, such as carry_context=false")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields


def show(measured: Measured, *, as_json: bool) -> None:
    """On stdout."""
    from kikitori.cli.bench import report

    if as_json:
        typer.echo(report.as_json(measured))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for number, column in enumerate(report.COLUMNS):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in report.rows(measured):
        table.add_row(*row)
    console = Console(highlight=False)
    if console.width < LEAST_WIDTH:
        console = Console(highlight=False, width=LEAST_WIDTH)
    console.print(table)
    for line in (*report.findings(measured), report.NOTES):
        console.print(line)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be read: {exc.strerror}.", param="from_log") from exc
