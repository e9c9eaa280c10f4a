"""A migrated database of every kind, and the stores of tasks on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import delete
from tests.clock import Clock
from tests.databases import DATABASES, fresh_database

from kikitori.store.database import Database
from kikitori.store.tables import metadata
from kikitori.store.tasks import TaskStore


@pytest.fixture(scope="module", params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One database for all tests of a file."""
    with fresh_database(request.param, tmp_path_factory.mktemp("store")) as made:
        asyncio.run(_upgrade(made))
        yield made


async def _upgrade(url: str) -> None:
    async with Database(url) as database:
        await database.upgrade()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """Empty for each test."""
    async with Database(url) as opened:
        async with opened.write() as connection:
            for table in reversed(metadata.sorted_tables):
                await connection.execute(delete(table))
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> TaskStore:
    return TaskStore(database, now=clock)


@pytest.fixture
async def stores(url: str, database: Database, clock: Clock) -> AsyncIterator[list[TaskStore]]:
    """As four nodes have them: each with connections of its own."""
    async with AsyncExitStack() as stack:
        yield [TaskStore(await stack.enter_async_context(Database(url)), now=clock) for _ in range(4)]
