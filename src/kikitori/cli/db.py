"""``kikitori db``: the database and its migrations."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.config import load_settings, settings_flags
from kikitori.cli.exits import guarded, say
from kikitori.cli.flags import with_flags
from kikitori.errors import Unavailable

app = App(help="Show and upgrade the database.", no_args_is_help=True)
where = with_flags("settings", settings_flags(["data_dir", "database_url"]))


@app.command()
@guarded
@where
def upgrade(*, settings: dict[str, Any]) -> None:
    """Run the migrations that are missing; a new database is made.

    A server does this by itself when it starts. Running it before is for several nodes, and for databases whose tables
    another user may change.
    """
    from kikitori.store.database import Database, head_revision

    async def work() -> tuple[str, str | None, str | None]:
        async with Database(load_settings(settings).database) as database:
            before = await database.revision()
            await database.upgrade()
            return database.shown, before, await database.revision()

    shown, before, after = asyncio.run(work())
    if before == after == head_revision():
        say(f"{shown} is at {after}, the newest.")
    else:
        say(f"{shown} is upgraded from {before or 'nothing'} to {after}.")


@app.command()
@guarded
@where
def current(*, settings: dict[str, Any]) -> None:
    """Show which migration the database is at, and the newest there is. Nothing is made or changed."""
    from kikitori.cli.checks.server import database_is_there
    from kikitori.store.database import Database, head_revision

    loaded = load_settings(settings)
    database = Database(loaded.database)

    async def look() -> str | None:
        async with database:
            return await database.revision()

    revision = asyncio.run(look()) if database_is_there(loaded) else None
    head = head_revision()
    if revision is not None and revision > head:
        raise Unavailable(
            f"The database {database.shown} is at {revision}: it was made by a newer Kikitori.",
            remedy="Update Kikitori, or use another database.",
        )
    typer.echo(revision or "none")
    if revision != head:
        say(f"The newest is {head}: `kikitori db upgrade` brings it there.")
