"""The life of a task over real sockets: server-sent events and WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from kikitori.services.parts import Services
from kikitori.store.task_records import TaskError, TaskStatus
from kikitori.testing import fake_segments
from kikitori.web import task_stream

from .task_app import LINK, RESULT_TEXTS, OwnersByKey, TaskApp, task_app
from .test_server import serving

MakeServices: TypeAlias = Callable[..., Services]
SEGMENTS = fake_segments(*RESULT_TEXTS)


@dataclass(slots=True)
class Watched:
    app: TaskApp
    url: str
    client: httpx.AsyncClient
    """Over a real socket."""


@pytest.fixture
async def open_app(make_services: MakeServices, tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(make_services, tmp_path) as running:
        yield running


@asynccontextmanager
async def watched(
    make_services: MakeServices, tmp_path: Path, key: str = "", **settings: Any
) -> AsyncGenerator[Watched, None]:
    async with (
        task_app(make_services, tmp_path / "data", key=key, **settings) as app,
        serving(app.services) as server,
        httpx.AsyncClient(base_url=server.url, headers={"x-api-key": key} if key else {}) as client,
    ):
        yield Watched(app, server.url, client)


Event: TypeAlias = dict[str, Any]


async def read_events(lines: AsyncIterator[str]) -> AsyncGenerator[Event, None]:
    """Server-sent events as a browser reads them; comments as events named ``:``."""
    event: Event = {}
    async for line in lines:
        if line.startswith(":"):
            yield {"event": ":"}
        elif line:
            name, _, value = line.partition(": ")
            event[name] = json.loads(value) if name == "data" else value
        elif "data" in event:
            yield event
            event = {}
        else:
            event = {}


@asynccontextmanager
async def watching(running: Watched, id: str, **headers: str) -> AsyncGenerator[AsyncGenerator[Event, None], None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with running.client.stream("GET", f"/api/tasks/{id}/events", headers=named) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield read_events(answer.aiter_lines())


async def all_events(running: Watched, id: str, **headers: str) -> list[Event]:
    async with asyncio.timeout(60), watching(running, id, **headers) as events:
        return [event async for event in events]


def names(events: list[Event]) -> list[str]:
    return [event["event"] for event in events]


def texts(events: list[Event]) -> list[str]:
    return [event["data"]["text"] for event in events if event["event"] == "segment"]


async def test_a_life_from_the_queue_to_the_end(open_app: Watched) -> None:
    app = open_app.app
    task = await app.make()
    async with asyncio.timeout(60), watching(open_app, task["id"]) as events:
        first = await anext(events)
        assert (first["event"], first["data"]["status"], first["data"]["queue_position"]) == ("status", "queued", 1)
        held = await app.begin()
        running = [await anext(events)]
        while running[-1]["data"]["status"] != "running":
            running.append(await anext(events))
        for segment in SEGMENTS:
            await app.say(held, [segment])
            told = await anext(events)
            assert (told["event"], told["data"]["id"], told["data"]["text"]) == ("segment", segment.id, segment.text)
            told = await anext(events)
            assert (told["event"], told["data"]["seconds_done"]) == ("progress", segment.end)
        await app.end(held)
        last = [event async for event in events]
    assert names(last) == ["status"]
    assert (last[0]["data"]["status"], last[0]["data"]["progress"], last[0]["data"]["segments"]) == (
        "succeeded",
        100.0,
        3,
    )


async def test_a_task_that_has_ended_is_told_from_its_beginning(open_app: Watched) -> None:
    task = await open_app.app.make()
    await open_app.app.run()
    events = await all_events(open_app, task["id"])
    assert names(events) == ["segment", "segment", "segment", "progress", "status"]
    assert texts(events) == [*RESULT_TEXTS]


async def test_a_failure_is_the_last_event(open_app: Watched) -> None:
    task = await open_app.app.make()
    await open_app.app.end(await open_app.app.begin(), TaskStatus.FAILED, TaskError(code="gone", message="Gone."))
    events = await all_events(open_app, task["id"])
    assert names(events) == ["status"]
    assert events[0]["data"]["error"]["code"] == "gone"


async def test_whoever_comes_back_misses_nothing_and_hears_nothing_twice(open_app: Watched) -> None:
    app = open_app.app
    task = await app.make()
    held = await app.begin()
    await app.say(held, SEGMENTS[:2])
    heard: list[Event] = []
    async with asyncio.timeout(60), watching(open_app, task["id"]) as events:
        async for event in events:
            heard.append(event)
            if event["event"] == "segment":
                break
    await app.say(held, SEGMENTS[2:])
    await app.end(held)
    heard += await all_events(open_app, task["id"], last_event_id=heard[-1]["id"])
    assert texts(heard) == [*RESULT_TEXTS]
    assert names(heard)[-1] == "status"
    assert len({event["id"] for event in heard}) == len(heard)


async def test_whoever_knows_the_end_need_not_come_back(open_app: Watched) -> None:
    task = await open_app.app.make()
    await open_app.app.run()
    last = (await all_events(open_app, task["id"]))[-1]
    answer = await open_app.client.get(f"/api/tasks/{task['id']}/events", headers={"last-event-id": last["id"]})
    assert (answer.status_code, answer.content) == (204, b"")


async def test_every_point_of_a_life_can_be_resumed(open_app: Watched) -> None:
    task = await open_app.app.make()
    await open_app.app.run()
    events = await all_events(open_app, task["id"])
    for at, event in enumerate(events[:-1]):
        rest = await all_events(open_app, task["id"], last_event_id=event["id"])
        assert rest == events[at + 1 :]


async def test_an_attempt_that_begins_anew_takes_back_what_was_not_kept(open_app: Watched) -> None:
    app = open_app.app
    task = await app.make()
    held = await app.begin()
    await app.say(held, SEGMENTS[:1])
    await app.say(held, SEGMENTS[1:2], checkpoint=False)
    kept: dict[int, str] = {}
    async with asyncio.timeout(60), watching(open_app, task["id"]) as events:
        async for event in events:
            take(event, kept)
            if len(kept) == 2:
                break
        await app.store.recover([str(held.node)], max_attempts=5)
        again = await app.begin()
        assert await app.store.rewind(again) == 1
        other = fake_segments(" one", " two", " three")[1:]
        await app.say(again, other)
        await app.end(again)
        async for event in events:
            take(event, kept)
    assert [kept[id] for id in sorted(kept)] == [RESULT_TEXTS[0], " two", " three"]
    result = await app.store.result(task["id"], None)
    assert [segment.text for segment in result.segments] == [kept[id] for id in sorted(kept)]


def take(event: Event, kept: dict[int, str]) -> None:
    """As the page on events tells clients to do."""
    if event["event"] == "status":
        for id in [id for id in kept if id >= event["data"]["segments"]]:
            del kept[id]
    if event["event"] == "segment":
        assert event["data"]["id"] not in kept
        kept[event["data"]["id"]] = event["data"]["text"]


async def test_many_segments_come_in_order(open_app: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_stream, "PAGE", 7)
    task = await open_app.app.make()
    await open_app.app.run(*[f" {number}" for number in range(50)])
    events = await all_events(open_app, task["id"])
    assert texts(events) == [f" {number}" for number in range(50)]
    assert names(events)[-2:] == ["progress", "status"]


async def test_a_quiet_stream_shows_signs_of_life(open_app: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_stream, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(task_stream, "POLL_SECONDS", 0.01)
    task = await open_app.app.make()
    async with asyncio.timeout(60), watching(open_app, task["id"]) as events:
        assert [(await anext(events))["event"] for _ in range(3)] == ["status", ":", ":"]


async def test_leaving_frees_everything(open_app: Watched) -> None:
    task = await open_app.app.make()
    async with watching(open_app, task["id"]) as events:
        await anext(events)
    async with asyncio.timeout(60):
        while len(open_app.app.desk.changes):  # noqa: ASYNC110 - nothing tells that nobody waits
            await asyncio.sleep(0.01)


async def test_a_task_removed_in_the_middle_ends_its_stream(open_app: Watched) -> None:
    task = await open_app.app.make()
    async with asyncio.timeout(60), watching(open_app, task["id"]) as events:
        await anext(events)
        await open_app.client.delete(f"/api/tasks/{task['id']}")
        rest = [event async for event in events]
    assert rest[-1]["data"].get("status") == "cancelled" or rest[-1]["data"]["error"]["code"] == "not_found"


async def test_streams_do_not_hold_up_a_shutdown(make_services: MakeServices, tmp_path: Path) -> None:
    async with watched(make_services, tmp_path) as running:
        task = await running.app.make()
        async with asyncio.timeout(60), watching(running, task["id"]) as events:
            await anext(events)
            running.app.services.draining = True
            assert [event async for event in events] == []


async def test_a_wrong_position_is_refused(open_app: Watched) -> None:
    task = await open_app.app.make()
    answer = await open_app.client.get(f"/api/tasks/{task['id']}/events", headers={"last-event-id": "seven"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "last_event_id")


# WebSocket -------------------------------------------------------------------------------------------------------


async def messages(running: Watched, path: str, **options: Any) -> tuple[list[Event], int]:
    """Everything that comes, and the code of the close."""
    heard: list[Event] = []
    async with asyncio.timeout(60), connect(f"{running.url.replace('http', 'ws', 1)}{path}", **options) as socket:
        try:
            while True:
                heard.append(json.loads(await socket.recv()))
        except ConnectionClosed:
            return heard, socket.close_code or 0


async def test_the_same_comes_over_a_websocket(open_app: Watched) -> None:
    task = await open_app.app.make()
    await open_app.app.run()
    heard, code = await messages(open_app, f"/api/tasks/{task['id']}/events")
    assert code == 1000
    assert all(set(message) == {"event", "id", "data"} for message in heard)
    assert [(each["event"], each["id"], each["data"]) for each in heard] == [
        (each["event"], each["id"], each["data"]) for each in await all_events(open_app, task["id"])
    ]
    rest, code = await messages(open_app, f"/api/tasks/{task['id']}/events?last_event_id={heard[1]['id']}")
    assert (rest, code) == (heard[2:], 1000)


async def test_a_websocket_follows_a_task_that_runs(open_app: Watched) -> None:
    app = open_app.app
    task = await app.make()
    async with (
        asyncio.timeout(60),
        connect(f"{open_app.url.replace('http', 'ws')}/api/tasks/{task['id']}/events") as socket,
    ):
        assert json.loads(await socket.recv())["data"]["status"] == "queued"
        await socket.send("what a client says means nothing here")
        await app.run()
        heard = []
        with pytest.raises(ConnectionClosed):
            while True:
                heard.append(json.loads(await socket.recv()))
    assert texts(heard) == [*RESULT_TEXTS]
    assert heard[-1]["data"]["status"] == "succeeded"


async def test_a_websocket_that_leaves_frees_everything(open_app: Watched) -> None:
    task = await open_app.app.make()
    async with connect(f"{open_app.url.replace('http', 'ws')}/api/tasks/{task['id']}/events") as socket:
        await socket.recv()
    async with asyncio.timeout(60):
        while len(open_app.app.desk.changes):  # noqa: ASYNC110 - nothing tells that nobody waits
            await asyncio.sleep(0.01)


async def test_a_websocket_to_nothing_says_why_it_closes(open_app: Watched) -> None:
    heard, code = await messages(open_app, "/api/tasks/task_00000000000000000000000000/events")
    assert code == 4404
    assert (heard[0]["event"], heard[0]["data"]["error"]["code"]) == ("error", "not_found")
    task = await open_app.app.make()
    heard, code = await messages(open_app, f"/api/tasks/{task['id']}/events?last_event_id=seven")
    assert (code, heard[0]["data"]["error"]["param"]) == (4400, "last_event_id")


async def test_a_websocket_is_told_to_come_back_when_the_server_stops(open_app: Watched) -> None:
    task = await open_app.app.make()
    async with (
        asyncio.timeout(60),
        connect(f"{open_app.url.replace('http', 'ws')}/api/tasks/{task['id']}/events") as socket,
    ):
        await socket.recv()
        open_app.app.services.draining = True
        assert json.loads(await socket.recv())["data"]["error"]["code"] == "shutting_down"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1012


async def test_pages_of_other_sites_get_no_socket(open_app: Watched) -> None:
    task = await open_app.app.make()
    path = f"/api/tasks/{task['id']}/events"
    heard, code = await messages(open_app, path, origin="https://evil.example")
    assert (code, heard[0]["data"]["error"]["code"]) == (4403, "forbidden")


# Keys and owners -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"additional_headers": {"authorization": "Bearer ann"}}, 1000),
        ({"additional_headers": {"x-api-key": "ann"}}, 1000),
        ({"additional_headers": {"x-api-key": "root"}}, 1000),
        ({"additional_headers": {"x-api-key": "bob"}}, 4404),
        ({"additional_headers": {"x-api-key": "models"}}, 4403),
        ({"additional_headers": {"x-api-key": "wrong"}}, 4401),
        ({}, 4401),
    ],
)
async def test_a_websocket_needs_its_owners_key(
    make_services: MakeServices, tmp_path: Path, how: dict[str, Any], code: int
) -> None:
    async with watched(make_services, tmp_path, key="ann") as running:
        task = await running.app.make()
        await running.app.run()
        heard, closed = await messages(running, f"/api/tasks/{task['id']}/events", **how)
    assert closed == code
    assert texts(heard) == ([*RESULT_TEXTS] if code == 1000 else [])


async def test_somebody_elses_task_and_none_are_the_same_to_a_socket(
    make_services: MakeServices, tmp_path: Path
) -> None:
    async with watched(make_services, tmp_path, key="ann") as running:
        task = await running.app.make()
        bob = {"additional_headers": {"x-api-key": "bob"}}
        never = "task_00000000000000000000000000"
        theirs = await messages(running, f"/api/tasks/{task['id']}/events", **bob)
        none = await messages(running, f"/api/tasks/{never}/events", **bob)
    assert json.dumps(theirs) == json.dumps(none).replace(never, task["id"])


async def test_browsers_may_send_the_key_in_the_query(make_services: MakeServices, tmp_path: Path) -> None:
    async with watched(make_services, tmp_path, key="ann") as running:
        task = await running.app.make()
        await running.app.run()
        path = f"/api/tasks/{task['id']}/events"
        assert (await messages(running, f"{path}?api_key=ann"))[1] == 1000
        assert (await messages(running, f"{path}?api_key=bob"))[1] == 4404
        async with httpx.AsyncClient(base_url=running.url) as client:
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, params={"api_key": "bob"})).status_code == 404
            assert "birch" in (await client.get(path, params={"api_key": "ann"})).text
            assert (await client.get(f"/api/tasks/{task['id']}", params={"api_key": "ann"})).status_code == 401


# How many, and how long ------------------------------------------------------------------------------------------


async def test_one_caller_follows_so_many_tasks_at_once(make_services: MakeServices, tmp_path: Path) -> None:
    async with watched(make_services, tmp_path, key_streams=2, key_concurrency=1) as running:
        task = await running.app.make()
        path = f"/api/tasks/{task['id']}/events"
        async with asyncio.timeout(60), watching(running, task["id"]) as events:
            await anext(events)
            async with connect(f"{running.url.replace('http', 'ws')}{path}") as socket:
                await socket.recv()
                refused = await running.client.get(path)
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
                assert "2 event streams of yours" in refused.json()["error"]["message"]
                heard, code = await messages(running, path)
                assert (code, heard[0]["data"]["error"]["code"]) == (4429, "rate_limit_exceeded")
                assert (await running.client.post("/api/tasks", json={"url": LINK})).status_code == 201
            while await first_status(running, path) == 429:  # noqa: ASYNC110 - the socket's place is free soon
                await asyncio.sleep(0.01)


async def first_status(running: Watched, path: str) -> int:
    async with running.client.stream("GET", path) as answer:
        return answer.status_code


async def test_a_stream_ends_when_its_key_is_revoked(
    make_services: MakeServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_stream, "CHECK_SECONDS", 0.0)
    async with watched(make_services, tmp_path, key="ann") as running:
        task = await running.app.make()
        keys = cast(OwnersByKey, running.app.services.keys)
        path = f"{running.url.replace('http', 'ws')}/api/tasks/{task['id']}/events"
        async with (
            asyncio.timeout(60),
            watching(running, task["id"]) as events,
            connect(path, additional_headers={"x-api-key": "ann"}) as socket,
        ):
            await anext(events)
            await socket.recv()
            keys.revoked.add("ann")
            last = [event async for event in events if event.get("event") != ":"]
            assert last[-1]["data"]["error"]["code"] == "invalid_api_key"
            assert json.loads(await socket.recv())["data"]["error"]["code"] == "invalid_api_key"
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4401
