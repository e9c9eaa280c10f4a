import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tasks.workshop import TEXTS, Workshop, open_workshop

from kikitori.errors import NotFound
from kikitori.media.store import MediaStore
from kikitori.store.task_records import Node, TaskRecord, TaskStatus, new_id
from kikitori.testing import until

TWO_DAYS = 2 * 24 * 3_600.0


async def ended(shop: Workshop) -> TaskRecord:
    async with shop.runner():
        return await shop.ended_task(await shop.upload())


def age(shop: Workshop, key: str) -> None:
    """The recording was stored two days ago."""
    then = time.time() - TWO_DAYS
    os.utime(shop.folder / "media" / key, (then, then))


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


async def test_old_recordings_go_and_later_their_tasks(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        task = await ended(shop)
        later = [datetime.now(UTC)]
        retention = shop.retention(media_days=1, task_days=10, now=lambda: later[0])
        await retention.sweep()
        assert await shop.media.keys() == [task.media_key]
        later[0] += timedelta(days=2)
        await retention.sweep()
        assert await shop.media.keys() == []
        assert (await shop.store.get(task.id, None)).media_key is None
        assert await shop.text(task) == "".join(TEXTS)
        later[0] += timedelta(days=9)
        await retention.sweep()
        with pytest.raises(NotFound, match="no task"):
            await shop.store.get(task.id, None)


@pytest.mark.parametrize("days", [{"media_days": 1}, {"task_days": 1}])
async def test_a_task_that_is_begun_anew_while_it_is_looked_at_keeps_its_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: dict[str, float]
) -> None:
    async with open_workshop(tmp_path) as shop:
        task = await shop.upload()
        await shop.desk.cancel(task.id, None)
        look = shop.cleaning.ended_before
        seen: list[str] = []

        async def ended_before(*arguments: Any, **options: Any) -> list[str]:
            found = await look(*arguments, **options)
            if found:
                seen.extend(found)
                await shop.desk.retry(task.id, None)
            return found

        monkeypatch.setattr(shop.cleaning, "ended_before", ended_before)
        await shop.retention(**days, now=lambda: in_days(2)).sweep()
        assert seen == [task.id]
        again = await shop.store.get(task.id, None)
        assert (again.status, again.media_key) == (TaskStatus.QUEUED, task.media_key)
        assert await shop.media.keys() == [task.media_key]


async def test_recordings_that_belong_to_no_task_go_after_a_day(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        kept = (await shop.upload()).media_key
        other_database = MediaStore("", tmp_path, mark="ffffffff")
        keys = []
        for store in (shop.media, shop.media, other_database, MediaStore("", tmp_path)):
            path = tmp_path / "recording"
            path.write_bytes(b"sound")
            keys.append(await store.save(path, task_id=new_id("task"), suffix=".wav"))
        stray, young, anothers, unmarked = keys
        assert kept is not None
        for key in (kept, stray, anothers, unmarked):
            age(shop, key)
        await shop.retention(now=lambda: datetime.now(UTC)).tidy()
        assert set(await shop.media.keys()) == {kept, young, anothers, unmarked}


async def test_nodes_that_stopped_long_ago_are_forgotten(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        for id, days in (("old", 8), ("young", 1), ("alive", 0)):
            then = in_days(-days)
            node = Node(id=id, host="h", pid=1, version="1", slots=1, started_at=then, heartbeat_at=then)
            await shop.nodes.register(node)
            if days:
                await shop.nodes.stop(id, then)
        await shop.retention(now=lambda: datetime.now(UTC)).tidy()
        assert {node.id for node in await shop.nodes.list()} == {"young", "alive"}


async def test_tidying_is_for_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kikitori.tasks.retention.LOOK_EVERY_SECONDS", 0.01)
    async with open_workshop(tmp_path) as shop:
        now, looks, forgotten = [datetime.now(UTC)], [0], [0]
        look, forget = shop.cleaning.ended_before, shop.nodes.forget

        async def ended_before(*arguments: Any, **options: Any) -> list[str]:
            looks[0] += 1
            return await look(*arguments, **options)

        async def counted(before: datetime) -> int:
            forgotten[0] += 1
            return await forget(before)

        monkeypatch.setattr(shop.cleaning, "ended_before", ended_before)
        monkeypatch.setattr(shop.nodes, "forget", counted)
        running = asyncio.create_task(shop.retention(task_days=1, now=lambda: now[0]).run())
        await until(lambda: looks[0] >= 3)
        assert forgotten == [1]
        now[0] += timedelta(days=1)
        await until(lambda: forgotten == [2])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_removing_what_is_old_goes_on_after_whatever_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kikitori.tasks.retention.LOOK_EVERY_SECONDS", 0.01)
    async with open_workshop(tmp_path) as shop:
        await ended(shop)
        real, broken = shop.cleaning.ended_before, [True]

        async def ended_before(*arguments: Any, **options: Any) -> Any:
            if broken:
                broken.clear()
                raise RuntimeError("nobody expected this")
            return await real(*arguments, **options)

        monkeypatch.setattr(shop.cleaning, "ended_before", ended_before)
        removed, real_delete = asyncio.Event(), shop.media.delete

        async def delete(key: str) -> None:
            await real_delete(key)
            removed.set()

        monkeypatch.setattr(shop.media, "delete", delete)
        sweeping = asyncio.create_task(shop.retention(media_days=1, now=lambda: in_days(2)).run())
        async with asyncio.timeout(60):
            await removed.wait()
        assert await shop.media.keys() == []
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
