"""Another owner's task is not there, on any route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from tests.databases import fresh_database
from tests.integration.test_openapi_fuzz import api, make_task, operations
from tests.unit.web.task_app import OwnersByKey

from kikitori.store.task_records import TaskStatus

BOB, ROOT = {"x-api-key": "bob"}, {"x-api-key": "root"}
NOBODYS = "task_00000000000000000000000000"


async def ask(client: httpx.AsyncClient, method: str, path: str, operation: Any, key: dict[str, str]) -> httpx.Response:
    content = operation.get("requestBody", {}).get("content", {})
    example = content.get("application/json", {}).get("example")
    return await client.request(method, path, json=example, headers=key, timeout=60)


@pytest.mark.parametrize("status", [TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.SUCCEEDED, TaskStatus.FAILED])
async def test_a_task_of_another_owner_is_answered_like_none(status: TaskStatus, tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path) as url:
        async with api(url, tmp_path / "data", keys=OwnersByKey()) as target:
            async with httpx.AsyncClient(base_url=target.url) as client:
                id = await make_task(target.store, status, owner="ann")
                walked = [each for each in operations(target.schema) if "{id}" in each[0]]
                assert len(walked) > 12
                before = await target.store.get(id, None)
                for template, method, operation in walked:
                    path = template.replace("{segment_id}", "0")
                    hers = await ask(client, method, path.replace("{id}", id), operation, BOB)
                    none = await ask(client, method, path.replace("{id}", NOBODYS), operation, BOB)
                    assert (hers.status_code, none.status_code) == (404, 404), path
                    assert hers.text == none.text.replace(NOBODYS, id)
                listed = await client.get("/api/tasks?include=result&limit=20", headers=BOB)
                assert (listed.json()["tasks"], listed.json()["total"]) == ([], 0)
                assert (await client.get("/api/tasks?owner=ann", headers=BOB)).status_code == 403
                assert await target.store.get(id, None) == before
                assert (await client.get(f"/api/tasks/{id}", headers=ROOT)).status_code == 200


async def test_a_task_of_another_owner_is_not_told_of_on_a_socket(tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path) as url:
        async with api(url, tmp_path / "data", keys=OwnersByKey()) as target:
            id = await make_task(target.store, TaskStatus.SUCCEEDED, owner="ann")
            said = []
            for wanted in (id, NOBODYS):
                address = f"{target.url.replace('http', 'ws', 1)}/api/tasks/{wanted}/events"
                async with websockets.connect(address, additional_headers=BOB) as socket:
                    said.append(str(await socket.recv()).replace(wanted, "…"))
                    with pytest.raises(websockets.ConnectionClosedError):
                        await socket.recv()
                    assert socket.close_code == 4404
            assert said[0] == said[1]
