"""Everything that the description of the API allows, and much that it does not, sent to a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import jsonschema_rs
import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case as AnyCase
from schemathesis import CheckFunction, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.chat_server import chat_server, says
from tests.databases import fresh_database
from tests.unit.idle import NoHub, idle_desk
from tests.unit.web.conftest import FakeCatalog, FakePool, NoKeys

from kikitori.errors import LinkFailed
from kikitori.inference.downloads import Downloads
from kikitori.llm.client import ChatModels
from kikitori.media.guard import Guard, guarded_client
from kikitori.media.sites import Fetched, Playlist
from kikitori.media.store import MediaStore
from kikitori.metrics import Metrics
from kikitori.services.parts import Keys, Services
from kikitori.settings import Settings
from kikitori.store.answers import AnswerStore
from kikitori.store.callbacks import CallbackStore
from kikitori.store.client_secrets import ClientSecretStore
from kikitori.store.database import Database
from kikitori.store.kept import KeptTexts
from kikitori.store.keys import KeyStore
from kikitori.store.nodes import NodeStore
from kikitori.store.stats import StatsStore
from kikitori.store.task_records import Checkpoint, NewTask, TaskError, TaskRecord, TaskStatus, new_id
from kikitori.store.tasks import TaskStore
from kikitori.tasks.callback_desk import CallbackDesk
from kikitori.tasks.callbacks import CallbackSender
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.signing import Signer, make_secret
from kikitori.tasks.stats import StatsDesk
from kikitori.testing import FakeSpeaker, FakeTranscriber, fake_segments, fake_transcript, script_of, until
from kikitori.tts.desk import SpeechDesk
from kikitori.tts.plan import SpeechPlan
from kikitori.types import SpeechSpan
from kikitori.web.app import create_app

Case: TypeAlias = AnyCase[Any]

SEED = 20_260_301
EXAMPLES = {"sqlite": 12, "postgresql": 6}
"""Of each operation, as described and not: half and half."""
NODE = "node_1"
LINK = "https://example.org/talk.mp3"
CHECKS: list[CheckFunction] = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
ENDS = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED)
SECONDS = 60.0
BEFORE_ITS_END = ("/api/tasks/{id}/priority",)
NOT_HERE = ("/api/media/audio", "/api/media/probe", "/api/models/load", "/v1/audio/speech", "/v1/listen")
"""The links, models and voices of their examples."""


class NoLinks:
    async def fetch(self, text: str, folder: Path) -> Fetched | Playlist:
        raise LinkFailed("example.org cannot be reached.")


class FakeServices(Services):
    async def speech_spans(self, media: object, options: object) -> tuple[list[SpeechSpan], float]:
        return [SpeechSpan(start=0.5, end=1.5)], 2.0


async def no_host(host: str, port: int) -> Sequence[str]:
    raise OSError("no such host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    url: str
    schema: Mapping[str, Any]
    store: TaskStore


@asynccontextmanager
async def api(database_url: str, data_dir: Path, *, keys: Keys | None = None) -> AsyncGenerator[Api, None]:
    """A server on a real port: tasks, callbacks and answers are real, engines, links and sites are not."""
    async with Database(database_url) as database, chat_server(says("[1] Fine.")) as chat:
        await database.upgrade()
        store, outbox, signer = TaskStore(database), CallbackStore(database), Signer(make_secret())
        guard = Guard(resolve=no_host)
        client = partial(guarded_client, guard)
        sender = CallbackSender(outbox, store, signer, node_id=NODE, open_client=client)
        services = FakeServices(
            settings=Settings(data_dir=data_dir),
            metrics=Metrics(),
            keys=keys or NoKeys(),
            catalog=FakeCatalog(),
            pool=FakePool(),
            transcriber=FakeTranscriber(script_of(fake_transcript(" The birch canoe", " slid on."))),
            tasks=TaskDesk(store, MediaStore("", data_dir)),
            callbacks=CallbackDesk(outbox, store, sender=sender, signer=signer, guard=guard),
            answers=AnswerStore(database),
            llm=ChatModels(guarded=client, base_url=chat.url, model="fake"),
            fetcher=NoLinks(),
            client_secrets=ClientSecretStore(database),
            kept=KeptTexts(database),
            key_store=KeyStore(database),
            stats=StatsDesk(StatsStore(database), NodeStore(database)),
            downloads=Downloads(NoHub()),
            live=idle_desk(),
            speech=SpeechDesk(SpeechPlan(engine="fake"), open_engine=lambda plan: FakeSpeaker()),
        )
        app = create_app(services)
        async with served(app) as url:
            yield Api(url=url, schema=app.openapi(), store=store)


@asynccontextmanager
async def served(app: Any) -> AsyncGenerator[str, None]:
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    server.capture_signals = no_signals  # type: ignore[method-assign]  # they are pytest's
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@contextmanager
def no_signals() -> Iterator[None]:
    yield


async def make_tasks(store: TaskStore) -> list[str]:
    """Tasks that have ended, with a text and without: their streams end, and they can be removed."""
    return [await make_task(store, status) for status in ENDS]


async def make_task(store: TaskStore, status: TaskStatus, *, owner: str = "") -> str:
    asked = NewTask(id=new_id("task"), owner=owner, url=LINK, callback_url="https://example.org/hook")
    [task] = await store.create([asked])
    if status is TaskStatus.QUEUED:
        return task.id
    [held] = [each for each in await store.claim(NODE, 1_000) if each.id == task.id]
    await work_on(store, held, status)
    return task.id


async def work_on(store: TaskStore, task: TaskRecord, status: TaskStatus) -> None:
    task = await store.started(task, duration=2.0, model="fake", engine="fake", mode="windowed")
    await store.advance(
        task,
        segments=fake_segments(" The birch canoe", " slid on."),
        seconds_done=2.0,
        duration=2.0,
        checkpoint=Checkpoint(seconds=2.0, segments=2),
        language=("en", 0.9),
    )
    if status.is_final:
        error = TaskError(code="link_failed", message="No.", remedy="Check the link.")
        await store.finish(task, status, error=error if status is TaskStatus.FAILED else None)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
async def test_whatever_is_sent_is_answered_as_the_api_is_described(kind: str, tmp_path: Path) -> None:
    with fresh_database(kind, tmp_path) as url:
        async with api(url, tmp_path / "data") as target:
            await make_task(target.store, TaskStatus.RUNNING)
            loop = asyncio.get_running_loop()

            def tasks() -> list[str]:
                return asyncio.run_coroutine_threadsafe(make_tasks(target.store), loop).result()

            troubles = await asyncio.to_thread(send_all, target, tasks, EXAMPLES[kind])
    assert not troubles, "\n\n".join(troubles)


async def test_the_examples_of_the_description_are_true(tmp_path: Path) -> None:
    """What it says may be sent is taken, and what it says comes back fits its own schema."""
    with fresh_database("sqlite", tmp_path) as url:
        async with api(url, tmp_path / "data") as target, httpx.AsyncClient(base_url=target.url) as client:
            for path, method, operation in operations(target.schema):
                id = await make_task(target.store, TaskStatus.QUEUED if path in BEFORE_ITS_END else TaskStatus.FAILED)
                for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                    if kind == "application/json":
                        place = path.replace("{id}", id).replace("{segment_id}", "0")
                        answer = await client.request(method, place, json=body["example"])
                        assert answer.is_success or path in NOT_HERE, (path, answer.text)
                for status, answered in operation["responses"].items():
                    check_examples(f"{method} {path} {status}", answered.get("content", {}), target.schema)


def operations(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def check_examples(where: str, content: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    for media in content.values():
        examples = [each["value"] for each in media.get("examples", {}).values()]
        for example in [*examples, *([media["example"]] if "example" in media else [])]:
            kind = {**media.get("schema", {}), "components": schema["components"]}
            errors = jsonschema_rs.Draft202012Validator(kind).iter_errors(example)
            assert not [error.message for error in errors], where


def send_all(target: Api, make_tasks: Callable[[], list[str]], examples: int) -> list[str]:
    """What was answered otherwise than it is described, the first of each kind for each operation."""
    schema = schemathesis.openapi.from_dict(dict(target.schema))
    troubles: dict[object, str] = {}
    with requests.Session() as session:
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                send = partial(send_one, target.url, session, troubles)
                send_many(operation.as_strategy(generation_mode=mode), make_tasks(), send, examples // 2)
    return [*troubles.values()]


def send_many(cases: Any, ids: Sequence[str], send: Callable[[Case], None], examples: int) -> None:
    @seed(SEED)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, id=st.sampled_from([None, *ids]))
    def send_some(case: Case, id: str | None) -> None:
        if id is not None and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = id
        send(case)

    with suppress(Unsatisfiable):  # there is nothing to get wrong
        send_some()


def send_one(url: str, session: requests.Session, troubles: dict[object, str], case: Case) -> None:
    answer = case.call(base_url=url, session=session, timeout=SECONDS)
    found: list[tuple[str, str]] = []
    if answer.status_code == 500:
        found.append(("broken", "The server broke."))
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as group:
        found += [(f"{type(each).__name__} {answer.status_code}", str(each)) for each in group.exceptions]
    for kind, message in found:
        lines = [
            case.operation.label,
            message,
            case.as_curl_command(),
            f"{answer.status_code} {answer.content[:500]!r}",
        ]
        troubles.setdefault((case.operation.label, kind), "\n".join(lines))
