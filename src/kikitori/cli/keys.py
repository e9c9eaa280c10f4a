"""``kikitori keys``: make, show and revoke API keys."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.config import load_settings, settings_flags
from kikitori.cli.exits import guarded, say
from kikitori.cli.flags import with_flags
from kikitori.cli.shared_flags import AsJson
from kikitori.cli.tables import print_table

if TYPE_CHECKING:
    from kikitori.store.keys import ApiKey, KeyStore

app = App(help="Make, show and revoke API keys.", no_args_is_help=True)
where = with_flags("settings", settings_flags(["data_dir", "database_url"]))


@app.command()
@guarded
@where
def create(
    *,
    name: Annotated[
        str, typer.Option("--name", "-n", metavar="TEXT", help="What the key is for: a device, a program.")
    ] = "key",
    owner: Annotated[
        str | None,
        typer.Option("--owner", "-o", metavar="NAME", help="Whose it is. Default: you, by the name of your login."),
    ] = None,
    scopes: Annotated[
        str,
        typer.Option(
            "--scopes",
            "-s",
            metavar="SCOPE,…",
            help="What it may do, with commas: transcribe, models (load and unload), admin (all).",
        ),
    ] = "transcribe",
    settings: dict[str, Any],
) -> None:
    """Make a key. Its secret is printed once, on stdout; nobody can show it again."""

    async def work() -> tuple[str, ApiKey]:
        async with open_keys(settings) as keys:
            return await keys.create(name, owner or _login(), scopes.split(","))

    secret, key = asyncio.run(work())
    say(f"Key {key.id} of {key.owner} may: {', '.join(sorted(key.scopes))}. Keep the secret, it is not shown again:")
    typer.echo(secret)


@app.command("list")
@guarded
@where
def list_keys(*, as_json: AsJson = False, settings: dict[str, Any]) -> None:
    """Show all keys, revoked ones too."""

    async def work() -> list[ApiKey]:
        async with open_keys(settings) as keys:
            return await keys.list()

    found = asyncio.run(work())
    if as_json:
        typer.echo(json.dumps([_plain(key) for key in found], ensure_ascii=False, indent=2))
    elif found:
        _show(found)
    else:
        say("There is no key yet. Make one with `kikitori keys create`.")


@app.command()
@guarded
@where
def revoke(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="Its number, its beginning as `list` shows it, or all of it.")
    ],
    *,
    settings: dict[str, Any],
) -> None:
    """End a key. Running servers refuse it within seconds."""

    async def work() -> ApiKey:
        async with open_keys(settings) as keys:
            return await keys.revoke(key)

    revoked = asyncio.run(work())
    say(f"Key {revoked.id} ({revoked.prefix}…, {revoked.name}, of {revoked.owner}) is revoked.")


@asynccontextmanager
async def open_keys(settings: dict[str, Any]) -> AsyncIterator[KeyStore]:
    """The keys of the server with these settings."""
    from kikitori.store.database import Database
    from kikitori.store.keys import KeyStore

    async with Database(load_settings(settings).database) as database:
        await database.upgrade()
        yield KeyStore(database)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user without a name
        return "admin"


def _plain(key: ApiKey) -> dict[str, Any]:
    times = {name: getattr(key, name) for name in ("created_at", "last_used_at", "revoked_at")}
    return {
        "id": key.id,
        "name": key.name,
        "owner": key.owner,
        "scopes": sorted(key.scopes),
        "prefix": key.prefix,
        **{name: time.isoformat() if time else None for name, time in times.items()},
    }


def _show(keys: list[ApiKey]) -> None:
    rows = []
    for key in keys:
        times = (
            f"{time:%Y-%m-%d %H:%M}" if time else "" for time in (key.created_at, key.last_used_at, key.revoked_at)
        )
        rows.append((str(key.id), f"{key.prefix}…", key.name, key.owner, ", ".join(sorted(key.scopes)), *times))
    print_table(("id", "key", "name", "owner", "may", "made", "last used", "revoked"), rows)
