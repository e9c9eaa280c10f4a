"""``kikitori nodes``: the processes that work on the tasks of a database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.config import load_settings, settings_flags
from kikitori.cli.exits import guarded, say
from kikitori.cli.flags import with_flags
from kikitori.cli.shared_flags import AsJson
from kikitori.cli.tables import print_table
from kikitori.errors import Unavailable

if TYPE_CHECKING:
    from kikitori.settings import Settings
    from kikitori.store.task_records import Node

app = App()

SILENT_SECONDS = 30.0
"""Without a heartbeat for so long, other nodes take over its tasks."""
HEAD = ("id", "host", "pid", "version", "slots", "started", "last heartbeat", "state")


@app.command()
@guarded
@with_flags("settings", settings_flags(["data_dir", "database_url"]))
def nodes(
    *,
    stopped: Annotated[bool, typer.Option("--all", "-a", help="Those that have ended, too.")] = False,
    as_json: AsJson = False,
    settings: dict[str, Any],
) -> None:
    """Show the servers and workers of a database; it is read directly, so it works while no server runs.

    A node with 0 slots takes tasks for the others. One that is silent has died or lost the database.
    """
    now = datetime.now(UTC)
    found = asyncio.run(read_nodes(load_settings(settings)))
    chosen = [node for node in found if stopped or node.stopped_at is None]
    if as_json:
        typer.echo(json.dumps([plain(node, now) for node in chosen], ensure_ascii=False, indent=2))
    elif chosen:
        print_table(HEAD, [_row(node, now) for node in chosen])
    else:
        say("No node runs. `kikitori serve` and `kikitori worker` start one.")


async def read_nodes(settings: Settings) -> Sequence[Node]:
    """All of the database. Raises Unavailable when it is not there, or has no place for them yet."""
    from kikitori.cli.checks.server import database_is_there
    from kikitori.store.database import Database, head_revision
    from kikitori.store.nodes import NodeStore

    database = Database(settings.database)
    if not database_is_there(settings):
        raise Unavailable(f"There is no database {database.shown}.", remedy="Check --database-url and --data-dir.")
    async with database:
        if await database.revision() != head_revision():
            raise Unavailable(
                f"The database {database.shown} is not the one of this version.", remedy="Run `kikitori db upgrade`."
            )
        return await NodeStore(database).list()


def state_of(node: Node, now: datetime) -> str:
    if node.stopped_at is not None:
        return "stopped"
    return "silent" if now - node.heartbeat_at > timedelta(seconds=SILENT_SECONDS) else "alive"


def plain(node: Node, now: datetime) -> dict[str, Any]:
    return {
        "id": node.id,
        "host": node.host,
        "pid": node.pid,
        "version": node.version,
        "slots": node.slots,
        "started_at": node.started_at.isoformat(),
        "heartbeat_at": node.heartbeat_at.isoformat(),
        "stopped_at": node.stopped_at.isoformat() if node.stopped_at else None,
        "state": state_of(node, now),
    }


def _row(node: Node, now: datetime) -> tuple[str, ...]:
    silence = max(0.0, (now - node.heartbeat_at).total_seconds())
    return (
        node.id,
        node.host,
        str(node.pid),
        node.version,
        str(node.slots),
        f"{node.started_at.astimezone():%Y-%m-%d %H:%M:%S}",
        f"{silence:.0f} s ago" if silence < 600 else f"{node.heartbeat_at.astimezone():%Y-%m-%d %H:%M:%S}",
        state_of(node, now),
    )
