"""No route takes in more than it may, and none reads the body of somebody who has no key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from tests.unit.web.task_app import OwnersByKey

from kikitori.services.parts import Services
from kikitori.web.app import create_app
from kikitori.web.bodies import JSON, MAX_LONG_BYTES

BLOCK = b'{"a' + b"a" * 65_533
"""The beginning of a name that never ends."""


class Exchange:
    """A client that sends without end, until it is answered."""

    def __init__(self) -> None:
        self.read_bytes = 0
        self.status = 0
        self._blocks = self._body()

    def _body(self) -> Iterator[bytes]:
        yield BLOCK
        while True:
            yield b"a" * 65_536

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.status:
            return {"type": "http.disconnect"}
        block = next(self._blocks)
        self.read_bytes += len(block)
        return {"type": "http.request", "body": block, "more_body": True}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]


async def exchange(app: FastAPI, method: str, path: str, **headers: str) -> Exchange:
    found = Exchange()
    sent = {"host": "localhost", "transfer-encoding": "chunked", **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 4711),
        "server": ("localhost", 80),
    }
    async with asyncio.timeout(60):
        await app(scope, found.receive, found.send)
    return found


def routes_with_bodies(app: FastAPI) -> list[tuple[str, str, set[str]]]:
    """Method, path and content types of all that take a body."""
    return [
        (
            method.upper(),
            path.replace("{id}", "task_1").replace("{segment_id}", "1"),
            set(operation["requestBody"]["content"]),
        )
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation
    ]


@pytest.fixture
def app(make_services: Callable[..., Services]) -> FastAPI:
    return create_app(make_services(keys=OwnersByKey()))


async def test_a_body_is_not_read_before_its_sender_is_known(app: FastAPI) -> None:
    for method, path, types in routes_with_bodies(app):
        for kind in types:
            found = await exchange(app, method, path, content_type=f"{kind}; boundary=x")
            assert (path, found.status, found.read_bytes) == (path, 401, 0)


async def test_json_bodies_are_bounded_while_they_come(app: FastAPI) -> None:
    paths = [(method, path) for method, path, types in routes_with_bodies(app) if JSON in types]
    assert len(paths) > 8
    for method, path in paths:
        found = await exchange(app, method, path, content_type=JSON, x_api_key="root")
        assert (path, found.status) == (path, 413)
        assert found.read_bytes <= MAX_LONG_BYTES + 2 * 65_536


async def test_json_must_say_that_it_is_json(app: FastAPI) -> None:
    """A browser sends text/plain to any server without asking it."""
    for method, path, types in routes_with_bodies(app):
        if JSON in types:
            found = await exchange(app, method, path, content_type="text/plain", x_api_key="root")
            assert (path, found.status, found.read_bytes) == (path, 400, 0)
