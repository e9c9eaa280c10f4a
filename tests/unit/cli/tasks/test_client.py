from __future__ import annotations

import io
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.unit.cli.tasks.conftest import GONE, ID, Answer, FakeApi, error, events, succeeded, task_json

from kikitori.cli.api import open_client
from kikitori.cli.tasks.client import Event, TaskClient
from kikitori.errors import Busy, Conflict, InvalidInput, KikitoriError, NotFound, Unauthorized, Unavailable

EVENTS = f"GET /api/tasks/{ID}/events"
RUNNING = task_json(status="running", queue_position=None)
FIRST = ("status", "3-0-0", RUNNING)
SEGMENT = ("segment", "3-1-0", {"id": 0, "text": " Hello."})
PROGRESS = ("progress", "3-1-2000", {"progress": 50.0})
LAST = ("status", "4-1-2000", succeeded())


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[TaskClient]:
    async with open_client(api.url, "kk_secret", timeout=httpx.Timeout(10)) as opened:
        yield TaskClient(opened, pauses=(0.0, 0.0))


async def told(client: TaskClient) -> list[str]:
    return [event.name async for event in client.events(ID)]


async def test_events_come_until_the_final_status(api: FakeApi, client: TaskClient) -> None:
    api.on(EVENTS, events(FIRST, SEGMENT, PROGRESS, LAST, ("status", "9-9-9", {"status": "never"})))
    found = [event async for event in client.events(ID)]
    assert [event.name for event in found] == ["status", "segment", "progress", "status"]
    assert found[1] == Event(name="segment", id="3-1-0", data={"id": 0, "text": " Hello."})
    (request,) = api.requests
    assert request.headers["authorization"] == "Bearer kk_secret"
    assert "last-event-id" not in request.headers


async def test_a_stream_that_breaks_off_goes_on_where_it_was(api: FakeApi, client: TaskClient) -> None:
    away = error(503, "unavailable", "The server is shutting down.")
    api.on(EVENTS, events(FIRST, SEGMENT), GONE, away, events(PROGRESS), events(LAST))
    client._pauses = (0.0, 0.0, 0.0)
    assert await told(client) == ["status", "segment", "progress", "status"]
    assert [request.headers.get("last-event-id") for request in api.asked(EVENTS)] == [
        None, "3-1-0", "3-1-0", "3-1-0", "3-1-2000",
    ]  # fmt: skip


async def test_a_stream_that_stays_away_is_given_up(api: FakeApi, client: TaskClient) -> None:
    api.on(EVENTS, events(FIRST), GONE)
    with pytest.raises(Unavailable, match="does not answer"):
        await told(client)
    assert len(api.asked(EVENTS)) == 3


async def test_an_end_that_was_missed_is_looked_up(api: FakeApi, client: TaskClient) -> None:
    api.on(EVENTS, events(FIRST), Answer(204))
    api.on(f"GET /api/tasks/{ID}", succeeded())
    assert await told(client) == ["status", "status"]


async def test_an_error_in_the_stream_is_raised(api: FakeApi, client: TaskClient) -> None:
    failed = {"error": {"message": "It is gone.", "code": "not_found"}}
    api.on(EVENTS, events(FIRST, ("error", "", failed)))
    with pytest.raises(KikitoriError, match="It is gone"):
        await told(client)


async def test_what_is_no_stream_of_events_is_no_kikitori(api: FakeApi, client: TaskClient) -> None:
    for answer in (Answer(200, "<html>"), Answer(200, "data: [1]\n\n", {"content-type": "text/event-stream"})):
        api.on(EVENTS, answer)
        with pytest.raises(Unavailable, match=r"not a Kikitori|not understood"):
            await told(client)


async def test_an_upload_whose_answer_is_lost_makes_one_task(api: FakeApi, client: TaskClient) -> None:
    api.on("POST /api/tasks", GONE, Answer(201, task_json()))
    made = await client.create({"priority": "high", "tags": ["a", "b"]}, io.BytesIO(b"sound"), name="talk.mp3")
    first, second = api.requests
    assert made["id"] == ID
    assert first.fields == second.fields
    assert first.fields.pop("idempotency_key")[0]
    assert second.fields["file"] == ["talk.mp3: sound"]
    assert (second.fields["tags"], second.fields["priority"]) == (["a", "b"], ["high"])


async def test_a_busy_server_is_asked_again(api: FakeApi, client: TaskClient) -> None:
    busy = Answer(429, {"error": {"message": "Full.", "code": "rate_limit_exceeded"}}, {"retry-after": "0"})
    api.on("POST /api/tasks", busy, busy, Answer(201, task_json()))
    assert (await client.create({"url": "http://x"}))["id"] == ID
    api.on("POST /api/tasks", busy)
    with pytest.raises(Busy, match="Full"):
        await client.create({"url": "http://x"})
    assert len(api.requests) == 3 + 6


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (error(404, "not_found", "There is no task."), NotFound, "kikitori tasks list"),
        (error(401, "invalid_api_key", "No."), Unauthorized, "--api-key"),
        (error(400, "invalid_value", "status is 'x'. Allowed: queued."), InvalidInput, "Allowed"),
        (Answer(200, "<html>"), Unavailable, "not a Kikitori"),
        (Answer(200, "[1]"), Unavailable, "not a Kikitori"),
        (Answer(502, "<html>"), Unavailable, "502"),
    ],
)
async def test_errors_say_what_to_do(
    api: FakeApi, client: TaskClient, answer: Answer, kind: type[KikitoriError], words: str
) -> None:
    api.on(f"GET /api/tasks/{ID}", answer)
    with pytest.raises(kind, match=words):
        await client.get(ID)


async def test_an_id_is_not_a_path(api: FakeApi, client: TaskClient) -> None:
    with pytest.raises(NotFound):
        await client.get("../../v1/models?x")
    assert api.requests[0].path == "/api/tasks/..%2F..%2Fv1%2Fmodels%3Fx"


async def test_a_text_that_is_not_there_yet_is_an_error_that_helps(api: FakeApi, client: TaskClient) -> None:
    path = f"GET /api/tasks/{ID}/subtitles"
    api.on(path, Answer(202, task_json(status="running", progress=41.7)))
    with pytest.raises(Conflict, match=r"running \(42 %\).*--wait.*--partial"):
        await client.file(ID, {"format": "srt"})
    api.on(path, error(409, "cancelled", "The task was cancelled. POST …/retry starts it again."))
    with pytest.raises(Conflict, match=r"was cancelled\. `kikitori tasks retry"):
        await client.file(ID, {"format": "srt"})


async def test_a_server_that_is_not_there_is_said(client: TaskClient) -> None:
    async with open_client("http://127.0.0.1:9", "", timeout=httpx.Timeout(1)) as opened:
        with pytest.raises(Unavailable, match="does not answer"):
            await TaskClient(opened).create({"url": "http://x"})


async def test_no_proxy_leads_to_this_machine(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    api.on("GET /api/tasks", {"tasks": []})
    async with open_client(api.url, "", timeout=httpx.Timeout(5)) as opened:
        assert await TaskClient(opened).page([]) == {"tasks": []}
