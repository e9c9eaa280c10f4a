"""Nodes that are killed, and a database that goes away: every task ends once, whole, and its callback comes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import SEGMENTS, TEXT, Script, plan
from tests.servers import free_port

from kikitori.errors import Unavailable
from kikitori.store.database import Database
from kikitori.store.task_queries import TaskQuery
from kikitori.store.task_records import FINAL, NewTask, TaskStatus, new_id
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.opening import open_tasks

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 400.0
RECORDING = b"RIFF not really a recording: the script does not look at it"


@dataclass(slots=True)
class Receiver:
    """Takes callbacks: the ids and bodies that came for each task."""

    url: str
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    statuses: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            headers = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            task = body["data"]["id"] if "id" in body["data"] else body["data"]["task"]["id"]
            taken.ids[task].add(headers["webhook-id"])
            taken.statuses[task].add(body["type"])
            writer.write(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # its sender was killed
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    taken = Receiver(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/done")
    async with server:
        yield taken


class Nodes:
    """Processes that work on tasks; killed without warning, and started again."""

    def __init__(self, url: str, data_dir: Path, count: int) -> None:
        self._url, self._data_dir = url, data_dir
        self._log = (data_dir / "nodes.log").open("ab")
        self.kills = 0
        self._processes = [self._start() for _ in range(count)]

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.chaos", self._url, str(self._data_dir)]
        return subprocess.Popen(command, cwd=ROOT, stdout=self._log, stderr=subprocess.STDOUT)

    def kill_one(self) -> None:
        place = random.randrange(len(self._processes))
        self._processes[place].kill()
        self._processes[place].wait()
        self._processes[place] = self._start()
        self.kills += 1

    def log(self) -> str:
        return (self._data_dir / "nodes.log").read_text()

    def close(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()


@contextmanager
def nodes(url: str, data_dir: Path, count: int) -> Iterator[Nodes]:
    running = Nodes(url, data_dir, count)
    try:
        yield running
    finally:
        running.close()


class OwnPostgres:
    """A server of the test's own, so that it may be restarted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tools = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1] if not shutil.which("initdb") else None
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            shutil.chown(folder, "postgres", "postgres")
        self._run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync")
        self._control("start")

    def restart(self) -> None:
        """As when the machine's power fails."""
        self._control("restart", "-m", "immediate")

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def _control(self, verb: str, *more: str) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c fsync=off"
        log = self._folder / "log"
        arguments = [] if verb == "stop" else ["-o", options, "-l", str(log)]
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", *arguments, *more, verb)

    def _run(self, tool: str, *arguments: str) -> None:
        command = [str(self._tools / tool) if self._tools else tool, *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        with (self._folder / "tools.log").open("ab") as log:  # not a pipe, which the server would keep open
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder)
        assert done.returncode == 0, (self._folder / "tools.log").read_text()


@asynccontextmanager
async def open_desk(url: str, data_dir: Path) -> AsyncIterator[TaskDesk]:
    """A node that takes tasks and works on none."""
    async with Database(url) as database:
        await database.upgrade()
        async with open_tasks(database, Script(), plan(data_dir, slots=0)) as tasks:
            yield tasks.desk


async def submit(desk: TaskDesk, data_dir: Path, count: int, callback_url: str) -> list[str]:
    new = []
    for number in range(count):
        id = new_id("task")
        recording = data_dir / f"recording-{number}"
        recording.write_bytes(RECORDING)
        key = await desk.media.save(recording, task_id=id, suffix=".wav")
        new.append(NewTask(id=id, owner=f"owner {number % 3}", media_key=key, callback_url=callback_url))
    return [task.id for task in await desk.submit(new)]


async def all_ended(desk: TaskDesk, count: int) -> bool:
    try:
        page = await desk.list(TaskQuery(owner=None, statuses=tuple(FINAL), limit=1))
    except Unavailable:
        return False
    return page.total == count


async def check(desk: TaskDesk, ids: list[str], callbacks: Receiver) -> None:
    """Each ended once, whole, and was told about under one id."""
    for id in ids:
        result = await desk.result(id, None)
        assert result.task.status is TaskStatus.SUCCEEDED, (id, result.task.error)
        assert [segment.id for segment in result.segments] == list(range(SEGMENTS)), id
        assert "".join(segment.text for segment in result.segments).strip() == TEXT, id
        ends = [event for event in await desk.events(id) if event.data.get("status") in FINAL]
        assert len(ends) == 1, id
    async with asyncio.timeout(PATIENCE_SECONDS):
        while set(callbacks.ids) < set(ids):  # noqa: ASYNC110 - they come from other processes
            await asyncio.sleep(0.2)
    assert {len(found) for found in callbacks.ids.values()} == {1}
    assert set().union(*callbacks.statuses.values()) == {"task.succeeded"}


async def test_three_nodes_are_killed_and_their_database_restarts(tmp_path: Path) -> None:
    random.seed(5)
    folder = Path(tempfile.mkdtemp(prefix="kikitori-postgresql-"))  # where its own user may go
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    server = await asyncio.to_thread(OwnPostgres, folder)
    try:
        async with receiver() as callbacks, open_desk(server.url, data_dir) as desk:
            ids = await submit(desk, data_dir, 200, callbacks.url)
            with nodes(server.url, data_dir, 3) as running:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    restarted = False
                    while not await all_ended(desk, len(ids)):
                        await asyncio.sleep(2.0)
                        if running.kills < 8:
                            await asyncio.to_thread(running.kill_one)
                        if running.kills >= 3 and not restarted:
                            await asyncio.to_thread(server.restart)
                            restarted = True
                assert running.kills >= 3
                assert restarted
                await check(desk, ids, callbacks)
    finally:
        await asyncio.to_thread(server.stop)
        shutil.rmtree(folder, ignore_errors=True)


async def test_one_node_on_sqlite_is_killed_again_and_again(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    url = f"sqlite:///{data_dir / 'kikitori.db'}"
    async with receiver() as callbacks, open_desk(url, data_dir) as desk:
        ids = await submit(desk, data_dir, 30, callbacks.url)
        with nodes(url, data_dir, 1) as running:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await all_ended(desk, len(ids)):
                    await asyncio.sleep(4.0)
                    if running.kills < 3:
                        await asyncio.to_thread(running.kill_one)
            assert running.kills >= 1
            await check(desk, ids, callbacks)
