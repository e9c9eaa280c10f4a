"""The routes of callbacks on an outbox in memory; receivers are functions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from standardwebhooks import Webhook
from tests.clock import Clock
from tests.unit.idle import idle_desk
from tests.unit.tasks.memory import NOON, MemoryOutbox, MemoryTasks, finished_task

from kikitori.media.guard import Guard
from kikitori.settings import Settings
from kikitori.store.keys import ApiKey
from kikitori.store.task_records import CallbackAttempt, CallbackStatus
from kikitori.tasks.callback_desk import CallbackDesk
from kikitori.tasks.callbacks import CallbackSender
from kikitori.tasks.signing import Signer, make_secret
from kikitori.web.errors import install_error_handlers
from kikitori.web.limits import CallLimit
from kikitori.web.recent import Recent
from kikitori.web.routes import callbacks
from kikitori.web.sockets.house import Sockets
from kikitori.web.state import WebState, attach
from kikitori.web.uploads import Uploads


class KeysOfOwners:
    """The secret of a key is ``owner/scope``."""

    async def any(self) -> bool:
        return True

    async def verify(self, secret: str) -> ApiKey | None:
        owner, _, scope = secret.partition("/")
        return ApiKey(id=1, name="", owner=owner, scopes=frozenset({scope}), prefix="kk_", created_at=NOON)


class World:
    def __init__(self, folder: Path) -> None:
        self.outbox, self.tasks = MemoryOutbox(), MemoryTasks()
        self.signer = Signer(make_secret())
        self.received: list[httpx.Request] = []
        self.status = 204
        guard = Guard.allowing()
        sender = CallbackSender(
            self.outbox,
            self.tasks,
            self.signer,
            node_id="node_1",
            open_client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(self._receive)),
            now=Clock(datetime.now(UTC)),
        )
        desk = CallbackDesk(self.outbox, self.tasks, sender=sender, signer=self.signer, guard=guard)
        settings = Settings(data_dir=folder)
        services: Any = SimpleNamespace(settings=settings, keys=KeysOfOwners(), callbacks=desk)
        self.app = FastAPI()
        install_error_handlers(self.app)
        self.app.include_router(callbacks.router)
        state = WebState(
            services=services,
            uploads=Uploads(folder, max_bytes=1_000),
            guard=guard,
            calls=CallLimit(1),
            streams=CallLimit(1),
            sockets=Sockets(idle_desk(), CallLimit(1)),
            render_threads=anyio.CapacityLimiter(1),
            open_without_keys=False,
            supported=Recent(),
        )
        attach(self.app, state)
        self.state = state
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://localhost")

    async def get(self, path: str, key: str = "ann/transcribe") -> httpx.Response:
        return await self.client.get(path, headers={"x-api-key": key})

    async def post(self, path: str, body: object = None, key: str = "ann/transcribe") -> httpx.Response:
        return await self.client.post(path, json=body, headers={"x-api-key": key})

    def _receive(self, request: httpx.Request) -> httpx.Response:
        self.received.append(request)

        async def body() -> AsyncGenerator[bytes, None]:
            yield b"thank you"

        return httpx.Response(self.status, content=body())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World, None]:
    made = World(tmp_path)
    async with made.client:
        yield made


async def tried(world: World, status: CallbackStatus = CallbackStatus.FAILED) -> None:
    callback = world.outbox.add(world.tasks.add(finished_task()))
    attempt = CallbackAttempt(number=1, at=NOON, status_code=500, error="The answer was 500.", response="oops")
    await world.outbox.record(callback, attempt, status=status, next_attempt_at=None)


async def test_every_attempt_is_shown(world: World) -> None:
    await tried(world)
    [shown] = (await world.get("/api/tasks/task_1/callbacks")).json()["callbacks"]
    assert (shown["id"], shown["status"], shown["url"]) == ("whk_task_1", "failed", "https://hooks.example.org/")
    assert shown["attempts"] == [
        {
            "number": 1,
            "at": "2026-03-01T12:00:00.000Z",
            "status_code": 500,
            "response": "oops",
            "error": "The answer was 500.",
            "seconds": 0.0,
        }
    ]


async def test_a_task_without_callbacks_shows_none(world: World) -> None:
    world.tasks.add(finished_task())
    assert (await world.get("/api/tasks/task_1/callbacks")).json() == {"callbacks": []}


@pytest.mark.parametrize(("key", "status"), [("bob/transcribe", 404), ("root/admin", 200), ("ann/models", 403)])
async def test_callbacks_of_others_are_not_there(world: World, key: str, status: int) -> None:
    await tried(world)
    assert (await world.get("/api/tasks/task_1/callbacks", key)).status_code == status
    resent = await world.post("/api/tasks/task_1/callbacks/resend", key=key)
    assert resent.status_code == (202 if status == 200 else status)


async def test_a_callback_is_sent_again_under_its_old_id(world: World) -> None:
    await tried(world)
    answer = await world.post("/api/tasks/task_1/callbacks/resend")
    shown = answer.json()
    assert (answer.status_code, shown["id"], shown["status"]) == (202, "whk_task_1", "pending")
    assert len(shown["attempts"]) == 1


async def test_a_task_that_has_not_ended_has_no_callback_to_send_again(world: World) -> None:
    world.tasks.add(finished_task())
    answer = await world.post("/api/tasks/task_1/callbacks/resend")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


async def test_a_task_that_wants_no_callback_has_none_to_send_again(world: World) -> None:
    world.tasks.add(finished_task(url=""))
    assert (await world.post("/api/tasks/task_1/callbacks/resend")).status_code == 404


async def test_a_receiver_is_tested_with_the_secret_that_its_owner_reads(world: World) -> None:
    answer = await world.post("/api/callbacks/test", {"url": "https://hooks.example.org/"})
    told = answer.json()
    assert (told["delivered"], told["status_code"], told["response"], told["error"]) == (True, 204, "thank you", "")
    [request] = world.received
    secret = (await world.get("/api/callbacks/secret")).json()["secret"]
    assert Webhook(secret).verify(request.content, dict(request.headers))["type"] == "callback.test"


async def test_a_receiver_that_refuses_is_no_error_of_ours(world: World) -> None:
    world.status = 503
    answer = await world.post("/api/callbacks/test", {"url": "https://hooks.example.org/"})
    assert (answer.status_code, answer.json()["delivered"], answer.json()["status_code"]) == (200, False, 503)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://169.254.169.254/latest", "forbidden_address"),
        ("http://localhost/", "forbidden_address"),
        ("ftp://example.org/", "invalid_value"),
        ("", "invalid_value"),
        ("https://example.org/" + "a" * 3_000, "invalid_value"),
    ],
)
async def test_what_is_no_public_address_is_not_tested(world: World, url: str, code: str) -> None:
    answer = await world.post("/api/callbacks/test", {"url": url})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, "url")
    assert world.received == []


async def test_tests_count_as_requests_of_their_key(world: World) -> None:
    with world.state.calls.place("key 1"):
        assert (await world.post("/api/callbacks/test", {"url": "https://example.org/"})).status_code == 429


async def test_each_owner_reads_its_own_secret_and_no_cache_keeps_it(world: World) -> None:
    answer = await world.get("/api/callbacks/secret")
    assert answer.json() == {"secret": world.signer.secret("ann")}
    assert answer.headers["cache-control"] == "no-store"
    assert (await world.get("/api/callbacks/secret", "bob/transcribe")).json() != answer.json()
    assert (await world.get("/api/callbacks/secret", "bob/models")).status_code == 403
