"""Tasks of a real server, over its public API and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
PATIENCE_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a task, as server-sent events carry it."""

    id: str
    type: str
    data: Mapping[str, Any]


class TaskApi:
    """Makes, watches and reads tasks."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def post(self, path: Path | None = None, **fields: Any) -> httpx.Response:
        """A form with a file, or JSON."""
        if path is None:
            return await self.client.post("/api/tasks", json=fields)
        content = await asyncio.to_thread(path.read_bytes)
        return await self.client.post("/api/tasks", files={"file": (path.name, content)}, data=fields)

    async def make(self, path: Path | None = None, **fields: Any) -> str:
        """The id of a new task."""
        answer = await self.post(path, **fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def show(self, id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/api/tasks/{id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def result(self, id: str, *, partial: bool = False) -> dict[str, Any]:
        answer = await self.client.get(f"/api/tasks/{id}/result", params={"partial": partial})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def act(self, id: str, verb: str, **fields: Any) -> dict[str, Any]:
        answer = await self.client.post(f"/api/tasks/{id}/{verb}", json=fields or None)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def list(self, **query: Any) -> dict[str, Any]:
        answer = await self.client.get("/api/tasks", params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def events(self, id: str, *, last: str = "") -> AsyncGenerator[Event, None]:
        """What the server tells of a task, until it ends the stream. Raises httpx.TransportError when it dies."""
        headers = {"last-event-id": last} if last else {}
        async with self.client.stream("GET", f"/api/tasks/{id}/events", headers=headers) as answer:
            assert answer.status_code in (200, 204)
            fields: dict[str, str] = {}
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
                    fields = {}

    async def until(self, id: str, *statuses: str, progress: float = 0.0) -> Mapping[str, Any]:
        """The task as soon as it is in one of ``statuses`` and that far."""
        status, done = "", 0.0
        async with asyncio.timeout(PATIENCE_SECONDS), aclosing(self.events(id)) as events:
            async for event in events:
                status, done = event.data.get("status", status), event.data.get("progress", done)
                if status in statuses and done >= progress:
                    return await self.show(id)
                assert status not in FINAL, event.data
        raise AssertionError(f"the events of {id} ended too early")

    async def ended(self, id: str) -> Mapping[str, Any]:
        return await self.until(id, *FINAL)

    async def text(self, id: str) -> str:
        """Of a task that succeeded, whole: its segments follow each other without gaps in their numbers."""
        task = await self.ended(id)
        assert task["status"] == "succeeded", task["error"]
        result = await self.result(id)
        assert [segment["id"] for segment in result["segments"]] == list(range(len(result["segments"])))
        return str(result["text"])

    async def failure(self, id: str) -> Mapping[str, str]:
        """The error of a task that failed; reading its result says the same."""
        task = await self.ended(id)
        assert task["status"] == "failed", task
        error: Mapping[str, str] = task["error"]
        answer = await self.client.get(f"/api/tasks/{id}/result")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, error["code"])
        assert error["message"] in answer.json()["error"]["message"]
        return error


@asynccontextmanager
async def task_api(url: str) -> AsyncIterator[TaskApi]:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        yield TaskApi(client)
