"""What callers do with tasks of a server that has one place to work at."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.recordings import join
from tests.servers import Server
from tests.task_api import TaskApi, task_api

if TYPE_CHECKING:
    from tests.conftest import Sample

Samples = Mapping[str, "Sample"]
QUEUE = 20
"""What the server of these tests lets wait."""


@pytest.fixture(scope="module")
def lecture(tmp_path_factory: pytest.TempPathFactory, samples: Samples) -> Path:
    """Long enough for whatever happens meanwhile."""
    folder = tmp_path_factory.mktemp("recordings")
    return join([samples["en_multi_80s"].path], folder / "lecture.wav", rounds=10)


@pytest.fixture
async def tasks(task_server: Server) -> AsyncIterator[TaskApi]:
    """Every test finds the server idle, and leaves it so."""
    async with task_api(task_server.url) as api:
        yield api
        for task in (await api.list(status="queued,fetching,running", limit=200))["tasks"]:
            await api.client.post(f"/api/tasks/{task['id']}/cancel")
        await asyncio.to_thread(_wait_until_idle, task_server)


def _wait_until_idle(server: Server) -> None:
    deadline = time.monotonic() + 120
    while server.busy():
        assert time.monotonic() < deadline, "the engine is not freed"
        time.sleep(0.02)


@asynccontextmanager
async def busy(tasks: TaskApi, lecture: Path) -> AsyncIterator[str]:
    """A task that runs, so that others wait."""
    running = await tasks.make(lecture, mode="sequential", beam_size="8", language="en", priority="high")
    await tasks.until(running, "running", progress=1)
    yield running
    await tasks.client.post(f"/api/tasks/{running}/cancel")  # if it is still there


async def test_a_task_that_waits_is_cancelled_at_once(tasks: TaskApi, lecture: Path, samples: Samples) -> None:
    async with busy(tasks, lecture):
        waiting = await tasks.make(samples["en_01"].path)
        assert (await tasks.show(waiting))["queue_position"] == 1
        cancelled = await tasks.act(waiting, "cancel")
        assert (cancelled["status"], cancelled["queue_position"]) == ("cancelled", None)
        again = await tasks.client.post(f"/api/tasks/{waiting}/cancel")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")


def batches(server: Server) -> float:
    """That its model has written text for."""
    return server.metric('kikitori_batch_size_count{kind="generate"}')


async def test_a_task_that_runs_stops_within_a_segment_and_keeps_its_text(
    tasks: TaskApi, task_server: Server, lecture: Path, samples: Samples
) -> None:
    alone = {"mode": "sequential", "language": "en", "temperature": "0"}
    async with busy(tasks, lecture) as running:
        following = await tasks.make(samples["en_02"].path, **alone)
        unfinished = await tasks.client.get(f"/api/tasks/{running}/result")
        assert (unfinished.status_code, unfinished.json()["status"]) == (202, "running")
        assert int(unfinished.headers["retry-after"]) >= 1
        sofar = await tasks.result(running, partial=True)
        assert sofar["text"]

        await tasks.act(running, "cancel")
        before = batches(task_server)
        cancelled = await tasks.ended(running)
        assert cancelled["status"] == "cancelled"
        assert 0 < cancelled["progress"] < 100
        assert await tasks.text(following) == samples["en_02"].text
        after = batches(task_server)
        assert await tasks.text(await tasks.make(samples["en_02"].path, **alone)) == samples["en_02"].text
        of_following = batches(task_server) - after
        assert after - before - of_following <= 1, "the batch under way is the last one"

        refused = await tasks.client.get(f"/api/tasks/{running}/result")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "cancelled")
        kept = await tasks.result(running, partial=True)
        assert kept["text"].startswith(sofar["text"])
        assert [segment["id"] for segment in kept["segments"]] == list(range(len(kept["segments"])))
        subtitles = await tasks.client.get(f"/api/tasks/{running}/subtitles", params={"format": "srt", "partial": True})
        assert subtitles.text.startswith("1\n00:00:0")


async def test_a_cancelled_task_is_done_from_the_beginning_when_it_is_tried_again(
    tasks: TaskApi, samples: Samples
) -> None:
    talk = samples["en_multi_80s"].path
    task = await tasks.make(talk, mode="sequential", language="en")
    await tasks.until(task, "running")
    await tasks.act(task, "cancel")
    assert (await tasks.ended(task))["status"] == "cancelled"
    fresh = await tasks.act(task, "retry")
    assert (fresh["status"], fresh["attempts"], fresh["progress"], fresh["finished_at"]) == ("queued", 0, 0.0, None)
    whole = await tasks.make(talk, mode="sequential", language="en")
    assert await tasks.text(task) == await tasks.text(whole)
    refused = await tasks.client.post(f"/api/tasks/{task}/retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")


async def test_what_is_deleted_leaves_nothing(
    tasks: TaskApi, task_server: Server, lecture: Path, samples: Samples
) -> None:
    async with busy(tasks, lecture) as running:
        waiting = await tasks.make(samples["en_01"].path, tags="gone")
        for id in (running, waiting):
            assert recordings(task_server, id)
            assert (await tasks.client.delete(f"/api/tasks/{id}")).status_code == 204
            assert not recordings(task_server, id)
            assert (await tasks.client.get(f"/api/tasks/{id}")).status_code == 404
            assert (await tasks.client.get(f"/api/tasks/{id}/events")).status_code == 404
        assert (await tasks.list(tag="gone"))["total"] == 0
        done = await tasks.make(samples["en_01"].path)
        assert await tasks.text(done)
        numbers = task_numbers(task_server)
        assert (await tasks.client.delete(f"/api/tasks/{done}")).status_code == 204
        assert len(task_numbers(task_server)) == len(numbers) - 1
        assert rows_of_no_task(task_server) == 0
        assert not recordings(task_server, done)


def recordings(server: Server, id: str) -> list[Path]:
    return [*(server.data_dir / "media").rglob(f"{id}*")]


def task_numbers(server: Server) -> set[int]:
    with closing(sqlite3.connect(server.data_dir / "kikitori.db")) as database:
        return {number for (number,) in database.execute("SELECT number FROM tasks")}


def rows_of_no_task(server: Server) -> int:
    with closing(sqlite3.connect(server.data_dir / "kikitori.db")) as database:
        return sum(
            database.execute(f"SELECT count(*) FROM {table} WHERE task NOT IN (SELECT number FROM tasks)").fetchone()[0]
            for table in ("segments", "transcripts", "task_events", "task_tags", "callbacks")
        )


async def test_a_key_that_comes_twice_makes_one_task(tasks: TaskApi, samples: Samples) -> None:
    first = await tasks.make(samples["en_01"].path, idempotency_key="monday")
    assert await tasks.make(samples["en_01"].path, idempotency_key="monday") == first
    header = await tasks.client.post(
        "/api/tasks",
        files={"file": ("other name.wav", samples["en_01"].path.read_bytes())},
        headers={"idempotency-key": "monday"},
    )
    assert header.json()["id"] == first
    assert await tasks.text(first) == samples["en_01"].text
    assert await tasks.make(samples["en_01"].path, idempotency_key="monday") == first
    other = await tasks.post(samples["en_02"].path, idempotency_key="monday")
    assert (other.status_code, other.json()["error"]["param"]) == (409, "idempotency_key")
    at_once = await asyncio.gather(*(tasks.make(samples["en_01"].path, idempotency_key="tuesday") for _ in range(8)))
    assert len({*at_once}) == 1


async def test_a_full_queue_says_when_to_come_back(
    tasks: TaskApi, task_server: Server, lecture: Path, samples: Samples
) -> None:
    async with busy(tasks, lecture):
        links = [f"https://example.org/{number}.mp3" for number in range(QUEUE + 1)]
        too_many = await tasks.client.post("/api/tasks/batch", json={"urls": links})
        assert too_many.status_code == 429
        assert (await tasks.list(status="queued"))["total"] == 0
        full = await tasks.client.post("/api/tasks/batch", json={"urls": links[1:]})
        assert full.status_code == 201
        kept = [*(task_server.data_dir / "media").rglob("task_*")]
        refused = await tasks.post(samples["en_01"].path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) >= 1
        assert "20 tasks wait" in refused.json()["error"]["message"]
        assert [*(task_server.data_dir / "media").rglob("task_*")] == kept
        first, *others = [task["id"] for task in full.json()["tasks"]]
        await tasks.act(first, "cancel")
        in_place = await tasks.make(samples["en_01"].path, priority="high")
        for id in others:
            await tasks.act(id, "cancel")
    assert await tasks.text(in_place) == samples["en_01"].text


async def test_what_nobody_began_in_time_expires(tasks: TaskApi, lecture: Path, samples: Samples) -> None:
    async with busy(tasks, lecture):
        late = await tasks.make(samples["en_01"].path, expires_in="0.3")
        in_time = await tasks.make(samples["en_02"].path, expires_in="3600")
        assert (await tasks.ended(late))["status"] == "expired"
        answer = await tasks.client.get(f"/api/tasks/{late}/result")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "expired")
    assert await tasks.text(in_time) == samples["en_02"].text
    await tasks.act(late, "retry")
    assert await tasks.text(late) == samples["en_01"].text


async def test_the_urgent_goes_first_and_the_rest_in_turn(tasks: TaskApi, lecture: Path, samples: Samples) -> None:
    async with busy(tasks, lecture):
        path = samples["en_04"].path
        wishes = ("low", "normal", "high", "normal", "low", "high")
        made = [await tasks.make(path, priority=priority) for priority in wishes]
        assert [(await tasks.show(id))["queue_position"] for id in made] == [5, 3, 1, 4, 6, 2]
        raised = await tasks.act(made[4], "priority", priority="high")
        assert (raised["priority"], raised["queue_position"]) == ("high", 3)
    begun = [(await tasks.ended(id))["started_at"] for id in made]
    assert [begun.index(time) for time in sorted(begun)] == [2, 5, 4, 1, 3, 0]
    refused = await tasks.client.post(f"/api/tasks/{made[0]}/priority", json={"priority": "low"})
    assert refused.status_code == 409


async def test_times_are_those_of_each_task(tasks: TaskApi, samples: Samples) -> None:
    first = await tasks.make(samples["en_01"].path, tags="times")
    assert await tasks.text(first)
    second = await tasks.make(samples["en_01"].path, tags="times")
    assert await tasks.text(second)
    one, two = await tasks.show(first), await tasks.show(second)
    assert one["created_at"] < one["started_at"] < one["finished_at"] < two["created_at"] < two["started_at"]
    assert [task["id"] for task in (await tasks.list(tag="times"))["tasks"]] == [second, first]
    after = await tasks.list(tag="times", created_after=one["finished_at"])
    assert [task["id"] for task in after["tasks"]] == [second]
    before = await tasks.list(tag="times", finished_before=two["created_at"])
    assert [task["id"] for task in before["tasks"]] == [first]
