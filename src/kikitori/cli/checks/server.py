"""What a server needs: a folder, a database, an address, keys, certificates."""

from __future__ import annotations

import os
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kikitori.cli.checks.lines import Line, State

if TYPE_CHECKING:
    from kikitori.settings import Settings

GIB = 1024**3
LITTLE_SPACE_BYTES = 2 * GIB
NO_SPACE_BYTES = 100 * 1024**2


def check_data_folder(settings: Settings) -> Iterator[Line]:
    folder = settings.data_dir
    there = next(path for path in (folder, *folder.parents) if path.exists())
    problem = _write_problem(folder) if there == folder else "" if _may_make(there) else f"{there} is not yours"
    if problem:
        remedy = "Choose another with --data-dir or KIKITORI_DATA_DIR."
        detail = f"{folder} cannot be written: {problem}."
        yield Line(name="data folder", state=State.FAIL, detail=detail, remedy=remedy)
        return
    free = shutil.disk_usage(there).free
    state = State.FAIL if free < NO_SPACE_BYTES else State.WARN if free < LITTLE_SPACE_BYTES else State.OK
    remedy = "" if state is State.OK else "Free some space: a large model takes 3 GiB."
    note = "" if there == folder else " will be made"
    yield Line(name="data folder", state=state, detail=f"{folder}{note}, {free / GIB:.1f} GiB free", remedy=remedy)


def _write_problem(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


def _may_make(parent: Path) -> bool:
    return parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)


def check_database(settings: Settings) -> Iterator[Line]:
    import asyncio

    from kikitori.store.database import Database, head_revision

    database = Database(settings.database)
    if not database_is_there(settings):
        yield Line(name="database", state=State.OK, detail=f"{database.shown} will be made on the first start")
        return

    async def current() -> str | None:
        async with database:
            return await database.revision()

    revision, head = asyncio.run(current()), head_revision()
    if revision is not None and revision > head:
        remedy = "Update Kikitori, or use another database."
        detail = f"{database.shown} was made by a newer Kikitori."
        yield Line(name="database", state=State.FAIL, detail=detail, remedy=remedy)
        return
    note = "" if revision == head else "; it will be upgraded on the next start"
    yield Line(name="database", state=State.OK, detail=f"{database.shown} answers{note}")


def check_keys(settings: Settings) -> Iterator[Line]:
    """The rule that keeps a server private."""
    import asyncio

    from kikitori.errors import InvalidInput, Unavailable
    from kikitori.store.database import Database
    from kikitori.store.keys import KeyStore
    from kikitori.web.binding import require_private

    async def count() -> int:
        async with Database(settings.database) as database:
            if await database.revision() is None:
                return 0
            return sum(key.revoked_at is None for key in await KeyStore(database).list())

    try:
        live = asyncio.run(count()) if database_is_there(settings) else 0
        require_private(settings.host, has_keys=live > 0, insecure=settings.insecure)
    except Unavailable:
        return  # the check of the database says so
    except InvalidInput as exc:
        yield Line(name="keys", state=State.FAIL, detail=exc.message, remedy=exc.remedy)
        return
    detail = f"{live} in use" if live else f"None: everybody who reaches {settings.host} may use the server"
    open_to_all = settings.insecure and not live
    remedy = "`kikitori keys create` makes one." if open_to_all else ""
    yield Line(name="keys", state=State.WARN if open_to_all else State.OK, detail=detail, remedy=remedy)


def check_media_store(settings: Settings) -> Iterator[Line]:
    """Writes, reads and deletes; a folder that is not there yet must not be made by looking."""
    import asyncio

    from kikitori.media.store import MediaStore

    folder = settings.data_dir / "media"
    if not settings.media_url and not folder.exists():
        yield Line(name="media store", state=State.OK, detail=f"{folder} will be made on the first start")
        return
    asyncio.run(MediaStore(settings.media_url, settings.data_dir).check())
    where = f"{folder}" if not settings.media_url else "KIKITORI_MEDIA_URL"
    yield Line(name="media store", state=State.OK, detail=f"{where} can be written and read")


def check_nodes(settings: Settings) -> Iterator[Line]:
    """Who works on tasks now."""
    import asyncio
    from datetime import UTC, datetime

    from kikitori.cli.nodes import read_nodes, state_of
    from kikitori.errors import Unavailable

    try:
        found = asyncio.run(read_nodes(settings))
    except Unavailable:
        return  # the check of the database says so
    states = [(state_of(node, datetime.now(UTC)), node.slots) for node in found if node.stopped_at is None]
    alive = [slots for state, slots in states if state == "alive"]
    if not states:
        yield Line(name="nodes", state=State.OFF, detail="None runs now: tasks wait.")
        return
    silent = len(states) - len(alive)
    detail = f"{len(alive)} alive, with places for {sum(alive)} tasks" + (f"; {silent} silent" if silent else "")
    remedy = "Its tasks go to the others: `kikitori nodes` shows it." if silent else ""
    if not sum(alive):
        remedy = "Nobody works on tasks: start `kikitori worker`, or `kikitori serve` without --no-worker."
    yield Line(name="nodes", state=State.WARN if remedy else State.OK, detail=detail, remedy=remedy)


def database_is_there(settings: Settings) -> bool:
    """A file of SQLite that is not there yet must not be made by looking."""
    from kikitori.store.urls import SQLITE, parse_url

    url, backend = parse_url(settings.database)
    return backend is not SQLITE or Path(str(url.database)).exists()


def check_address(settings: Settings) -> Iterator[Line]:
    """Whether a server could listen; a Kikitori that already does is fine."""
    import httpx

    from kikitori.errors import Unavailable
    from kikitori.web.binding import open_sockets, shown_url

    scheme = "https" if settings.tls_cert else "http"
    try:
        sockets = open_sockets(settings.host, settings.port)
    except Unavailable as exc:
        address = f"{scheme}://{'127.0.0.1' if settings.host in ('', '0.0.0.0') else settings.host}:{settings.port}"
        try:
            answer = httpx.get(f"{address}/health/live", timeout=2, verify=False, trust_env=False)
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.is_success:
            yield Line(name="address", state=State.OK, detail=f"A server answers at {address} already.")
        else:
            yield Line(name="address", state=State.FAIL, detail=exc.message, remedy=exc.remedy)
        return
    url = shown_url(sockets, tls=settings.tls_cert is not None)
    for each in sockets:
        each.close()
    yield Line(name="address", state=State.OK, detail=f"{url} is free")


def check_tls(settings: Settings) -> Iterator[Line]:
    if not settings.tls_cert and not settings.tls_key:
        return
    try:
        if not (settings.tls_cert and settings.tls_key):
            raise ValueError("one of the two is missing")
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        remedy = "--tls-cert and --tls-key name a certificate chain and its private key, both PEM."
        yield Line(name="tls", state=State.FAIL, detail=f"{exc}", remedy=remedy)
        return
    yield Line(name="tls", state=State.OK, detail=f"{settings.tls_cert}")
