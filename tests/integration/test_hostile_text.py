"""Text that databases refuse, wherever a request has text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.databases import fresh_database
from tests.integration.test_openapi_fuzz import api, make_task

from kikitori.store.task_records import TaskStatus

NUL, HALF = "a\0b", "a\ud800b"
IN_PATHS = ("%00", "a%00b", "%ED%A0%80", "%FF", "..%2F..%2Fetc%2Fpasswd", "x" * 3_000)
IN_QUERIES = ("%00", "a%00b", "%ED%A0%80", "%FF", "9" * 5_000)
IN_JSON: tuple[Any, ...] = (NUL, HALF, 10**400, 1e308, [HALF], {NUL: HALF}, [[[]]])


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
async def test_text_that_no_database_takes_never_breaks_a_route(kind: str, tmp_path: Path) -> None:
    with fresh_database(kind, tmp_path) as url:
        async with api(url, tmp_path / "data") as target, httpx.AsyncClient(base_url=target.url) as client:
            for path, methods in target.schema["paths"].items():
                for method, operation in methods.items():
                    id = await make_task(target.store, TaskStatus.SUCCEEDED)
                    for answer in await send(client, method, path, operation, id):
                        assert answer.status_code not in (500, 503), (answer.request.url, answer.text)


async def send(client: httpx.AsyncClient, method: str, path: str, operation: Any, id: str) -> list[httpx.Response]:
    """Each of its texts once in each of its places."""
    answers = []
    if "{" in path:
        for bad in IN_PATHS:
            answers.append(await client.request(method, path.replace("{id}", bad).replace("{model}", bad)))
    here = path.replace("{id}", id).replace("{model}", "fake")
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            for bad in IN_QUERIES:
                answers.append(await client.request(method, f"{here}?{parameter['name']}={bad}"))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    example: dict[str, Any] = body.get("example", {})
    for name in body.get("schema", {}).get("properties", {}):
        for value in IN_JSON:
            answers += [await post(client, method, here, rest | {name: value}) for rest in (example, {})]
    if body:
        answers += [await post(client, method, here, example | {name: "x"}) for name in (NUL, HALF)]
    return answers


async def post(client: httpx.AsyncClient, method: str, path: str, value: object) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return await client.request(method, path, content=json.dumps(value).encode(), headers=headers)
