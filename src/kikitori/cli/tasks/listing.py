"""``kikitori tasks list`` and ``show``."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.exits import guarded, say
from kikitori.cli.flags import Flag, with_flags
from kikitori.cli.shared_flags import DEFAULT_URL, ApiKey, ServerUrl
from kikitori.cli.tables import print_table
from kikitori.cli.tasks.access import AsJson, Ids, ask, for_each
from kikitori.cli.tasks.facts import COLUMNS, PRIORITIES, line_of, row_of, sheet_of
from kikitori.cli.tasks.times import parse_moment
from kikitori.errors import InvalidOption

if TYPE_CHECKING:
    from kikitori.cli.tasks.client import TaskClient

PAGE = 200
"""The most a server gives at once."""
STATUSES = ("queued", "fetching", "running", "succeeded", "failed", "cancelled", "expired")
SORTS = ("created_at", "finished_at", "duration", "priority", "status")
MOMENTS = ("created_after", "created_before", "finished_after", "finished_before")
STATUS_STYLES = {"succeeded": "green", "failed": "red", "running": "cyan", "fetching": "cyan", "expired": "yellow"}
TO_THE_RIGHT = frozenset({"done", "created", "length"})
OF_WIDE_TERMINALS = frozenset({"priority", "length", "language"})
WIDE_COLUMNS = 110
LAST = COLUMNS[-1]
"""The column that gives way."""
EPILOG = (
    "In a pipe each task is a line of cells with tabs between: id, status, percent, priority, time, seconds of audio, "
    "language, name. So `kikitori tasks list --status failed | cut -f1 | xargs kikitori tasks retry`."
)


def filter_flags() -> list[Flag]:
    """One for each filter of the API, by the same name."""

    def flag(name: str, help: str, **more: Any) -> Flag:
        return Flag(name=name, help=help, panel="Filters", **more)

    ago = "A time such as 2026-03-01, or how long ago: 2h."
    return [
        flag("status", "Only these; several with commas.", choices=STATUSES, others=("-s",)),
        flag("priority", "Only these; several with commas.", choices=PRIORITIES),
        flag("tag", "With this tag."),
        flag("platform", "With this label."),
        flag("text", "With all these words in their text; `word*` finds all that begin so."),
        flag("language", "Spoken in this language.", others=("-l",)),
        flag("model", "Heard by this model."),
        flag("engine", "Heard by this engine."),
        flag("owner", "Of this owner; for keys that may see all."),
        flag("has_error", "With an error, or without.", switch=True),
        flag("created_after", ago, metavar="TIME"),
        flag("created_before", ago, metavar="TIME"),
        flag("finished_after", ago, metavar="TIME"),
        flag("finished_before", ago, metavar="TIME"),
    ]


def register(app: App) -> None:
    app.command("list", epilog=EPILOG)(list_tasks)
    app.command("show")(show)


@guarded
@with_flags("filters", filter_flags())
def list_tasks(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="At most so many.")] = 50,
    all_of_them: Annotated[bool, typer.Option("--all", "-a", help="However many there are.")] = False,
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            metavar="FIELD",
            help=f"By {', '.join(SORTS)}; with - before it: the greatest first.",
            autocompletion=lambda: [*SORTS],
        ),
    ] = "-created_at",
    as_json: AsJson = False,
    url: ServerUrl = DEFAULT_URL,
    api_key: ApiKey = "",
    filters: dict[str, Any],
) -> None:
    """Show tasks, the newest first."""
    now = datetime.now(UTC)
    _check("sort", [sort.removeprefix("-")], SORTS)
    query = {**read_filters(filters, now), "sort": sort}

    async def work(client: TaskClient) -> dict[str, Any]:
        return await read_list(client, query, sys.maxsize if all_of_them else limit)

    found = ask(url, api_key, work)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    elif not sys.stdout.isatty():
        for task in found["tasks"]:
            typer.echo(line_of(task))
    elif found["tasks"]:
        _print_rich(found, now)
    else:
        say("There is no such task." if filters else "There is no task. `kikitori tasks submit FILE` makes one.")


@guarded
def show(ids: Ids, *, as_json: AsJson = False, url: ServerUrl = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Show everything about tasks."""
    shown = 0

    async def work(client: TaskClient) -> Any:
        async def one(task_id: str) -> None:
            nonlocal shown
            task = await client.get(task_id)
            if as_json:
                typer.echo(json.dumps(task, ensure_ascii=False, indent=2))
                return
            if shown:
                typer.echo()
            shown += 1
            print_table((), sheet_of(task))

        return await for_each(ids, one)

    raise typer.Exit(ask(url, api_key, work))


def read_filters(filters: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """What was typed, as the API wants it. Raises InvalidOption."""
    query = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in filters.items()}
    for name, allowed in (("status", STATUSES), ("priority", PRIORITIES)):
        _check(name, query.get(name, "").split(","), allowed)
    return {name: parse_moment(value, name, now) if name in MOMENTS else value for name, value in query.items()}


def _check(name: str, values: Iterable[str], allowed: Sequence[str]) -> None:
    """Raises InvalidOption."""
    for value in values:
        if value.strip() not in ("", *allowed):
            raise InvalidOption(name, value, ", ".join(allowed))


async def read_list(client: TaskClient, query: Mapping[str, str], limit: int) -> dict[str, Any]:
    """Up to ``limit`` tasks, page after page, as one list of the API."""
    tasks: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    async for page in _pages(client, query, limit):
        tasks += page["tasks"]
        last = page
    return {**last, "tasks": tasks}


async def _pages(client: TaskClient, query: Mapping[str, str], limit: int) -> AsyncIterator[dict[str, Any]]:
    cursor, wanted = "", limit
    while wanted > 0:
        at = {"cursor": cursor} if cursor else {}
        page = await client.page({**query, "limit": str(min(wanted, PAGE)), **at}.items())
        yield page
        wanted -= len(page["tasks"])
        cursor = page["next"]
        if not page["has_more"] or not cursor:
            return


def _print_rich(found: Mapping[str, Any], now: datetime) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    chosen = [name for name in COLUMNS if console.width >= WIDE_COLUMNS or name not in OF_WIDE_TERMINALS]
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = [dict(zip(COLUMNS, row_of(task, now=now), strict=True)) for task in found["tasks"]]
    for name in chosen:
        least = 0 if name == LAST else max(len(name), *(len(row[name]) for row in rows))
        justify: Any = "right" if name in TO_THE_RIGHT else "left"
        table.add_column(name, justify=justify, no_wrap=True, min_width=least, overflow="ellipsis")
    for task, row in zip(found["tasks"], rows, strict=True):
        style = STATUS_STYLES.get(task["status"], "")
        table.add_row(*(Text(row[name], style=style if name == "status" else "") for name in chosen))
    console.print(table)
    if found["has_more"]:
        more = "" if found.get("total_is_exact", True) else "more than "
        say(f"{len(rows)} of {more}{found['total']:,} tasks; --all shows the others.")
