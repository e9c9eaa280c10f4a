"""The life of a server process: alive under load, and an orderly end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from tests.servers import Server, running_server

if TYPE_CHECKING:
    from tests.conftest import Sample

MANY = 60
"""More requests than any pool of threads has places."""


Samples = Mapping[str, "Sample"]


async def post(client: httpx.AsyncClient, recording: bytes) -> httpx.Response:
    return await client.post(
        "/v1/audio/transcriptions", files={"file": recording}, data={"language": "en"}, timeout=300
    )


async def test_health_and_metrics_answer_while_everything_is_busy(server: Server, samples: Samples) -> None:
    recording = samples["en_multi_80s"].path.read_bytes()
    async with httpx.AsyncClient(base_url=server.url, limits=httpx.Limits(max_connections=MANY + 10)) as client:
        working = [asyncio.create_task(post(client, recording)) for _ in range(MANY)]
        while (await client.get("/api/models/loaded")).json()["models"][0]["requests"] < MANY:
            assert (await client.get("/health/live", timeout=5)).status_code == 200
        for route in ("/health/live", "/health/ready", "/metrics", "/v1/models", "/docs"):
            assert (await client.get(route, timeout=5)).status_code == 200
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
            while (await client.get("/api/models/loaded")).json()["models"][0]["requests"] == 0:
                pass
            server.process.send_signal(signal.SIGTERM)
            answer = await running
        assert await asyncio.to_thread(server.process.wait, 60) == 0
    assert answer.status_code == 200
    assert answer.json()["text"]


async def test_after_the_grace_time_running_requests_are_cancelled(
    tmp_path: Path, mini_model: Path, samples: Samples
) -> None:
    recording = samples["en_multi_80s"].path.read_bytes()
    with running_server(tmp_path / "data", model=str(mini_model), shutdown_grace_seconds="0") as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            running = [asyncio.create_task(post(client, recording)) for _ in range(20)]
            while (await client.get("/api/models/loaded")).json()["models"][0]["requests"] < 20:
                pass
            server.process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*running, return_exceptions=True)
        assert await asyncio.to_thread(server.process.wait, 60) == 0
    assert not [answer for answer in answers if isinstance(answer, httpx.Response) and answer.status_code == 500]
    assert list((server.data_dir / "tmp").iterdir()) == []
