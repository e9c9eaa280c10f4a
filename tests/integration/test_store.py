"""The store against real databases: SQLite always, PostgreSQL and MariaDB where they answer."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, insert, inspect, select, text
from sqlalchemy.pool import NullPool
from tests.clock import Clock
from tests.databases import DATABASES, fresh_database

from kikitori.errors import Conflict, InvalidOption, NotFound, Unavailable
from kikitori.store import migrate
from kikitori.store.database import Database, head_revision
from kikitori.store.keys import KeyStore, Scope
from kikitori.store.tables import api_keys, metadata
from kikitori.store.urls import parse_url, sync_url

SCRIPTS = ScriptDirectory.from_config(migrate.config())


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    with fresh_database(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as opened:
        await opened.upgrade()
        yield opened


@pytest.fixture
def keys(database: Database, clock: Clock) -> KeyStore:
    return KeyStore(database, now=clock)


async def test_the_tables_are_the_sum_of_the_migrations(database: Database) -> None:
    async with database.read() as connection:
        assert await connection.run_sync(_differences) == []
        names = await connection.run_sync(lambda c: inspect(c).get_table_names())
    assert {name for name in names if not _is_of_search(name)} == {"alembic_version", *metadata.tables}


@pytest.mark.parametrize("revision", [entry.revision for entry in SCRIPTS.walk_revisions() if not entry.is_head])
async def test_a_database_of_an_earlier_version_is_upgraded_with_what_is_in_it(url: str, revision: str) -> None:
    async with Database(url) as database:  # makes the folder of SQLite
        engine = create_engine(sync_url(*parse_url(url)), poolclass=NullPool)
        with engine.begin() as connection:
            settings = migrate.config()
            settings.attributes["connection"] = connection
            command.upgrade(settings, revision)
            connection.execute(insert(api_keys).values(_row("kept")))
        engine.dispose()
        assert await database.revision() == revision
        await database.upgrade()
        assert await database.revision() == head_revision()
        async with database.read() as reading:
            assert await reading.run_sync(_differences) == []
        assert [key.name for key in await KeyStore(database).list()] == ["kept"]


async def test_the_comparison_would_see_a_missing_column(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE api_keys DROP COLUMN last_used_at"))
        found = await connection.run_sync(_differences)
    assert [change[0] for change in found] == ["add_column"]


async def test_upgrading_again_changes_nothing(database: Database, url: str) -> None:
    assert await database.revision() == head_revision()
    await database.upgrade()
    async with Database(url) as second:
        await second.upgrade()
        assert await second.revision() == head_revision()


async def test_a_new_database_has_no_revision(url: str) -> None:
    async with Database(url) as database:
        assert await database.revision() is None


def test_many_processes_upgrade_at_once(url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from kikitori.store.database import Database\n"
        "async def main():\n"
        "    async with Database(sys.argv[1]) as database:\n"
        "        print('ready', flush=True); sys.stdin.readline()\n"
        "        await database.upgrade(); print(await database.revision())\n"
        "asyncio.run(main())\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        out, errors = process.communicate(timeout=120)
        assert (process.returncode, out.strip()) == (0, head_revision()), errors


async def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Unavailable, match=r"newer Kikitori.* Update Kikitori"):
        await database.upgrade()
    assert await database.revision() == "9999"


async def test_a_failed_write_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.write() as connection:
            await connection.execute(insert(api_keys).values(_row("one")))
            raise ZeroDivisionError
    async with database.read() as connection:
        assert (await connection.execute(select(api_keys))).all() == []


async def test_many_writers_wait_for_each_other(database: Database) -> None:
    async def read_then_write(number: int) -> None:
        async with database.write() as connection:
            await connection.execute(select(api_keys))
            await connection.execute(insert(api_keys).values(_row(f"writer {number}")))

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(read_then_write(number))
    async with database.read() as connection:
        assert len((await connection.execute(select(api_keys))).all()) == 20


async def test_times_come_back_as_they_went_in(database: Database) -> None:
    east = timezone(timedelta(hours=9))
    moment = datetime(2026, 3, 1, 3, 4, 5, 678901, tzinfo=east)
    async with database.write() as connection:
        await connection.execute(insert(api_keys).values(_row("timed") | {"created_at": moment}))
        row = (await connection.execute(select(api_keys))).one()
        earlier = (await connection.execute(select(api_keys).where(api_keys.c.created_at < moment))).all()
    assert row.created_at == moment
    assert row.created_at.tzinfo is UTC or row.created_at.utcoffset() == timedelta(0)
    assert row.last_used_at is None
    assert earlier == []


async def test_a_key_is_created_verified_and_revoked(keys: KeyStore, clock: Clock) -> None:
    secret, key = await keys.create("laptop", "mika", ["transcribe", "models"])
    assert secret.startswith("kk_")
    assert len(secret) >= 35
    assert secret.startswith(key.prefix)
    assert key.created_at == clock.time
    assert key.scopes == {"transcribe", "models"}
    assert await keys.verify(secret) == replace(key, last_used_at=clock.time)
    assert await keys.list() == [await keys.verify(secret)]

    revoked = await keys.revoke(key.prefix)
    assert revoked.revoked_at == clock.time
    assert await keys.verify(secret) is None
    assert [entry.revoked_at for entry in await keys.list()] == [clock.time]


async def test_the_secret_is_not_in_the_database(database: Database, keys: KeyStore) -> None:
    secret, _ = await keys.create("laptop", "mika")
    async with database.read() as connection:
        stored = str((await connection.execute(select(api_keys))).all())
    assert secret not in stored
    assert secret[12:] not in stored


async def test_a_wrong_secret_is_nobody(keys: KeyStore) -> None:
    await keys.create("laptop", "mika")
    for wrong in ("", "kk_", "kk_wrong", "sk-other", "kk_" + "a" * 43, "kk_" + "a" * 100_000, "日本語", "kk_\x00"):
        assert await keys.verify(wrong) is None


async def test_a_secret_is_right_in_every_letter(keys: KeyStore) -> None:
    secret, _ = await keys.create("laptop", "mika")
    assert await keys.verify(secret.swapcase().replace("KK_", "kk_")) is None
    assert await keys.verify(secret + " ") is None
    assert await keys.verify(secret) is not None


async def test_another_process_sees_the_revocation_within_seconds(
    database: Database, keys: KeyStore, clock: Clock
) -> None:
    elsewhere = KeyStore(database, now=clock)
    secret, key = await elsewhere.create("laptop", "mika")
    assert await keys.verify(secret) is not None
    assert await keys.any()
    await elsewhere.revoke(str(key.id))
    clock.go(seconds=5)
    assert await keys.verify(secret) is None
    assert not await keys.any()


async def test_a_key_made_elsewhere_is_seen(database: Database, keys: KeyStore, clock: Clock) -> None:
    assert not await keys.any()
    elsewhere = KeyStore(database, now=clock)
    secret, _ = await elsewhere.create("laptop", "mika")
    assert await keys.verify(secret) is not None
    clock.go(seconds=5)
    assert await keys.any()


async def test_the_last_use_is_written_once_a_minute(keys: KeyStore, clock: Clock) -> None:
    secret, _ = await keys.create("laptop", "mika")
    first = clock.time
    for _ in range(5):
        assert await keys.verify(secret) is not None
        clock.go(seconds=11)
    assert (await keys.list())[0].last_used_at == first
    clock.go(seconds=5)
    again = await keys.verify(secret)
    assert again is not None
    assert (await keys.list())[0].last_used_at == again.last_used_at == first + timedelta(minutes=1)


async def test_any_counts_live_keys_only(keys: KeyStore) -> None:
    assert not await keys.any()
    secret, key = await keys.create("laptop", "mika")
    assert await keys.any()
    await keys.revoke(secret)
    assert not await keys.any()
    assert (await keys.revoke(str(key.id))).revoked_at is not None


async def test_what_does_not_name_one_key_is_refused(database: Database, keys: KeyStore) -> None:
    async with database.write() as connection:
        await connection.execute(insert(api_keys).values([_row("one"), _row("two")]))
    with pytest.raises(Conflict, match="Give the number of one: 1, 2"):
        await keys.revoke("kk_12345678")
    await keys.revoke("1")
    assert (await keys.revoke("kk_12345678")).id == 2
    for unknown in ("3", "kk_nothing00", "KK_12345678", "kk_1", "", "%", "9" * 40):
        with pytest.raises(NotFound):
            await keys.revoke(unknown)


async def test_a_wrong_secret_given_to_revoke_is_not_shown_in_full(keys: KeyStore) -> None:
    with pytest.raises(NotFound) as caught:
        await keys.revoke("kk_" + "z" * 43)
    assert "z" * 10 not in str(caught.value)


async def test_names_and_scopes_are_checked(keys: KeyStore) -> None:
    for name, owner, scopes in (
        ("", "mika", ["admin"]),
        ("laptop", " ", ["admin"]),
        ("x" * 201, "mika", ["admin"]),
        ("two\nlines", "mika", ["admin"]),
        ("laptop", "mika", []),
        ("laptop", "mika", ["root"]),
    ):
        with pytest.raises(InvalidOption):
            await keys.create(name, owner, scopes)
    _, key = await keys.create(" 机の上 🎙 ", "미카", ["admin"])
    assert [(entry.name, entry.owner) for entry in await keys.list()] == [("机の上 🎙", "미카")]
    assert all(key.allows(scope) for scope in Scope)


def _differences(connection: Connection) -> list[Any]:
    """Between the tables in the code and those in the database."""

    def is_compared(thing: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:
        # The full-text index of SQLite is a table, and what that keeps its words in.
        if connection.dialect.name != "sqlite":
            return True
        return not _is_of_search(name or "") if kind == "table" else name != "ix_transcripts_terms"

    opts = {"compare_type": True, "compare_server_default": True, "include_object": is_compared}
    return list(compare_metadata(MigrationContext.configure(connection, opts=opts), metadata))


def _is_of_search(name: str) -> bool:
    return name.startswith("transcript_search")


def _row(name: str) -> dict[str, object]:
    return {
        "name": name,
        "key_hash": secrets.token_hex(32),
        "prefix": "kk_12345678",
        "owner": "mika",
        "scopes": "transcribe",
        "created_at": datetime.now(UTC),
    }
