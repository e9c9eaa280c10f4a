"""Database URLs: which databases there are, and which driver speaks to each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from kikitori.errors import InvalidOption, Unavailable

EXAMPLES = "sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://USER:PASSWORD@HOST/DATABASE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A database we speak to: the driver of the event loop, and the blocking one of migrations."""

    name: str
    async_driver: str
    sync_driver: str
    module: str
    """What must be importable."""
    extra: str = ""
    """The extra of Kikitori that brings it; "": it is always there."""


SQLITE = Backend(name="sqlite", async_driver="aiosqlite", sync_driver="pysqlite", module="aiosqlite")
POSTGRESQL = Backend(name="postgresql", async_driver="psycopg", sync_driver="psycopg", module="psycopg")
MYSQL = Backend(name="mysql", async_driver="aiomysql", sync_driver="pymysql", module="aiomysql", extra="mysql")
BACKENDS = {"sqlite": SQLITE, "postgresql": POSTGRESQL, "postgres": POSTGRESQL, "mysql": MYSQL, "mariadb": MYSQL}


def parse_url(text: str) -> tuple[URL, Backend]:
    """The URL with the driver of the event loop, and its backend.

    Whatever driver the text names, ours is used. Raises InvalidOption, Unavailable; neither shows a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as exc:
        raise InvalidOption("database_url", "not a URL", EXAMPLES) from exc
    backend = BACKENDS.get(url.get_backend_name())
    if backend is None:
        raise InvalidOption("database_url", shown(url), EXAMPLES)
    if backend is SQLITE and url.database in (None, "", ":memory:"):
        raise InvalidOption("database_url", shown(url), "the path of a file: sqlite:////var/lib/kikitori/kikitori.db")
    if backend is not SQLITE and not url.database:
        raise InvalidOption("database_url", shown(url), f"a URL that names the database: {EXAMPLES}")
    if find_spec(backend.module) is None:
        remedy = f"Install it: pip install 'kikitori[{backend.extra}]'." if backend.extra else "Reinstall Kikitori."
        raise Unavailable(f"The driver of {backend.name} is not installed.", remedy=remedy)
    return url.set(drivername=f"{backend.name}+{backend.async_driver}"), backend


def sync_url(url: URL, backend: Backend) -> URL:
    """The same database for blocking code."""
    return url.set(drivername=f"{backend.name}+{backend.sync_driver}")


def shown(url: URL) -> str:
    """The URL for people: no driver, no password, no query (which may carry secrets too)."""
    plain = url.set(drivername=url.get_backend_name(), query={})
    return plain.render_as_string(hide_password=True)
