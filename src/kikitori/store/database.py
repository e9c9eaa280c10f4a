"""One database: its connections, its transactions, and errors that people understand."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import anyio.to_thread
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, create_engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from kikitori.errors import StoreFailed, Unavailable
from kikitori.store import migrate
from kikitori.store.urls import SQLITE, Backend, parse_url, shown, sync_url

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5
BUSY_TIMEOUT_MS = 10_000
"""How long a writer of SQLite waits for another one."""

OUR_MISTAKES = (IntegrityError, ProgrammingError, DataError, NotSupportedError)
"""Wrong statements or values. Any other error of a driver says that the database cannot be used."""

DEADLOCKS = frozenset({"40P01", "40001", 1213, 1205, 1020})
"""What PostgreSQL, MySQL and MariaDB say to a transaction that another one got in the way of."""
TRIES = 6
FIRST_PAUSE_SECONDS = 0.01

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Contended(StoreFailed):
    """The database chose this transaction to give way: nothing of it is stored, and it may be tried again."""


def retried(
    work: Callable[Arguments, Coroutine[Any, Any, Result]],
) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """``work`` is one transaction, begun again when another one came in between."""

    @functools.wraps(work)
    async def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        pause = FIRST_PAUSE_SECONDS
        for _ in range(TRIES - 1):
            try:
                return await work(*args, **kwargs)
            except (Contended, IntegrityError) as exc:
                logger.debug("transaction again", exc_info=exc, extra={"action": "transaction_again"})
                await asyncio.sleep(pause * random.random())
                pause *= 2
        return await work(*args, **kwargs)

    return wrapped


class Database:
    """A pool of connections. Used as ``async with``; ``upgrade()`` comes before the first query."""

    def __init__(self, url: str) -> None:
        self._url, self._backend = parse_url(url)
        self.shown = shown(self._url)
        """The URL without its password."""
        self._engine: AsyncEngine | None = None

    async def __aenter__(self) -> Self:
        if self._backend is SQLITE:
            _make_file(self._url)
        self._engine = create_async_engine(self._url, **_engine_arguments(self._backend))
        if self._backend is SQLITE:
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncConnection, None]:
        """A transaction that only reads."""
        with self._mapped():
            async with self._opened().begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncConnection, None]:
        """A transaction that may write: committed at the end, rolled back on an error.

        SQLite takes its lock at once, so that a reader never fails when it turns into a writer.
        """
        with self._mapped():
            engine = self._opened().execution_options(sqlite_begin="IMMEDIATE")
            async with engine.begin() as connection:
                yield connection

    async def revision(self) -> str | None:
        """The last migration that was run here; None: none yet."""
        async with self.read() as connection:
            return await connection.run_sync(migrate.current_revision)

    async def upgrade(self) -> None:
        """Run the migrations that are missing. Several processes may do this at once: one works, the rest wait."""
        await anyio.to_thread.run_sync(self._upgrade)

    def _upgrade(self) -> None:
        arguments = _engine_arguments(self._backend, pooled=False)
        engine = create_engine(sync_url(self._url, self._backend), **arguments)
        if self._backend is SQLITE:
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        try:
            with self._mapped():
                migrate.upgrade(engine, self.shown)
        finally:
            engine.dispose()

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise RuntimeError("the database is not open: use `async with Database(url)`")
        return self._engine

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """What a driver says when it cannot go on, as Unavailable and without the password."""
        try:
            yield
        except OUR_MISTAKES:
            raise
        except (DBAPIError, PoolTimeout) as exc:
            logger.debug("database failed", exc_info=exc, extra={"action": "database_failed"})
            raise (Contended if _is_deadlock(exc) else StoreFailed)(
                f"The database {self.shown} cannot be used: {self._reason(exc)}.",
                remedy="Check that it runs, and KIKITORI_DATABASE_URL.",
                what="database",
            ) from exc

    def _reason(self, exc: BaseException) -> str:
        cause = getattr(exc, "orig", None) or exc
        words = " ".join(str(part) for part in cause.args if isinstance(part, str)) or type(cause).__name__
        line = next((line.strip() for line in words.splitlines() if line.strip()), type(cause).__name__)
        if self._url.password:
            line = line.replace(str(self._url.password), "***")
        return line.rstrip(".")


def _is_deadlock(exc: BaseException) -> bool:
    cause = getattr(exc, "orig", None)
    return cause is not None and (
        getattr(cause, "sqlstate", None) in DEADLOCKS or (bool(cause.args) and cause.args[0] in DEADLOCKS)
    )


def head_revision() -> str:
    """The last migration this version of Kikitori knows."""
    return migrate.head_revision()


def _engine_arguments(backend: Backend, *, pooled: bool = True) -> dict[str, Any]:
    arguments: dict[str, Any] = {"hide_parameters": True}
    if not pooled:
        arguments["poolclass"] = NullPool
    if backend is SQLITE:
        return arguments
    arguments["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
    # MySQL's default holds locks on rows that a statement looked at, and on the gaps between them.
    arguments["isolation_level"] = "READ COMMITTED"
    if pooled:
        arguments |= {"pool_pre_ping": True, "pool_recycle": 1_800, "pool_timeout": 10}
    return arguments


def _make_file(url: URL) -> None:
    """Make the file of SQLite, and its folder, where they are not there yet: for nobody's eyes but ours.

    SQLite itself would let everybody read it. The files that it puts beside it (-wal, -shm) are as open as this one.
    """
    path = Path(str(url.database)).absolute()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never opened when it is there: closing it again would end the locks that this process has on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as exc:
        raise Unavailable(
            f"The file {path} of the database cannot be made: {exc.strerror}.",
            remedy="Choose another with KIKITORI_DATA_DIR or KIKITORI_DATABASE_URL.",
        ) from exc


def _prepare_sqlite(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """Waiting instead of failing; real foreign keys; transactions begun by us, not by the driver."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")
