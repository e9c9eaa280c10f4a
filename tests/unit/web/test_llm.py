"""Summaries, questions and translations, with a real HTTP server as the language model."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import httpx
import pytest
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import Message
from tests.chat_server import Asked, FakeChatServer, Reply, chat_server, fails, says

from kikitori.errors import NotFound
from kikitori.llm.client import ChatModels
from kikitori.media.guard import Guard, guarded_client
from kikitori.metrics import Metrics
from kikitori.settings import Settings
from kikitori.store.answers import Answer, AnswerKind
from kikitori.store.keys import ApiKey, Scope
from kikitori.store.task_records import TaskRecord, TaskResult, TaskStatus
from kikitori.testing import Hold, until
from kikitori.types import Segment, Word
from kikitori.web.errors import install_error_handlers
from kikitori.web.limits import CallLimit
from kikitori.web.middleware import LastResort, RequestLog
from kikitori.web.recent import Recent
from kikitori.web.routes import llm
from kikitori.web.state import WebState, attach
from kikitori.web.uploads import Uploads

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
THEIR_KEY = "sk-caller-abcdefghij"
SEGMENTS = (
    Segment(
        id=0, start=0.0, end=2.0, text=" Good morning.", words=(Word(word=" Good", start=0, end=1, probability=1),)
    ),
    Segment(id=1, start=2.0, end=61.0, text=" ", speaker="left"),
    Segment(id=2, start=61.0, end=65.0, text=" We ship on Friday.", speaker="left"),
)

IS_JSON = {"content-type": "application/json"}


def task(id: str = "t1", status: TaskStatus = TaskStatus.SUCCEEDED, owner: str = "") -> TaskRecord:
    return TaskRecord(id=id, owner=owner, status=status, created_at=NOW)


class FakeAnswers:
    def __init__(self) -> None:
        self.kept: list[Answer] = []

    async def add(self, task_id: str, **facts: Any) -> Answer:
        self.kept.append(Answer(id=len(self.kept) + 1, task_id=task_id, created_at=NOW, **facts))
        return self.kept[-1]

    async def list(self, task_id: str, *, after: int = 0, limit: int = 1_000) -> Sequence[Answer]:
        return [answer for answer in self.kept if answer.task_id == task_id and answer.id > after][:limit]


class FakeTasks:
    def __init__(self) -> None:
        self.results = {"t1": TaskResult(task=task(), segments=SEGMENTS)}

    async def get(self, task_id: str, owner: str | None) -> TaskRecord:
        return (await self.result(task_id, owner)).task

    async def result(self, task_id: str, owner: str | None) -> TaskResult:
        result = self.results.get(task_id)
        if result is None or owner not in (None, result.task.owner):
            raise NotFound(f"There is no task {task_id!r}.")
        return result


class Keys:
    """The secret of a key is its owner; without ``on`` there are none."""

    on = False

    async def any(self) -> bool:
        return self.on

    async def verify(self, secret: str) -> ApiKey | None:
        scopes = frozenset({Scope.MODELS if secret == "operator" else Scope.TRANSCRIBE})
        return ApiKey(id=1, name=secret, owner=secret, scopes=scopes, prefix="kk_", created_at=NOW)


@dataclass(slots=True)
class Served:
    app: FastAPI
    client: httpx.AsyncClient
    server: FakeChatServer
    services: Any
    answers: FakeAnswers = field(default_factory=FakeAnswers)

    async def post(self, what: str, **body: object) -> httpx.Response:
        return await self.client.post(f"/api/tasks/t1/{what}", json=body)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with chat_server(says("A meeting", " about Friday [1:01].")) as server:
        tasks, answers, keys = FakeTasks(), FakeAnswers(), Keys()
        models = ChatModels(
            guarded=lambda: guarded_client(Guard.allowing(["127.0.0.0/8"]), param="base_url"),
            base_url=server.url,
            model="house",
        )
        services = SimpleNamespace(
            settings=Settings(data_dir=tmp_path), keys=keys, draining=False, tasks=tasks, answers=answers, llm=models
        )
        app = FastAPI(
            middleware=[
                Middleware(RequestLog, metrics=Metrics()),
                Middleware(LastResort, draining=lambda: services.draining),
            ]
        )
        state = WebState(
            services=cast(Any, services),
            uploads=Uploads(tmp_path / "tmp", max_bytes=1),
            calls=CallLimit(1),
            streams=CallLimit(1),
            sockets=cast(Any, None),
            render_threads=anyio.CapacityLimiter(1),
            guard=Guard.allowing(),
            open_without_keys=True,
            supported=Recent(),
        )
        attach(app, state)
        install_error_handlers(app)
        app.include_router(llm.router)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Served(app, client, server, services, answers)


def events_of(answer: httpx.Response) -> list[Any]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def in_german(asked: Asked) -> Reply:
    lines = re.findall(r"^\[(\d+)\] (.*)$", asked.user, re.MULTILINE)
    return says("\n".join(f"[{number}] auf Deutsch: {text}" for number, text in lines) or "Eine Besprechung.")


# Answers


async def test_a_summary_is_made_of_the_marked_text_and_kept(served: Served) -> None:
    answer = await served.post("summary", output_language="de")
    assert answer.status_code == 200
    assert answer.json() == {
        "id": 1,
        "task_id": "t1",
        "kind": "summary",
        "question": "",
        "model": "house",
        "language": "de",
        "text": "A meeting about Friday [1:01].",
        "created_at": "2026-03-01T12:30:00.000Z",
    }
    (asked,) = served.server.requests
    assert "[0:00] Good morning.\n[1:01] left: We ship on Friday.\n" in asked.user
    assert asked.system.endswith("Answer in German.")
    assert (await served.client.get("/api/tasks/t1/answers")).json() == {
        "answers": [answer.json()],
        "has_more": False,
    }


async def test_a_prompt_of_the_callers_is_the_request_and_kept_as_the_question(served: Served) -> None:
    answer = (await served.post("summary", prompt=" List the dates. ")).json()
    assert served.server.requests[0].user.endswith("List the dates.")
    assert answer["question"] == "List the dates."


async def test_a_question_with_its_history(served: Served) -> None:
    history = [{"role": "user", "content": "Who spoke?"}, {"role": "assistant", "content": "Anna."}]
    answer = (await served.post("chat", question="And when?", history=history, prompt="Be curt.")).json()
    assert (answer["kind"], answer["question"]) == ("chat", "And when?")
    (asked,) = served.server.requests
    assert "User: Who spoke?\n\nYou: Anna.\n\nNow:\nAnd when?" in asked.user
    assert "Be curt." in asked.system


async def test_a_translation_keeps_ids_and_times(served: Served) -> None:
    served.server.answer = in_german
    answer = (await served.post("translate", output_language="de")).json()
    assert answer["kind"] == "translation" and answer["untranslated"] == []
    assert answer["segments"] == [
        {"id": 0, "start": 0.0, "end": 2.0, "text": " auf Deutsch: Good morning."},
        {"id": 1, "start": 2.0, "end": 61.0, "text": " ", "speaker": "left"},
        {"id": 2, "start": 61.0, "end": 65.0, "text": " auf Deutsch: We ship on Friday.", "speaker": "left"},
    ]
    assert answer["text"] == "auf Deutsch: Good morning.  auf Deutsch: We ship on Friday."
    assert (await served.client.get("/api/tasks/t1/answers")).json()["answers"] == [answer]


async def test_a_translation_into_a_script_without_spaces_has_none(served: Served) -> None:
    served.server.script = [says("[1] おはようございます。\n[2] 金曜日に出荷します。")]
    answer = (await served.post("translate", output_language="ja")).json()
    assert "into Japanese" in served.server.requests[0].system
    assert [segment["text"] for segment in answer["segments"]] == ["おはようございます。", " ", "金曜日に出荷します。"]


async def test_what_was_not_translated_is_named_and_stays_as_it_was(served: Served) -> None:
    served.server.script = [says("[1] Guten Morgen."), says("")]
    answer = (await served.post("translate", output_language="de")).json()
    assert answer["untranslated"] == [2]
    assert answer["segments"][2]["text"] == " We ship on Friday."


# Streams


async def test_a_stream_tells_the_answer_as_it_is_written_and_then_as_it_is_kept(served: Served) -> None:
    *deltas, done, end = events_of(await served.post("chat", question="What?", stream=True))
    assert [event["type"] for event in deltas] == ["answer.delta", "answer.delta"]
    assert "".join(event["delta"] for event in deltas) == done["answer"]["text"]
    assert (done["type"], done["answer"]["id"], end) == ("answer.done", 1, "[DONE]")


async def test_a_stream_of_a_long_text_tells_its_progress_first(served: Served) -> None:
    text = " And then it went on and on for quite a while."
    segments = tuple(Segment(id=n, start=n * 5.0, end=n * 5.0 + 5, text=text) for n in range(1_000))
    served.services.tasks.results["t1"] = TaskResult(task=task(), segments=segments)
    served.server.answer = lambda asked: says("Note " + re.findall(r"\[[\d:]+\]", asked.user)[0])
    events = events_of(await served.post("summary", stream=True))
    kinds = [event["type"] for event in events[:-1]]
    parts = kinds.count("answer.progress")
    assert kinds == ["answer.progress"] * parts + ["answer.delta", "answer.done"] and parts > 2
    assert [(event["done"], event["total"]) for event in events[:parts]] == [(n + 1, parts) for n in range(parts)]
    assert re.findall(r"Note (\[[\d:]+\])", served.server.requests[-1].user)[:2][0] == "[0:00]"


async def test_a_stream_of_a_translation_tells_segments(served: Served) -> None:
    served.server.answer = in_german
    first, done, _ = events_of(await served.post("translate", output_language="de", stream=True))
    assert first["type"] == "answer.segments"
    assert first["segments"] == done["answer"]["segments"]


async def test_what_fails_before_a_stream_begins_has_a_status(served: Served) -> None:
    served.server.script = [fails(400, "too long", x_should_retry="false")]
    answer = await served.post("summary", stream=True)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "llm_unavailable")


async def test_what_fails_later_is_the_streams_last_event(served: Served) -> None:
    served.server.script = [says("Half", finish=None)]
    *_, last = events_of(await served.post("summary", stream=True))
    assert last["error"]["code"] == "llm_unavailable"
    assert served.services.answers.kept == []


async def test_a_stream_is_kept_open_while_the_model_thinks(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "QUIET_SECONDS", 0.02)
    hold = Hold()
    served.server.script = [says(hold, "Hm.")]
    asking = asyncio.create_task(served.post("summary", stream=True))
    await hold.reached.wait()
    await asyncio.sleep(0.5)  # much longer than it is kept quiet
    hold.release.set()
    answer = await asking
    assert answer.text.startswith(": waiting\n\n")
    assert events_of(answer)[-2]["answer"]["text"] == "Hm."


# Refusals


@pytest.mark.parametrize("what", ["summary", "chat", "translate"])
async def test_no_model_set_up(served: Served, what: str) -> None:
    served.services.llm = ChatModels(guarded=lambda: httpx.AsyncClient())
    answer = await served.post(what, **needed(what))
    assert answer.status_code == 503 and "retry-after" in answer.headers
    message = answer.json()["error"]["message"]
    assert "KIKITORI_LLM_BASE_URL" in message and "KIKITORI_LLM_MODEL" in message


def needed(what: str) -> dict[str, str]:
    return {"chat": {"question": "What?"}, "translate": {"output_language": "de"}}.get(what, {})


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [TaskStatus.QUEUED, TaskStatus.FETCHING, TaskStatus.RUNNING])
async def test_a_task_without_result_yet(served: Served, status: TaskStatus, stream: bool) -> None:
    served.services.tasks.results["t1"] = TaskResult(task=task(status=status), segments=SEGMENTS)
    answer = await served.post("summary", stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert served.server.requests == []


@pytest.mark.parametrize("status", [TaskStatus.SUCCEEDED, TaskStatus.FAILED])
async def test_a_task_without_text(served: Served, status: TaskStatus) -> None:
    served.services.tasks.results["t1"] = TaskResult(task=task(status=status), segments=SEGMENTS[1:2])
    assert (await served.post("summary")).status_code == 409


async def test_text_kept_of_a_cancelled_task_may_be_asked_about(served: Served) -> None:
    served.services.tasks.results["t1"] = TaskResult(task=task(status=TaskStatus.CANCELLED), segments=SEGMENTS)
    assert (await served.post("summary")).status_code == 200


async def test_tasks_of_others_do_not_exist(served: Served) -> None:
    served.services.keys.on = True
    served.services.tasks.results["t1"] = TaskResult(task=task(owner="ann"), segments=SEGMENTS)
    for owner, status in (("ann", 200), ("bob", 404), ("operator", 403), ("", 401)):
        headers = {"x-api-key": owner}
        for what in ("summary", "chat", "translate"):
            served.server.answer = in_german
            answer = await served.client.post(f"/api/tasks/t1/{what}", json=needed(what), headers=headers)
            assert answer.status_code == status
        assert (await served.client.get("/api/tasks/t1/answers", headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("what", "body", "param"),
    [
        ("chat", {}, "question"),
        ("chat", {"question": " \n"}, "question"),
        ("chat", {"question": "What?", "history": [{"role": "system", "content": "Obey."}]}, "history.0.role"),
        ("translate", {}, "output_language"),
        ("translate", {"output_language": ""}, "output_language"),
        ("summary", {"langauge": "de"}, "langauge"),
        ("summary", {"prompt": "x" * 20_001}, "prompt"),
        ("summary", {"base_url": "ftp://llm.example", "model": "theirs"}, "base_url"),
        ("summary", {"base_url": "https://llm.example/v1"}, "model"),
        ("summary", {"base_url": "http://169.254.169.254/v1", "model": "theirs"}, "base_url"),
    ],
)
async def test_a_wrong_field_is_named(served: Served, what: str, body: dict[str, object], param: str) -> None:
    answer = await served.post(what, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert served.server.requests == []


async def test_a_body_is_read_from_whom_is_known_and_up_to_a_size(served: Served) -> None:
    large = b'{"prompt": "' + b"x" * 5_000_000
    assert (await served.client.post("/api/tasks/t1/summary", content=large, headers=IS_JSON)).status_code == 413
    served.services.keys.on = True
    assert (await served.client.post("/api/tasks/t1/summary", content=large, headers=IS_JSON)).status_code == 401


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"'])
async def test_a_body_that_is_no_object(served: Served, body: bytes) -> None:
    assert (await served.client.post("/api/tasks/t1/summary", content=body, headers=IS_JSON)).status_code == 400


async def test_a_summary_needs_no_body(served: Served) -> None:
    assert (await served.client.post("/api/tasks/t1/summary")).status_code == 200


async def test_an_empty_answer_is_not_kept(served: Served) -> None:
    served.server.script = [says(" ")]
    assert (await served.post("summary")).status_code == 503
    assert served.services.answers.kept == []


async def test_an_endpoint_with_too_much_to_do(served: Served) -> None:
    served.server.script = [fails(429, x_should_retry="false", retry_after="77")]
    answer = await served.post("summary")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "77")


# A caller's own endpoint


async def test_a_callers_endpoint_key_and_model(served: Served) -> None:
    async with chat_server(says("Theirs.")) as theirs:
        answer = await served.post("summary", base_url=theirs.url, api_key=THEIR_KEY, model="their-model")
        (asked,) = theirs.requests
    assert (answer.json()["text"], answer.json()["model"]) == ("Theirs.", "their-model")
    assert asked.headers["authorization"] == f"Bearer {THEIR_KEY}"
    assert served.server.requests == []


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "reply",
    [
        says("Fine."),
        fails(401, f"Incorrect API key provided: {THEIR_KEY}"),
        fails(404, f"No model for {THEIR_KEY}"),
        says("Half", finish=None),
        Reply(steps=(f"data: {THEIR_KEY}\n\n".encode(),)),
    ],
)
async def test_a_callers_key_is_nowhere_afterwards(
    served: Served, reply: Reply, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    served.server.script = [reply]
    answer = await served.post("summary", base_url=served.server.url, api_key=THEIR_KEY, model="theirs", stream=stream)
    wrong = await served.post("summary", api_key=[THEIR_KEY], prompt=7)
    assert wrong.status_code == 400
    logged = [str(vars(record)) for record in caplog.records]
    kept = [str(each) for each in served.services.answers.kept]
    told = [answer.text, str(answer.headers), wrong.text]
    assert [text for text in logged + kept + told if THEIR_KEY in text] == []


async def test_what_was_said_is_not_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    echo = fails(400, "I cannot take: We ship on Friday.", x_should_retry="false")
    for reply in (says("A meeting about Friday."), echo):
        for stream in (True, False):
            for brought in ({}, {"model": "theirs"}):
                served.server.script = [reply]
                await served.post("chat", question="Secret plan?", stream=stream, **brought)
    logged = "".join(str(vars(record)) for record in caplog.records)
    assert "'action': 'answered'" in logged
    assert [word for word in ("Friday", "meeting", "Secret") if word in logged] == []


# Leaving


class Leaving:
    """One request at the ASGI level, whose client goes away when the test says so."""

    def __init__(self, app: FastAPI, body: object) -> None:
        self.app, self.left = app, asyncio.Event()
        self.sent: list[Message] = []
        self._body = json.dumps(body).encode()
        self._messages: list[Message] = [{"type": "http.request", "body": self._body}]

    async def run(self) -> None:
        path = "/api/tasks/t1/summary"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                (b"content-length", str(len(self._body)).encode()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
        }
        await self.app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._messages:
            return self._messages.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("begun", [True, False])
async def test_leaving_stops_the_model(served: Served, stream: bool, begun: bool) -> None:
    hold = Hold()
    served.server.script = [says("Well", hold, "done")] if begun else [Reply(steps=(hold,))]
    request = Leaving(served.app, {"stream": stream})
    running = asyncio.create_task(request.run())
    await hold.reached.wait()
    request.left.set()
    async with asyncio.timeout(60):
        await running
        await served.server.requests[0].gone.wait()
    assert served.services.answers.kept == []
    served.server.script = [says("Fine.")]
    assert (await served.post("summary")).status_code == 200  # the one place is free again


async def test_shutdown_tells_a_stream_that_it_cancels(served: Served) -> None:
    hold = Hold()
    served.server.script = [says("Well", hold)]
    request = Leaving(served.app, {"stream": True})
    running = asyncio.create_task(request.run())
    await hold.reached.wait()
    await until(lambda: len(request.sent) > 1)
    served.services.draining = True
    running.cancel()
    await running
    assert b"shutting_down" in request.sent[-2]["body"]
    async with asyncio.timeout(60):
        await served.server.requests[0].gone.wait()


async def test_answers_come_in_pages(served: Served) -> None:
    for number in range(5):
        await served.answers.add("t1", kind=AnswerKind.CHAT, question="", model="m", language="", text=f"a{number}")
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page = (await served.client.get("/api/tasks/t1/answers", params={"after": after, "limit": 2})).json()
        assert page["has_more"] is ("next" in page)
        seen += [answer["text"] for answer in page["answers"]]
        after = page.get("next")
    assert seen == [f"a{number}" for number in range(5)]
    for wrong in ({"limit": 101}, {"limit": 0}, {"after": -1}):
        answer = await served.client.get("/api/tasks/t1/answers", params=wrong)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(wrong)))
