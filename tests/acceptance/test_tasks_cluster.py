"""Nodes on one PostgreSQL and one folder of media: they share the work, and outlive each other."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.databases import fresh_database
from tests.recordings import join
from tests.servers import Server, running_server
from tests.task_api import PATIENCE_SECONDS, TaskApi, task_api

from kikitori.store.database import Database
from kikitori.store.nodes import NodeStore

if TYPE_CHECKING:
    from tests.conftest import Sample

Samples = Mapping[str, "Sample"]
pytestmark = pytest.mark.service

TASKS = 50
SHORT = ("en_01", "en_02", "en_04", "ko_03")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server that works on nothing, and a worker beside it."""

    server: Server
    worker: subprocess.Popen[bytes]
    folder: Path
    settings: Mapping[str, str]

    @contextmanager
    def another_server(self) -> Iterator[Server]:
        with running_server(self.folder / "another", **self.settings) as server:
            yield server

    async def node_of(self, pid: int) -> str:
        async with Database(self.settings["database_url"]) as database:
            return next(node.id for node in await NodeStore(database).list() if node.pid == pid)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, mini_model: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "media").mkdir()
    with fresh_database("postgresql", folder) as url:
        settings = {
            "database_url": url,
            "media_url": f"file://{folder / 'media'}",
            "model": str(mini_model),
            "task_slots": "1",
            "cpu_threads": "1",
        }
        with running_server(folder / "server", "--no-worker", **settings) as server:
            with worker(folder / "worker", settings) as process:
                yield Cluster(server, process, folder, settings)


@contextmanager
def worker(data_dir: Path, settings: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    log = data_dir.parent / f"{data_dir.name}.log"
    with log.open("wb") as output:
        process = start_worker(data_dir, settings, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=120) == 0, log.read_text()


def start_worker(data_dir: Path, settings: Mapping[str, str], **streams: int | object) -> subprocess.Popen[bytes]:
    environment = os.environ | {f"KIKITORI_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "kikitori", "worker", "--data-dir", str(data_dir)]
    return subprocess.Popen(command, env=environment, **streams)  # type: ignore[call-overload, no-any-return]


async def has_some(tasks: TaskApi, count: int, **query: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await tasks.list(**query, limit=1))["total"] < count:  # noqa: ASYNC110 - in other processes
            await asyncio.sleep(0.2)


async def test_nodes_share_the_tasks_and_one_may_die(cluster: Cluster, samples: Samples) -> None:
    long = samples["en_multi_80s"].path
    with cluster.another_server() as doomed:
        dead = await cluster.node_of(doomed.process.pid)
        async with task_api(cluster.server.url) as one, task_api(doomed.url) as other:
            wanted = [samples[SHORT[number % len(SHORT)]] for number in range(TASKS)]
            through = (one, other)
            made = [
                await through[at % 2].make(sample.path, tags="shared", language=sample.language)
                for at, sample in enumerate(wanted)
            ]
            async with asyncio.timeout(PATIENCE_SECONDS):
                while dead not in await nodes_of(one, "succeeded"):  # noqa: ASYNC110 - in other processes
                    await asyncio.sleep(0.2)
            # Each node gets a long one, so that it is at work when it dies.
            longer = [await one.make(long, tags="shared", mode="sequential", language="en") for _ in range(2)]
            async with asyncio.timeout(PATIENCE_SECONDS):
                while dead not in {(await one.show(id))["node"] for id in longer}:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.2)
            doomed.process.kill()
            doomed.process.wait()
            at_work = [await one.show(id) for id in longer]
            assert not [task for task in at_work if task["node"] == dead and task["status"] == "succeeded"]
            await has_some(one, TASKS + 2, tag="shared", status="succeeded,failed")
            ended = {task["id"]: task async for task in with_results(one)}
    assert [ended[id]["result"]["text"] for id in made] == [sample.text for sample in wanted]
    first, second = (ended[id]["result"]["text"] for id in longer)
    assert first == second
    assert len(ended) == TASKS + 2
    assert len({task["node"] for task in ended.values()}) == 2
    assert {task["attempts"] for task in ended.values()} <= {1, 2}


async def with_results(tasks: TaskApi) -> AsyncIterator[dict[str, Any]]:
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        page = await tasks.list(tag="shared", include="result", limit=20, cursor=page["next"])
        for task in page["tasks"]:
            yield task


async def nodes_of(tasks: TaskApi, status: str) -> set[str]:
    """That have worked on tasks which are in ``status``."""
    return {task["node"] for task in (await tasks.list(tag="shared", status=status, limit=200))["tasks"]}


async def test_a_task_on_another_node_is_watched_and_cancelled_from_here(
    cluster: Cluster, tmp_path: Path, samples: Samples
) -> None:
    long = join([samples["en_multi_80s"].path], tmp_path / "long.wav", rounds=12)
    async with task_api(cluster.server.url) as tasks:
        task = await tasks.make(long, mode="sequential", language="en")
        after = await tasks.make(samples["en_02"].path, mode="sequential")
        await tasks.until(task, "running", progress=2)
        heard = []
        async with aclosing(tasks.events(task)) as events:
            async for event in events:
                if event.type == "segment":
                    heard.append(event.data)
                elif heard and event.type == "progress":
                    break
        asked = await tasks.act(task, "cancel")
        assert asked["cancel_requested"]
        cancelled = await tasks.ended(task)
        assert cancelled["status"] == "cancelled"
        assert cancelled["progress"] - asked["progress"] < 25, "it went on for long"
        assert (await tasks.result(task, partial=True))["segments"][: len(heard)] == heard
        assert await tasks.text(after) == samples["en_02"].text
        assert (await tasks.show(after))["node"] == await cluster.node_of(cluster.worker.pid)


@pytest.mark.parametrize("command", ["worker", "serve"])
async def test_a_node_with_another_media_store_is_refused(cluster: Cluster, tmp_path: Path, command: str) -> None:
    settings = {**cluster.settings, "media_url": "", "port": "0"}
    environment = os.environ | {f"KIKITORI_{name.upper()}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kikitori", command, "--data-dir", str(tmp_path / "data")),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode not in (0, None)
    assert "KIKITORI_MEDIA_URL" in output.decode()
    assert "Traceback" not in output.decode()
