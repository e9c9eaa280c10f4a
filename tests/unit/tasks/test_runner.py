import asyncio
import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tasks.workshop import TEXTS, open_workshop, script

from kikitori.errors import NotFound, Unavailable
from kikitori.store.task_records import Node, TaskPriority, TaskStatus, new_id
from kikitori.tasks import writing
from kikitori.tasks.cluster import MAX_ATTEMPTS, this_node
from kikitori.testing import FakeTranscriber, Hold, until

WHOLE = "".join(TEXTS)
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def write_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_EVERY_SECONDS", 0.0)


BEAT = 0.3
"""Seconds. Much shorter, a busy machine takes longer between claiming a task and counting it among those that run."""


def other_node(**fields: Any) -> Node:
    """A node on another machine, seen a moment ago."""
    node = Node(
        id=new_id("node"), host="elsewhere", pid=1, version="1", slots=2,
        started_at=NOW, heartbeat_at=datetime.now(UTC), media_url="here",
    )  # fmt: skip
    return replace(node, **fields)


def dead_pid() -> int:
    """Of a process that has ended. It was no fork of this one: with threads, that may wait for ever."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


async def test_tasks_are_worked_on_as_they_come(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop, shop.runner() as runner:
        tasks = [await shop.upload(), await shop.link(), await shop.upload()]
        for task in tasks:
            ended = await shop.ended_task(task)
            assert ended.status is TaskStatus.SUCCEEDED
            assert await shop.text(task) == WHOLE
        await until(lambda: runner.running == 0)


async def test_no_more_than_its_slots_decode_at_once(tmp_path: Path) -> None:
    holds = [Hold() for _ in range(5)]
    left = iter(holds)

    class Counting(FakeTranscriber):
        async def stream(self, *arguments, **options):  # type: ignore[no-untyped-def]
            hold = next(left)  # one of its own: two that begin at once must not share it
            async for event in super().stream(*arguments, **options):
                yield event
                if not hold.reached.is_set():
                    await hold.wait()

    async with open_workshop(tmp_path) as shop:
        transcriber = Counting(script())
        async with shop.runner(slots=2, transcriber=transcriber):
            tasks = [await shop.upload() for _ in range(3)] + [await shop.link() for _ in range(2)]
            await until(lambda: len(transcriber.calls) == 2)
            await asyncio.sleep(0.1)
            assert len(transcriber.calls) == 2
            for hold in holds:
                hold.release.set()
            for task in tasks:
                assert (await shop.ended_task(task)).status is TaskStatus.SUCCEEDED


async def test_links_that_take_long_keep_nobody_from_decoding(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        shop.fetcher.gate.clear()
        async with shop.runner(slots=1):
            links = [await shop.link(priority=TaskPriority.HIGH) for _ in range(6)]
            upload = await shop.upload(priority=TaskPriority.LOW)
            assert (await shop.ended_task(upload)).status is TaskStatus.SUCCEEDED
            shop.fetcher.gate.set()
            for link in links:
                assert (await shop.ended_task(link)).status is TaskStatus.SUCCEEDED


async def test_a_node_without_slots_only_takes_tasks(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop, shop.runner(slots=0) as runner:
        task = await shop.upload()
        await asyncio.sleep(0.2)
        assert runner.running == 0
        assert (await shop.store.get(task.id, None)).status is TaskStatus.QUEUED


async def test_what_nobody_began_in_time_expires_while_all_places_are_taken(tmp_path: Path) -> None:
    hold = Hold()
    async with open_workshop(tmp_path, *script()[:4], hold) as shop, shop.runner(slots=1):
        running = await shop.upload()
        await shop.until(running, lambda task: task.checkpoint)
        late = await shop.upload(expires_at=datetime.now(UTC) + timedelta(seconds=0.1))
        assert (await shop.ended_task(late)).status is TaskStatus.EXPIRED
        await until(lambda: shop.ended == ["end"])  # its callback is not left for later


async def test_a_node_goes_on_after_whatever_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kikitori.tasks.runner.CANCEL_POLL_SECONDS", 0.05)
    monkeypatch.setattr("kikitori.tasks.runner.EXPIRE_POLL_SECONDS", 0.05)
    troubles = {"claim", "cancel_requested", "expire", "recover"}
    hold = Hold()
    async with open_workshop(tmp_path, *script()[:4], hold) as shop, shop.runner(heartbeat_seconds=BEAT):
        real = {name: getattr(shop.store, name) for name in troubles}

        def broken(name: str) -> Any:
            async def call(*arguments: Any, **options: Any) -> Any:
                if name in troubles:
                    troubles.remove(name)
                    raise RuntimeError(f"nobody expected {name} to break")
                return await real[name](*arguments, **options)

            return call

        for name in real:
            monkeypatch.setattr(shop.store, name, broken(name))
        task = await shop.upload()
        await shop.until(task, lambda found: found.checkpoint)
        await until(lambda: not troubles)
        await shop.store.request_cancel(task.id, None)
        assert (await shop.ended_task(task)).status is TaskStatus.CANCELLED
        late = await shop.upload(expires_at=datetime.now(UTC))
        assert (await shop.ended_task(late)).status is TaskStatus.EXPIRED
    assert caplog.text.count("RuntimeError: nobody expected") == 4


async def test_cancelling_here_is_immediate_and_elsewhere_soon(tmp_path: Path) -> None:
    hold = Hold()
    async with open_workshop(tmp_path, *script()[:4], hold) as shop, shop.runner():
        here, elsewhere = await shop.upload(), await shop.upload()
        await shop.until(elsewhere, lambda task: task.checkpoint)
        await shop.desk.cancel(here.id, None)
        assert (await shop.ended_task(here)).status is TaskStatus.CANCELLED
        await shop.store.request_cancel(elsewhere.id, None)  # as another node does
        assert (await shop.ended_task(elsewhere)).status is TaskStatus.CANCELLED
        assert await shop.text(elsewhere) == TEXTS[0]


async def test_deleting_stops_the_task_and_removes_every_trace(tmp_path: Path) -> None:
    hold = Hold()
    async with open_workshop(tmp_path, *script()[:4], hold) as shop, shop.runner():
        task = await shop.upload()
        await shop.until(task, lambda found: found.checkpoint)
        await shop.desk.delete(task.id, None)
        assert await shop.media.keys() == []
        assert shop.transcriber.calls[0].closed.is_set()
        with pytest.raises(NotFound, match="no task"):
            await shop.store.get(task.id, None)


async def test_leaving_gives_unfinished_tasks_back_at_once(tmp_path: Path) -> None:
    hold = Hold()
    async with open_workshop(tmp_path, *script()[:4], hold) as shop:
        async with shop.runner() as runner:
            task = await shop.upload()
            await shop.until(task, lambda found: found.checkpoint)
        assert runner.running == 0
        waiting = await shop.store.get(task.id, None)
        assert (waiting.status, waiting.attempts) == (TaskStatus.QUEUED, 0)
        assert [node.stopped_at is not None for node in await shop.nodes.list()] == [True]


async def test_draining_gives_tasks_back_before_the_node_leaves(tmp_path: Path) -> None:
    hold = Hold()
    async with open_workshop(tmp_path, *script()[:4], hold) as shop, shop.runner(slots=1) as runner:
        begun, waiting = await shop.upload(), await shop.upload()
        await shop.until(begun, lambda found: found.checkpoint)
        runner.drain()
        found = await shop.until(begun, lambda found: found.status is TaskStatus.QUEUED)
        assert (found.attempts, found.node) == (0, None)
        assert found.checkpoint is not None
        assert shop.transcriber.calls[0].closed.is_set()
        await until(lambda: runner.running == 0)
        runner.wake()
        late = await shop.upload()
        await asyncio.sleep(0.1)  # nothing is claimed any more
        assert {(await shop.store.get(task.id, None)).status for task in (begun, waiting, late)} == {TaskStatus.QUEUED}
        assert [node.stopped_at for node in await shop.nodes.list()] == [None]


async def test_what_is_claimed_while_the_node_begins_to_drain_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_workshop(tmp_path) as shop:
        claim, claimed = shop.store.claim, Hold()

        async def slow(*arguments: Any, **options: Any) -> Any:
            tasks = await claim(*arguments, **options)
            if tasks:
                await claimed.wait()
            return tasks

        monkeypatch.setattr(shop.store, "claim", slow)
        async with shop.runner() as runner:
            task = await shop.upload()
            await claimed.reached.wait()
            runner.drain()
            claimed.release.set()
        found = await shop.store.get(task.id, None)
        assert (found.status, found.attempts, found.node) == (TaskStatus.QUEUED, 0, None)
        assert shop.transcriber.calls == []


async def test_the_tasks_of_a_silent_node_are_taken_up(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        task = await shop.upload()
        silent = other_node(heartbeat_at=datetime.now(UTC))
        await shop.nodes.register(silent)
        await shop.store.claim(silent.id, 1)
        async with shop.runner(heartbeat_seconds=BEAT):
            assert (await shop.ended_task(task)).status is TaskStatus.SUCCEEDED
        assert (await shop.store.get(task.id, None)).attempts == 2


async def test_a_dead_process_of_this_machine_is_seen_at_once(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        task = await shop.upload()
        gone = replace(this_node(slots=1, media_url="here"), pid=dead_pid())
        await shop.nodes.register(gone)
        await shop.store.claim(gone.id, 1)
        runner = shop.runner()
        await runner.cluster.join()
        assert (await shop.store.get(task.id, None)).status is TaskStatus.QUEUED


async def test_a_container_that_is_called_like_this_one_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes have numbers of their own: it may even be number 1 beside our number 1."""
    async with open_workshop(tmp_path) as shop:
        task = await shop.upload()
        monkeypatch.setattr("os.readlink", lambda path: "pid:[1]")
        container = this_node(slots=1, media_url="here")
        monkeypatch.undo()
        assert container.pid == os.getpid()
        await shop.nodes.register(container)
        await shop.store.claim(container.id, 1)
        await shop.runner().cluster.join()
        assert (await shop.store.get(task.id, None)).node == container.id


