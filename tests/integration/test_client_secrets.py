"""Client secrets on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select
from tests.clock import Clock

from kikitori.errors import Busy
from kikitori.store import client_secrets as module
from kikitori.store.client_secrets import ClientSecretStore
from kikitori.store.database import Database
from kikitori.store.keys import KeyStore
from kikitori.store.tables import client_secrets

SESSION = {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1", "prompt": "音声"}}}}
TEN_MINUTES = timedelta(minutes=10)


@pytest.fixture
def store(database: Database, clock: Clock) -> ClientSecretStore:
    return ClientSecretStore(database, now=clock)


async def test_a_secret_opens_what_it_was_made_for_until_it_expires(store: ClientSecretStore, clock: Clock) -> None:
    value, made = await store.create(SESSION, lifetime=TEN_MINUTES, owner="mika")
    assert value.startswith("ek_")
    assert len(value) >= 35
    assert made.expires_at == clock.time.replace(microsecond=0) + TEN_MINUTES
    found = await store.verify(value)
    assert found == made
    assert found is not None
    assert (found.owner, found.key_id, found.session) == ("mika", None, SESSION)
    clock.time = made.expires_at - timedelta(milliseconds=1)
    assert await store.verify(value) == made
    clock.time = made.expires_at
    assert await store.verify(value) is None


async def test_another_node_knows_it(store: ClientSecretStore, database: Database, clock: Clock) -> None:
    value, made = await store.create(SESSION, lifetime=TEN_MINUTES, owner="mika")
    assert await ClientSecretStore(database, now=clock).verify(value) == made


async def test_the_secret_is_not_in_the_database(store: ClientSecretStore, database: Database) -> None:
    value, _ = await store.create(SESSION, lifetime=TEN_MINUTES, owner="mika")
    async with database.read() as connection:
        stored = str((await connection.execute(select(client_secrets))).all())
    assert value not in stored
    assert value[8:] not in stored


async def test_what_is_no_secret_opens_nothing(store: ClientSecretStore) -> None:
    value, _ = await store.create(SESSION, lifetime=TEN_MINUTES, owner="mika")
    for wrong in ("", "ek_", value + " ", value[:-1], value.swapcase().replace("EK_", "ek_"), "ek_" + "a" * 100_000):
        assert await store.verify(wrong) is None


async def test_it_dies_with_its_key(store: ClientSecretStore, database: Database, clock: Clock) -> None:
    keys = KeyStore(database, now=clock)
    _, key = await keys.create("laptop", "mika")
    _, other = await keys.create("phone", "mika")
    value, _ = await store.create(SESSION, lifetime=TEN_MINUTES, owner="mika", key_id=key.id)
    kept, _ = await store.create(SESSION, lifetime=TEN_MINUTES, owner="mika", key_id=other.id)
    assert await store.verify(value) is not None
    await keys.revoke(str(key.id))
    assert await store.verify(value) is None
    assert await store.verify(kept) is not None


async def test_expired_secrets_are_removed(store: ClientSecretStore, database: Database, clock: Clock) -> None:
    for _ in range(3):
        await store.create(SESSION, lifetime=TEN_MINUTES, owner="mika")
    clock.go(minutes=10)
    value, _ = await store.create(SESSION, lifetime=TEN_MINUTES, owner="juna")
    async with database.read() as connection:
        assert await connection.scalar(select(func.count()).select_from(client_secrets)) == 1
    assert await store.verify(value) is not None


async def test_an_owner_can_only_have_so_many(store: ClientSecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OF_OWNER", 2)
    for _ in range(2):
        await store.create(SESSION, lifetime=TEN_MINUTES, owner="mika")
    with pytest.raises(Busy):
        await store.create(SESSION, lifetime=TEN_MINUTES, owner="mika")
    assert await store.create(SESSION, lifetime=TEN_MINUTES, owner="juna")
