"""Tasks outlive their server: killed or told to stop, it finishes what it took after the next start."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.recordings import join
from tests.servers import PATIENCE_SECONDS, Server, running_server
from tests.task_api import Event, TaskApi, task_api
from tests.unit.media.conftest import Site, body, running, stalled

from kikitori.store.database import Database
from kikitori.store.task_records import TaskRecord, TaskStatus
from kikitori.store.tasks import TaskStore

if TYPE_CHECKING:
    from tests.conftest import Sample

SLOW_UPLOAD = (
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n"
    b"content-type: multipart/form-data; boundary=x\r\ncontent-length: 1000000\r\n\r\n"
)
"""A request that is never sent to its end."""

Samples = Mapping[str, "Sample"]
GRACE_SECONDS = 3_600
"""More than any test waits: whoever waited for it would fail."""
SPOKEN = ("en_multi_80s", "en_multi_40s", "en_01", "en_02")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, samples: Samples) -> Path:
    """Somebody speaks for four minutes: there is much left to do when the server hears of its end."""
    paths = [samples[name].path for name in SPOKEN]
    return join(paths, tmp_path_factory.mktemp("recordings") / "talk.wav", rounds=2)


def serving(data_dir: Path, model: Path) -> Any:
    """Short chunks: results come often, and tasks take turns."""
    return running_server(
        data_dir,
        model=str(model),
        allowed_addresses="127.0.0.0/8",
        task_slots="2",
        chunk_seconds="30",
        shutdown_grace_seconds=str(GRACE_SECONDS),
    )


async def stored(data_dir: Path, id: str) -> TaskRecord:
    """The task as the database of a server that has gone says it is."""
    async with Database(f"sqlite:///{data_dir / 'kikitori.db'}") as database:
        return await TaskStore(database).get(id, None)


async def watch(tasks: TaskApi, id: str, seen: list[Event]) -> None:
    """Gather the events of a task, also those of a server that dies."""
    last = seen[-1].id if seen else ""
    try:
        async with aclosing(tasks.events(id, last=last)) as events:
            async for event in events:
                seen.append(event)
    except httpx.TransportError:
        pass


def kill(server: Server) -> None:
    server.process.kill()
    server.process.wait()


def terminate(server: Server) -> None:
    """The server ends long before it would leave what runs to itself."""
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=PATIENCE_SECONDS) == 0


def spoken(result: Mapping[str, Any]) -> list[tuple[int, float, float, str]]:
    return [(part["id"], part["start"], part["end"], part["text"]) for part in result["segments"]]


async def test_a_killed_server_goes_on_where_it_was(
    tmp_path: Path, mini_model: Path, recording: Path, samples: Samples
) -> None:
    data_dir, seen = tmp_path / "data", list[Event]()
    content, short = recording.read_bytes(), samples["en_02"].path.read_bytes()  # noqa: ASYNC240
    async with running(Site(pages={"/talk.wav": body(content), "/slow.wav": stalled(short[:9_000])})) as site:
        with serving(data_dir, mini_model) as server:
            async with task_api(server.url) as tasks:
                file = await tasks.make(recording, language="en")
                watching = asyncio.create_task(watch(tasks, file, seen))
                link = await tasks.make(url=site.url("/talk.wav"), language="en")
                slow = await tasks.make(url=site.url("/slow.wav"))
                for id in (file, link):
                    await tasks.until(id, "running", progress=25)
                assert (await tasks.show(slow))["status"] == "fetching"
                kill(server)
                await watching
        assert seen[-1].data.get("status") not in ("succeeded", "failed")
        heard = [event.data["id"] for event in seen if event.type == "segment"]
        assert heard == list(range(len(heard)))
        assert heard

        site.pages["/slow.wav"] = body(short)
        with serving(data_dir, mini_model) as server:
            async with task_api(server.url) as tasks:
                await watch(tasks, file, seen)
                assert await tasks.text(slow)
                assert await tasks.text(file) == await tasks.text(link)
                assert (await tasks.show(file))["attempts"] == 2
                whole = await tasks.make(recording, language="en")
                assert await tasks.text(whole)
                assert spoken(await tasks.result(file)) == spoken(await tasks.result(whole))
                assert spoken(await tasks.result(link)) == spoken(await tasks.result(whole))

                segments = [event.data for event in seen if event.type == "segment"]
                assert segments == (await tasks.result(file))["segments"]
                done = [event.data["seconds_done"] for event in seen if event.type == "progress"]
                assert done == sorted(done)
                assert [event.data["status"] for event in seen if event.type == "status"][-1] == "succeeded"
    assert not [*(data_dir / "media").rglob("fetch-*"), *(data_dir / "tmp").iterdir()]


async def test_a_server_that_is_told_to_stop_gives_its_tasks_back(
    tmp_path: Path, mini_model: Path, recording: Path
) -> None:
    data_dir, seen = tmp_path / "data", list[Event]()
    with serving(data_dir, mini_model) as server:
        async with task_api(server.url) as tasks:
            task = await tasks.make(recording, language="en", mode="sequential")
            watching = asyncio.create_task(watch(tasks, task, seen))
            await tasks.until(task, "running", progress=20)
            await asyncio.to_thread(terminate, server)
            await watching
    waiting = await stored(data_dir, task)
    assert (waiting.status, waiting.attempts, waiting.node) == (TaskStatus.QUEUED, 0, None)
    assert waiting.progress >= 20
    with serving(data_dir, mini_model) as server:
        async with task_api(server.url) as tasks:
            await watch(tasks, task, seen)
            assert await tasks.text(task)
            assert (await tasks.show(task))["attempts"] == 1
            assert [event.data for event in seen if event.type == "segment"] == (await tasks.result(task))["segments"]
        await asyncio.to_thread(terminate, server)


async def test_tasks_go_back_when_a_server_begins_to_stop_and_not_when_its_last_request_ends(
    tmp_path: Path, mini_model: Path, recording: Path
) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir, mini_model) as server:
        async with task_api(server.url) as tasks:
            task = await tasks.make(recording, language="en", mode="sequential")
            await tasks.until(task, "running", progress=20)
            reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(server.url).port)
            writer.write(SLOW_UPLOAD)
            assert b"100 Continue" in await reader.readline()
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await stored(data_dir, task)).status is not TaskStatus.QUEUED:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        assert server.process.poll() is None, "the upload still runs"
        writer.close()
        assert await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS) == 0
