"""Durable tasks: how fast they are taken, how soon they start, and what they cost beside a direct call."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from benchmarks import machine, servers
from benchmarks.audio import write_wav
from benchmarks.report import Table
from benchmarks.setup import Setup

MEBIBYTE = 1024**2
POSTGRESQL = "postgresql://postgres@127.0.0.1:5432/postgres"
CREATED = 3_000
CLIENTS = 32
QUEUED = 10_000
STARTS = 40
SHORT_SECONDS = 5.0
OVERHEADS = 20
BODY = json.dumps({"url": "https://example.org/talk.mp3", "tags": ["benchmark"], "priority": "low"}).encode()


def measure(setup: Setup) -> list[Table]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        about = machine.describe(setup.model_name, setup.device)
        return [_creation(setup, folder, about), _life(setup, folder, about)]


def _creation(setup: Setup, folder: Path, about: str) -> Table:
    rows = []
    for database in ("SQLite", "PostgreSQL"):
        with database_of(database) as url, _server(setup, folder / database, url, worker=False) as (address, _):
            asyncio.run(_post(address, 300))  # the first ones warm up
            seconds = asyncio.run(_post(address, CREATED))
            rows.append((f"one by one, {CLIENTS} clients", database, f"{CREATED / seconds:.0f}"))
            started = time.perf_counter()
            for _ in range(10):
                answer = httpx.post(
                    f"{address}/api/tasks/batch",
                    json={"urls": ["https://example.org/talk.mp3"] * 1_000, "priority": "low"},
                    timeout=120,
                )
                answer.raise_for_status()
            rows.append(("1,000 links in a request", database, f"{10_000 / (time.perf_counter() - started):.0f}"))
    return Table(
        name="task-creation",
        title="Creating tasks over HTTP",
        command="python -m benchmarks tasks",
        machine=about,
        columns=("how", "database", "tasks a second"),
        rows=rows,
        notes=["One server process; the clients run on the same cores. Every task is committed before its answer."],
    )


def _life(setup: Setup, folder: Path, about: str) -> Table:
    recording = write_wav(folder / "short.wav", SHORT_SECONDS)
    with _server(setup, folder / "life", "", worker=True) as (address, _), httpx.Client(base_url=address) as client:
        direct, tasks, starts = [], [], []
        for _ in range(OVERHEADS):
            direct.append(_timed(lambda: _direct(client, recording)))
            tasks.append(_timed(lambda: _as_task(client, recording)))
        for _ in range(STARTS):
            starts.append(_as_task(client, recording)["timings"]["queue_seconds"])
    with _server(setup, folder / "queue", "", worker=False) as (address, process):
        asyncio.run(_post(address, 100))
        before = process.memory_info().rss
        asyncio.run(_post(address, QUEUED))
        grown = (process.memory_info().rss - before) / MEBIBYTE
    overhead = statistics.median(task - call for task, call in zip(tasks, direct, strict=True))
    return Table(
        name="task-life",
        title="Tasks beside direct calls",
        command="python -m benchmarks tasks",
        machine=about,
        columns=("what", "value"),
        rows=[
            (f"a {SHORT_SECONDS:.0f} s file by a direct call", f"{1_000 * statistics.median(direct):.0f} ms"),
            ("the same as a task, until its result is read", f"{1_000 * statistics.median(tasks):.0f} ms"),
            ("overhead of the task", f"{1_000 * overhead:.0f} ms"),
            ("from submit to start on an idle node, p95", f"{1_000 * _percentile(starts, 0.95):.0f} ms"),
            (f"memory of {QUEUED:,} queued tasks", f"{grown:.0f} MiB" if grown >= 1 else "less than 1 MiB"),
        ],
        notes=[f"SQLite. Medians of {OVERHEADS} pairs, and of {STARTS} starts. The task's end is seen over SSE."],
    )


async def _post(address: str, count: int) -> float:
    """Seconds to create ``count`` tasks by clients that cost little themselves."""
    host, _, port = address.removeprefix("http://").partition(":")
    request = (
        f"POST /api/tasks HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(BODY)}\r\n\r\n"
    ).encode() + BODY
    left = iter(range(count))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in left:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 201"):
                raise RuntimeError(head.decode())
            length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return time.perf_counter() - started


def _direct(client: httpx.Client, recording: Path) -> None:
    with recording.open("rb") as file:
        client.post("/v1/audio/transcriptions", files={"file": file}, timeout=120).raise_for_status()


def _as_task(client: httpx.Client, recording: Path) -> dict[str, Any]:
    with recording.open("rb") as file:
        task = client.post("/api/tasks", files={"file": file}, timeout=120).raise_for_status().json()
    with client.stream("GET", f"/api/tasks/{task['id']}/events", timeout=120) as events:
        for line in events.iter_lines():
            if line.startswith("data: ") and '"status":"succeeded"' in line:
                break
    client.get(f"/api/tasks/{task['id']}/result").raise_for_status()
    found: dict[str, Any] = client.get(f"/api/tasks/{task['id']}").json()
    return found


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@contextmanager
def _server(setup: Setup, data_dir: Path, url: str, *, worker: bool) -> Iterator[tuple[str, psutil.Process]]:
    settings = {"database_url": url, "worker": str(worker).lower(), "log_level": "warning"}
    with servers.of_its_own(setup.model, setup.device, data_dir, **settings) as found:
        yield found


@contextmanager
def database_of(kind: str) -> Iterator[str]:
    """The URL of a new database."""
    if kind == "SQLite":
        yield ""
        return
    name = f"benchmark_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(POSTGRESQL, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield POSTGRESQL.rsplit("/", 1)[0] + f"/{name}"
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
