"""The life of a server process: alive under load, and an orderly end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from tests.servers import PATIENCE_SECONDS, Server, running_server

if TYPE_CHECKING:
    from tests.conftest import Sample

MANY = 60
"""More requests than any pool of threads has places."""


Samples = Mapping[str, "Sample"]


async def post(client: httpx.AsyncClient, recording: bytes, **options: str) -> httpx.Response:
    fields = {"language": "en", **options}
    return await client.post("/v1/audio/transcriptions", files={"file": recording}, data=fields, timeout=300)


SLOW = {"mode": "sequential", "beam_size": "8"}
"""So that the first request still runs when the last one comes."""


async def has_requests(client: httpx.AsyncClient, count: int) -> bool:
    models = (await client.get("/api/models/loaded")).json()["models"]
    return bool(models[0]["requests"] >= count)


async def until_it_has(client: httpx.AsyncClient, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await has_requests(client, count):
            pass


async def test_health_and_metrics_answer_while_everything_is_busy(server: Server, samples: Samples) -> None:
    recording = samples["en_multi_80s"].path.read_bytes()
    async with httpx.AsyncClient(base_url=server.url, limits=httpx.Limits(max_connections=MANY + 10)) as client:
        working = [asyncio.create_task(post(client, recording, **SLOW)) for _ in range(MANY)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await has_requests(client, MANY):
                assert (await client.get("/health/live")).status_code == 200
        for route in ("/health/live", "/health/ready", "/metrics", "/v1/models", "/docs"):
            assert (await client.get(route)).status_code == 200
        assert await has_requests(client, 1), "they were answered meanwhile"
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def test_a_full_queue_tells_when_to_come_back(tmp_path: Path, mini_model: Path, samples: Samples) -> None:
    recording = samples["en_multi_40s"].path.read_bytes()
    with running_server(tmp_path / "data", model=str(mini_model), max_queue="2") as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            answers = await asyncio.gather(*(post(client, recording) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert 1 <= float(answer.headers["retry-after"]) <= 60
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"


async def test_a_running_request_is_finished_after_sigterm(tmp_path: Path, mini_model: Path, samples: Samples) -> None:
    recording = samples["en_multi_40s"].path.read_bytes()
    with running_server(tmp_path / "data", model=str(mini_model)) as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            running = asyncio.create_task(post(client, recording))
            await until_it_has(client, 1)
            server.process.send_signal(signal.SIGTERM)
            answer = await running
        assert await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS) == 0
    assert answer.status_code == 200
    assert answer.json()["text"]


async def test_after_the_grace_time_running_requests_are_cancelled(
    tmp_path: Path, mini_model: Path, samples: Samples
) -> None:
    recording = samples["en_multi_80s"].path.read_bytes()
    with running_server(tmp_path / "data", model=str(mini_model), shutdown_grace_seconds="0") as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            running = [asyncio.create_task(post(client, recording, **SLOW)) for _ in range(20)]
            await until_it_has(client, 20)
            server.process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*running, return_exceptions=True)
        assert await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS) == 0
    told = [answer for answer in answers if isinstance(answer, httpx.Response)]
    assert {answer.status_code for answer in told} <= {200, 503}
    refused = [answer.json()["error"]["code"] for answer in told if answer.status_code == 503]
    assert refused and set(refused) == {"shutting_down"}, "nobody waited for them, and they were told"
    assert list((server.data_dir / "tmp").iterdir()) == []
