from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from kikitori.errors import Unavailable
from kikitori.store.database import Database


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """What is made is readable for all, unless somebody takes care."""
    former = os.umask(0o022)
    yield
    os.umask(former)


async def test_what_is_stored_is_for_nobody_elses_eyes(tmp_path: Path, usual_umask: None) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    async with Database(f"sqlite:///{folder / 'kikitori.db'}") as database:
        await database.upgrade()
        async with database.write() as connection:
            await connection.execute(text("CREATE TABLE secret_things (name TEXT)"))
            modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}
    assert modes == dict.fromkeys(["kikitori.db", "kikitori.db-wal", "kikitori.db-shm"], "0o600")


async def test_a_file_that_is_there_stays_as_its_owner_wants_it(tmp_path: Path, usual_umask: None) -> None:
    path = tmp_path / "kikitori.db"
    async with Database(f"sqlite:///{path}") as database:
        await database.upgrade()
        revision = await database.revision()
    path.chmod(0o640)
    async with Database(f"sqlite:///{path}") as database:
        assert await database.revision() == revision
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("url", ["postgresql://u:s3cret@127.0.0.1:9/d", "mysql://u:s3cret@127.0.0.1:9/d"])
async def test_a_database_that_does_not_answer_is_unavailable(url: str) -> None:
    async with Database(url) as database:
        for use in (database.revision, database.upgrade):
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
        await database.revision()


async def test_sqlite_keeps_foreign_keys_and_writes_ahead(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'kikitori.db'}") as database:
        await database.upgrade()
        async with database.read() as connection:
            assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
            assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 1
            assert (await connection.exec_driver_sql("PRAGMA busy_timeout")).scalar() == 10_000