async def test_a_node_that_lives_keeps_its_tasks(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        task = await shop.upload()
        busy = other_node()
        await shop.nodes.register(busy)
        await shop.store.claim(busy.id, 1)
        runner = shop.runner()
        await runner.cluster.join()
        assert (await shop.store.get(task.id, None)).node == busy.id


async def test_a_task_that_kills_its_nodes_is_given_up(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        task = await shop.upload()
        for _ in range(MAX_ATTEMPTS):
            gone = replace(this_node(slots=1, media_url="here"), pid=dead_pid())
            await shop.nodes.register(gone)
            await shop.store.claim(gone.id, 1)
            await shop.runner().cluster.join()
        ended = await shop.store.get(task.id, None)
        assert ended.status is TaskStatus.FAILED
        assert ended.error is not None
        assert ended.error.code == "crashed"


async def test_a_task_that_nobody_here_works_on_goes_back(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop, shop.runner(slots=0, heartbeat_seconds=0.05) as runner:
        task = await shop.upload()
        await shop.store.claim(runner.cluster.node.id, 1)
        await shop.until(task, lambda found: found.status is TaskStatus.QUEUED)


async def test_nodes_with_different_media_stores_do_not_join(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        await shop.nodes.register(other_node(media_url="there"))
        with pytest.raises(Unavailable, match="KIKITORI_MEDIA_URL"):
            async with shop.runner():
                pass
