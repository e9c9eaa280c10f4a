"""Alembic, run from inside: no alembic.ini, one process at a time, all or nothing where the database can."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from kikitori.errors import Unavailable

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "migrations"
LOCK_SECONDS = 60
LOCK_NAME = "kikitori_upgrade"
LOCK_NUMBER = 5_137_024_118
"""An advisory lock of PostgreSQL is a number: this one is ours."""

_one_at_a_time = threading.Lock()
"""Alembic keeps its context in module globals, so one process runs one upgrade at a time."""


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return made


def head_revision() -> str:
    head = ScriptDirectory.from_config(config()).get_current_head()
    if head is None:
        raise RuntimeError("the migrations are not part of this installation")
    return head


def current_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine, shown: str) -> None:
    """Bring the database behind ``engine`` to the head; ``shown`` is what messages call it."""
    head = head_revision()
    with _one_at_a_time, engine.connect() as connection:
        if current_revision(connection) == head:
            return
        connection.rollback()
        if connection.dialect.name == "sqlite":
            _write_ahead(connection)
        with _locked(connection):
            _run(connection, shown)
    logger.info("database upgraded", extra={"action": "database_upgraded", "revision": head})


def _run(connection: Connection, shown: str) -> None:
    settings = config()
    settings.attributes["connection"] = connection
    try:
        command.upgrade(settings, "head")
    except CommandError as exc:
        raise Unavailable(
            f"The database {shown} was made by a newer Kikitori.", remedy="Update Kikitori, or use another database."
        ) from exc


@contextmanager
def _locked(connection: Connection) -> Iterator[None]:
    """A transaction that no other process upgrades beside."""
    match connection.dialect.name:
        case "sqlite":
            connection = connection.execution_options(sqlite_begin="IMMEDIATE")
            with connection.begin():
                yield
        case "postgresql":
            with connection.begin():
                connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": LOCK_NUMBER})
                yield
        case _:
            with _named_lock(connection), connection.begin():
                yield


@contextmanager
def _named_lock(connection: Connection) -> Iterator[None]:
    """MySQL: statements that change tables commit at once, so the lock is held by the connection, not by a transaction.

    Its name holds the database, because such locks are shared by all databases of a server.
    """
    name = f"{LOCK_NAME}:{connection.engine.url.database}"[:64]
    got = connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": LOCK_SECONDS})
    taken = got.scalar() == 1
    connection.commit()
    if not taken:
        raise Unavailable("Another process has been upgrading the database for a minute.", remedy="Try again.")
    try:
        yield
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
        connection.commit()


def _write_ahead(connection: Connection) -> None:
    """Readers beside one writer; the file remembers it.

    The switch does not wait for other connections by itself, hence the loop. It needs to run outside of transactions.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    raw = connection.connection.dbapi_connection
    if raw is None:
        raise RuntimeError("the connection is closed")
    while True:
        cursor = raw.cursor()
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.fetchall()
            return
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > deadline:
                raise OperationalError("PRAGMA journal_mode = WAL", None, exc) from exc
            time.sleep(0.02)
        finally:
            cursor.close()
