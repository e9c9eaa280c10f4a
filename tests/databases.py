"""Databases for tests: SQLite always, PostgreSQL and MariaDB where they answer.

Where: KIKITORI_TEST_POSTGRESQL_URL and KIKITORI_TEST_MYSQL_URL, by default servers on this machine. Each test run makes
databases of its own and drops them. A server that does not answer skips its tests, and fails them where CI=true.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from kikitori.store.database import Database
from kikitori.store.urls import parse_url, sync_url

SERVERS = {
    "postgresql": os.environ.get("KIKITORI_TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mysql": os.environ.get("KIKITORI_TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306/mysql"),
}
DATABASES = ["sqlite", *(pytest.param(name, marks=pytest.mark.service) for name in SERVERS)]
"""Parameters of fixtures."""

_templates: list[Path] = []


@contextmanager
def fresh_database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database, which is gone afterwards."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'new' / 'kikitori.db'}"
        return
    server, backend = parse_url(SERVERS[kind])
    name = f"kikitori_test_{secrets.token_hex(6)}"
    admin = sync_url(server, backend)
    try:
        _run(admin, f"CREATE DATABASE {name}")
    except OperationalError:
        pytest.skip(f"no {kind} answers here")
    yield make_url(SERVERS[kind]).set(database=name).render_as_string(hide_password=False)
    _run(admin, f"DROP DATABASE {name}")


def _run(url: URL, statement: str) -> None:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


async def migrated_sqlite(path: Path) -> str:
    """The URL of a new database at ``path`` with all tables, copied: migrations take longer than most tests."""
    if not _templates:
        folder = Path(tempfile.mkdtemp(prefix="kikitori-tests-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        async with Database(f"sqlite+aiosqlite:///{folder / 'tasks.db'}") as database:
            await database.upgrade()
        _templates.append(folder / "tasks.db")
    _copy(_templates[0], path)
    return f"sqlite+aiosqlite:///{path}"


def _copy(template: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(template, path)
