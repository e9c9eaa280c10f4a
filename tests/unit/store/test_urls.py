from __future__ import annotations

from pathlib import Path

import pytest

from kikitori.errors import InvalidOption, Unavailable
from kikitori.store import urls
from kikitori.store.database import Database
from kikitori.store.urls import parse_url, shown, sync_url


@pytest.mark.parametrize(
    ("given", "used", "blocking"),
    [
        ("sqlite:////tmp/a.db", "sqlite+aiosqlite:////tmp/a.db", "sqlite+pysqlite:////tmp/a.db"),
        ("sqlite+aiosqlite:///a b.db", "sqlite+aiosqlite:///a b.db", "sqlite+pysqlite:///a b.db"),
        ("postgresql://u:p@h:5433/d", "postgresql+psycopg://u:p@h:5433/d", "postgresql+psycopg://u:p@h:5433/d"),
        ("postgres://h/d?sslmode=require", "postgresql+psycopg://h/d?sslmode=require", None),
        ("postgresql+asyncpg://h/d", "postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("mysql://u@h/d", "mysql+aiomysql://u@h/d", "mysql+pymysql://u@h/d"),
        ("mariadb://u@h/d?charset=utf8mb4", "mysql+aiomysql://u@h/d?charset=utf8mb4", None),
    ],
)
def test_the_driver_is_ours(given: str, used: str, blocking: str | None) -> None:
    url, backend = parse_url(given)
    assert url.render_as_string(hide_password=False) == used
    if blocking:
        assert sync_url(url, backend).render_as_string(hide_password=False) == blocking


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "kikitori.db",
        "oracle://u:secret@h/d",
        "postgresql://u:secret@h",
        "mysql://u:secret@h/",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:secret@h:port/d",
    ],
)
def test_a_wrong_url_names_the_field_and_what_is_allowed(wrong: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_url(wrong)
    assert caught.value.field == "database_url"
    assert "sqlite:///" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_people_see_no_password_and_no_query() -> None:
    url, _ = parse_url("postgresql://u:secret@h/d?sslpassword=secret2")
    assert shown(url) == "postgresql://u:***@h/d"


def test_a_driver_that_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install 'kikitori\[mysql\]'"):
        parse_url("mysql://u@h/d")


@pytest.mark.parametrize("url", ["postgresql://u:s3cret@127.0.0.1:9/d", "mysql://u:s3cret@127.0.0.1:9/d"])
async def test_a_database_that_does_not_answer_is_unavailable(url: str) -> None:
    async with Database(url) as database:
        for use in (database.ping, database.upgrade):
            with pytest.raises(Unavailable) as caught:
                await use()
            assert "127.0.0.1:9" in caught.value.message
            assert "KIKITORI_DATABASE_URL" in caught.value.remedy
            assert "s3cret" not in str(caught.value)


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="KIKITORI_DATA_DIR"):
        async with Database(f"sqlite:///{tmp_path}/file/kikitori.db"):
            pass


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "kikitori.db").write_text("a letter to a friend, not a database " * 50)
    async with Database(f"sqlite:///{tmp_path / 'kikitori.db'}") as database:
        with pytest.raises(Unavailable, match="not a database"):
            await database.upgrade()


async def test_a_closed_database_says_so(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'kikitori.db'}")
    with pytest.raises(RuntimeError, match="async with"):
        await database.ping()


async def test_sqlite_keeps_foreign_keys_and_writes_ahead(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'kikitori.db'}") as database:
        await database.upgrade()
        async with database.read() as connection:
            assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
            assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 1
            assert (await connection.exec_driver_sql("PRAGMA busy_timeout")).scalar() == 10_000
