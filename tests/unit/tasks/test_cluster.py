"""A node among others, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.clock import Clock
from tests.unit.tasks.workshop import Workshop, open_workshop

from kikitori.errors import Unavailable
from kikitori.store.nodes import NodeStore
from kikitori.store.task_records import Node, TaskStatus
from kikitori.tasks.cluster import Cluster, this_node

BEAT = timedelta(seconds=10)


def elsewhere(clock: Clock) -> Node:
    """A node on another machine."""
    return replace(this_node(slots=1, media_url="here", now=clock), host="elsewhere")


def cluster(shop: Workshop, clock: Clock, *, nodes: NodeStore | None = None, running: Collection[str] = ()) -> Cluster:
    return Cluster(
        this_node(slots=1, media_url="here", now=clock),
        nodes or shop.nodes,
        shop.store,
        running=lambda: running,
        changes=shop.changes,
        on_recovered=lambda: None,
        heartbeat_seconds=BEAT.total_seconds(),
        now=clock,
    )


class LossyNodes(NodeStore):
    """Its database may be away."""

    away = False

    async def beat(self, id: str, at: datetime) -> bool:
        if self.away:
            raise Unavailable("The database cannot be used.")
        return await super().beat(id, at)


async def test_what_a_node_left_behind_when_it_stopped_is_taken_up(tmp_path: Path) -> None:
    """The database was away when it gave back its tasks, and there again when it said good-bye."""
    clock = Clock(datetime.now(UTC))
    async with open_workshop(tmp_path) as shop:
        task = await shop.upload()
        left = elsewhere(clock)
        await shop.nodes.register(left)
        await shop.store.claim(left.id, 1)
        await shop.nodes.stop(left.id, clock())
        here = cluster(shop, clock)
        await here.join()
        assert (await shop.store.get(task.id, None)).node == left.id
        clock.time += 4 * BEAT
        await here.recover()
        assert (await shop.store.get(task.id, None)).status is TaskStatus.QUEUED


async def test_after_an_outage_of_the_database_nobody_is_taken_for_dead_at_once(tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC))
    async with open_workshop(tmp_path) as shop:
        task = await shop.upload()
        other = elsewhere(clock)
        nodes = LossyNodes(shop.database)
        here = cluster(shop, clock, nodes=nodes)
        await here.join()
        await nodes.register(other)
        await shop.store.claim(other.id, 1)
        nodes.away = True
        clock.time += 30 * BEAT
        with pytest.raises(Unavailable):
            await here.beat()
        nodes.away = False
        await here.beat()
        await here.recover()
        assert (await shop.store.get(task.id, None)).node == other.id
        clock.time += 4 * BEAT
        await here.beat()
        await here.recover()
        assert (await shop.store.get(task.id, None)).status is TaskStatus.QUEUED


async def test_a_task_that_was_claimed_a_moment_ago_is_not_taken_for_dropped(tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC))
    async with open_workshop(tmp_path) as shop:
        task = await shop.upload()
        here = cluster(shop, clock)
        await here.join()
        await shop.store.claim(here.node.id, 1)
        await here.recover()
        assert (await shop.store.get(task.id, None)).node == here.node.id
        clock.time += 2 * BEAT
        await here.recover()
        assert (await shop.store.get(task.id, None)).status is TaskStatus.QUEUED


async def test_a_node_that_was_forgotten_makes_itself_known_again(tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC))
    async with open_workshop(tmp_path) as shop:
        here = cluster(shop, clock)
        await here.join()
        await shop.nodes.stop(here.node.id, clock())
        await shop.nodes.forget(clock() + BEAT)
        await here.beat()
        assert [node.id for node in await shop.nodes.list()] == [here.node.id]
