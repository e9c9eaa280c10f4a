"""Making, finding and steering tasks over the application, on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from kikitori.errors import Unsupported
from kikitori.services.parts import Services
from kikitori.store.cleaning import Cleaning
from kikitori.store.task_records import TaskError, TaskPriority, TaskStatus
from kikitori.web import openapi_tasks

from .forms import CONTENT_TYPE, field, form
from .task_app import LINK, NODE, TaskApp, task_app

MakeServices: TypeAlias = Callable[..., Services]


@pytest.fixture
async def app(make_services: MakeServices, tmp_path: Path) -> AsyncIterator[TaskApp]:
    async with task_app(make_services, tmp_path / "data") as running:
        yield running


@pytest.fixture
async def ann(make_services: MakeServices, tmp_path: Path) -> AsyncIterator[TaskApp]:
    """The client has ann's key; ``as_bob`` is that of somebody else."""
    async with task_app(make_services, tmp_path / "data", key="ann") as running:
        yield running


BOB = {"x-api-key": "bob"}
ROOT = {"x-api-key": "root"}


async def upload(app: TaskApp, *contents: bytes, **fields: str) -> httpx.Response:
    files = [("file", (f"{number}.wav", content)) for number, content in enumerate(contents)]
    return await app.client.post("/api/tasks", files=files, data=fields)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


# Making ----------------------------------------------------------------------------------------------------------


async def test_a_link_becomes_a_task(app: TaskApp) -> None:
    answer = await app.client.post("/api/tasks", json={"url": LINK, "language": "ja", "beam_size": 2, "tags": ["x"]})
    assert answer.status_code == 201
    task = answer.json()
    assert answer.headers["location"] == f"/api/tasks/{task['id']}"
    assert (task["status"], task["queue_position"], task["progress"]) == ("queued", 1, 0.0)
    assert (task["url"], task["options"], task["tags"]) == (LINK, {"language": "ja", "beam_size": 2}, ["x"])
    assert (await app.client.get(answer.headers["location"])).json() == task
    stored = await app.store.get(task["id"], None)
    assert dict(stored.options) == {"language": "ja", "beam_size": 2}


async def test_an_uploaded_file_becomes_a_task_and_lies_in_the_media_store(app: TaskApp) -> None:
    answer = await upload(app, b"RIFF" * 1_000, priority="high", word_timestamps="true", tags="a,b")
    assert answer.status_code == 201
    task = answer.json()
    assert (task["file_name"], task["url"], task["priority"]) == ("0.wav", None, "high")
    assert (task["options"], task["tags"]) == ({"word_timestamps": True}, ["a", "b"])
    stored = await app.store.get(task["id"], None)
    assert stored.media_bytes == 4_000
    async with app.desk.media.local(stored.media_key or "") as path:
        assert path.read_bytes() == b"RIFF" * 1_000
        assert path.suffix == ".wav"
    assert app.arriving() == []


async def test_several_files_become_several_tasks(app: TaskApp) -> None:
    answer = await upload(app, b"one", b"two", b"three", language="en")
    assert answer.status_code == 201
    tasks = answer.json()["tasks"]
    assert [task["file_name"] for task in tasks] == ["0.wav", "1.wav", "2.wav"]
    assert [task["queue_position"] for task in tasks] == [1, 2, 3]
    assert len(app.media()) == 3
    contents = set()
    for task in tasks:
        async with app.desk.media.local((await app.store.get(task["id"], None)).media_key or "") as path:
            contents.add(path.read_bytes())
    assert contents == {b"one", b"two", b"three"}


@pytest.mark.parametrize("how", ["form", "multipart", "json"])
async def test_a_link_comes_in_any_body(app: TaskApp, how: str) -> None:
    fields = {"url": LINK, "priority": "low", "task_type": "translate"}
    match how:
        case "form":
            answer = await app.client.post("/api/tasks", data=fields)
        case "multipart":
            body = form(*[field(name, value) for name, value in fields.items()])
            answer = await app.client.post("/api/tasks", content=body, headers={"content-type": CONTENT_TYPE})
        case _:
            answer = await app.client.post("/api/tasks", json=fields)
    assert answer.status_code == 201, answer.text
    assert {name: answer.json()[name] for name in fields} == fields


async def test_shared_text_with_a_link_inside_will_do(app: TaskApp) -> None:
    text = "7.43 复制打开抖音 https://v.douyin.com/abc123/ 看看"
    assert (await app.make(url=text))["url"] == text


async def test_a_form_of_every_option_is_accepted(app: TaskApp) -> None:
    body = openapi_tasks.creation_body()["content"]["multipart/form-data"]["schema"]["properties"]
    fields = {
        name: schema["default"] if "default" in schema else schema["examples"][0]
        for name, schema in body.items()
        if name != "file"
    }
    data = {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in fields.items()
    }
    answer = await app.client.post("/api/tasks", data={**data, "url": LINK})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"url": LINK, "beam_size": 99}, "beam_size"),
        ({"url": LINK, "task_type": "sing"}, "task_type"),
        ({"url": LINK, "beamsize": 5}, "beamsize"),
        ({"url": LINK, "priority": "urgent"}, "priority"),
        ({"url": LINK, "expires_in": -1}, "expires_in"),
        ({"url": LINK, "callback_url": "ftp://example.org"}, "callback_url"),
        ({"url": LINK, "callback_url": "http://169.254.169.254/x"}, "callback_url"),
        ({"url": LINK, "callback_url": "http://localhost:9/x"}, "callback_url"),
        ({"url": "http://127.0.0.1/x.mp3"}, "url"),
        ({"url": "http://[::ffff:10.0.0.1]/x.mp3"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "no link in here"}, "url"),
        ({"url": ""}, "file"),
        ({}, "file"),
        ({"url": LINK, "mode": "windowed", "condition_on_previous_text": True}, "mode"),
        ({"url": LINK, "initial_prompt": "a\x00b"}, "initial_prompt"),
    ],
)
async def test_what_is_wrong_is_refused_at_once_and_by_name(app: TaskApp, fields: dict[str, Any], param: str) -> None:
    answer = await app.client.post("/api/tasks", json=fields)
    assert (answer.status_code, error_of(answer)["param"]) == (400, param), answer.text
    assert (await app.client.get("/api/tasks")).json()["tasks"] == []


async def test_a_file_and_a_link_are_one_too_many(app: TaskApp) -> None:
    answer = await upload(app, b"RIFF", url=LINK)
    assert (answer.status_code, error_of(answer)["param"]) == (400, "url")
    assert app.media() == app.arriving() == []


async def test_an_unknown_field_of_a_form_is_an_error_too(app: TaskApp) -> None:
    answer = await upload(app, b"RIFF", beamsize="5")
    assert (answer.status_code, error_of(answer)["param"]) == (400, "beamsize")
    assert "beam_size" in error_of(answer)["message"]


async def test_an_empty_file_is_refused(app: TaskApp) -> None:
    answer = await upload(app, b"one", b"")
    assert answer.status_code == 400
    assert app.media() == app.arriving() == []


async def test_a_file_that_is_too_large(make_services: MakeServices, tmp_path: Path) -> None:
    async with task_app(make_services, tmp_path / "data", max_upload_bytes=2_000) as app:
        assert (await upload(app, b"x" * 1_500, b"x" * 1_500)).status_code == 413
        assert app.media() == app.arriving() == []


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"url": NaN}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"\xff", "application/json"),
        (b"url=%ff%fe", "application/x-www-form-urlencoded"),
        (b"\xff\xfe=1", "application/x-www-form-urlencoded"),
        (b"x", "text/plain"),
        (b"x", ""),
        (b"x", "multipart/form-data"),
    ],
)
async def test_a_malformed_body_is_the_callers_fault(app: TaskApp, content: bytes, kind: str) -> None:
    answer = await app.client.post("/api/tasks", content=content, headers={"content-type": kind})
    assert answer.status_code == 400, answer.text


async def test_a_body_without_end_is_cut_off(app: TaskApp) -> None:
    answer = await app.client.post("/api/tasks", content=b" " * 5_000_000, headers={"content-type": "application/json"})
    assert answer.status_code == 413


async def test_a_model_that_is_not_here_is_refused_at_once(app: TaskApp) -> None:
    answer = await app.client.post("/api/tasks", json={"url": LINK, "model": "nobody/knows"})
    assert (answer.status_code, error_of(answer)["code"]) == (404, "model_not_found")


async def test_a_full_queue_answers_429_and_keeps_no_upload(make_services: MakeServices, tmp_path: Path) -> None:
    async with task_app(make_services, tmp_path / "data", max_queued=2) as app:
        await app.make()
        await app.make()
        answer = await upload(app, b"RIFF")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert app.media() == app.arriving() == []
        batch = await app.client.post("/api/tasks/batch", json={"urls": [LINK]})
        assert batch.status_code == 429


@pytest.mark.parametrize("route", ["/api/tasks", "/api/tasks/batch"])
async def test_what_stands_in_the_address_is_refused_rather_than_lost(app: TaskApp, route: str) -> None:
    body = {"url": LINK} if route == "/api/tasks" else {"urls": [LINK]}
    answer = await app.client.post(route, params={"beam_size": "2"}, json=body)
    assert (answer.status_code, error_of(answer)["param"]) == (400, "beam_size")
    assert "as a field" in error_of(answer)["message"]
    assert (await app.client.get("/api/tasks")).json()["total"] == 0


async def test_the_same_key_makes_no_second_task(app: TaskApp) -> None:
    headers = {"idempotency-key": "k-1"}
    first = await app.client.post("/api/tasks", json={"url": LINK}, headers=headers)
    again = await app.client.post("/api/tasks", json={"url": LINK, "idempotency_key": "k-1"})
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    other = await app.client.post("/api/tasks", json={"url": f"{LINK}?other"}, headers=headers)
    assert (other.status_code, error_of(other)["param"]) == (409, "idempotency_key")


async def test_an_upload_that_was_sent_before_is_stored_once(app: TaskApp) -> None:
    answers = [await upload(app, b"one", b"two", idempotency_key="k") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert len(app.media()) == 2
    for recordings in ([b"one", b"another", b"third"], [b"one", b"owt"]):  # the last is as long as the first time
        other = await upload(app, *recordings, idempotency_key="k")
        assert (other.status_code, error_of(other)["param"]) == (409, "idempotency_key")
    assert len(app.media()) == 2


async def test_a_batch_whose_key_was_that_of_another_one_makes_no_task(app: TaskApp) -> None:
    asked = {"urls": [LINK, f"{LINK}?2"], "idempotency_key": "monday"}
    first = await app.client.post("/api/tasks/batch", json=asked)
    again = await app.client.post("/api/tasks/batch", json=asked)
    assert first.json() == again.json()
    for change in ({"urls": [LINK, f"{LINK}?other", f"{LINK}?third"]}, {"beam_size": 3}):
        other = await app.client.post("/api/tasks/batch", json=asked | change)
        assert (other.status_code, error_of(other)["param"]) == (409, "idempotency_key")
    listed = (await app.client.get("/api/tasks")).json()
    assert listed["total"] == 2


async def test_a_key_stands_for_its_task_also_when_it_has_begun_or_ended(app: TaskApp) -> None:
    link = await app.make(idempotency_key="link")
    [claimed] = await app.store.claim(NODE, 1)
    await app.store.fetched(claimed, media_key="aa/of-the-link", media_bytes=123, file_name="talk.mp3")
    file = (await upload(app, b"one", idempotency_key="file")).json()
    await app.end(claimed)
    await app.run()
    for _ in range(2):  # the second time, the recording has gone
        assert (await app.make(idempotency_key="link"))["id"] == link["id"]
        assert (await upload(app, b"one", idempotency_key="file")).json()["id"] == file["id"]
        assert (await upload(app, b"eno", idempotency_key="file")).status_code == 409
        later = datetime.now(UTC) + timedelta(days=1)
        await Cleaning(app.store._database).forget_media(file["id"], ended_before=later)
    assert (await app.store.get(file["id"], None)).media_key is None
    assert (await upload(app, b"other", idempotency_key="link")).status_code == 409


async def test_a_task_that_expires_says_when(app: TaskApp) -> None:
    task = await app.make(expires_in=60)
    expires = datetime.fromisoformat(task["expires_at"])
    assert timedelta(seconds=50) < expires - datetime.now(UTC) <= timedelta(seconds=60)


async def test_a_batch_makes_a_task_for_each_link(app: TaskApp) -> None:
    urls = [f"{LINK}?{number}" for number in range(1_000)]
    answer = await app.client.post("/api/tasks/batch", json={"urls": urls, "priority": "low", "tags": ["b"]})
    assert answer.status_code == 201, answer.text[:500]
    tasks = answer.json()["tasks"]
    assert [task["url"] for task in tasks] == urls
    assert {(task["priority"], *task["tags"]) for task in tasks} == {("low", "b")}
    assert [task["queue_position"] for task in tasks] == [*range(1, 1_001)]


async def test_many_who_come_at_once_look_at_the_queue_together(app: TaskApp, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    look = app.store.queue_positions

    async def counted(ids: Collection[str]) -> dict[str, int]:
        looks.append(len(ids))
        return await look(ids)

    monkeypatch.setattr(app.store, "queue_positions", counted)
    tasks = await asyncio.gather(*[app.make() for _ in range(20)])
    assert sorted(task["queue_position"] for task in tasks)[-1] == 20
    assert len(looks) < 20


async def test_a_batch_is_made_as_a_whole_or_not_at_all(app: TaskApp) -> None:
    answer = await app.client.post("/api/tasks/batch", json={"tasks": [{"url": LINK}, {"url": LINK, "beam_size": 0}]})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "tasks[1].beam_size")
    assert (await app.client.get("/api/tasks")).json()["total"] == 0


async def test_a_batch_is_json(app: TaskApp) -> None:
    assert (await app.client.post("/api/tasks/batch", data={"urls": LINK})).status_code == 400


# Finding ---------------------------------------------------------------------------------------------------------


async def test_a_task_shows_every_documented_field(app: TaskApp) -> None:
    task = await app.make()
    assert set(task) == set(openapi_tasks.TASK["properties"]) == set(openapi_tasks.TASK_EXAMPLE)


async def test_pages_by_cursor_and_by_offset(app: TaskApp) -> None:
    ids = [(await app.make())["id"] for _ in range(5)]
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = (await app.client.get("/api/tasks", params=params)).json()
        assert page["total"] == 5
        seen += [task["id"] for task in page["tasks"]]
        assert page["has_more"] == (page["next"] is not None)
        if not page["has_more"]:
            break
        params["cursor"] = page["next"]
    assert seen == ids[::-1]
    page = (await app.client.get("/api/tasks", params={"limit": 2, "offset": 4, "sort": "created_at"})).json()
    assert [task["id"] for task in page["tasks"]] == ids[4:]


async def test_filters(app: TaskApp) -> None:
    first = await app.make(priority="high", tags=["a"], platform="one")
    done = await app.run(" The birch canoe.")
    second = await app.make(priority="low", tags=["b"])

    async def ids(**params: Any) -> list[str]:
        answer = await app.client.get("/api/tasks", params=params)
        assert answer.status_code == 200, answer.text
        return [task["id"] for task in answer.json()["tasks"]]

    assert done.id == first["id"]
    assert await ids(status="succeeded") == await ids(priority="high") == await ids(tag="a") == [first["id"]]
    assert await ids(status="queued,succeeded") == [second["id"], first["id"]]
    assert await ids(status=["queued", "running"]) == [second["id"]]
    assert await ids(platform="one") == await ids(language="en") == await ids(engine="fake") == [first["id"]]
    assert await ids(text="birch") == await ids(model="fake") == [first["id"]]
    assert await ids(text="planks") == await ids(has_error="true") == []
    assert await ids(has_error="false", sort="created_at") == [first["id"], second["id"]]
    assert await ids(created_after=second["created_at"]) == [second["id"]]
    assert await ids(created_before="2026-01-01") == []
    assert await ids(finished_after="2020-01-01T00:00:00+09:00") == [first["id"]]


async def test_texts_come_on_request_only(app: TaskApp) -> None:
    await app.make()
    await app.run()
    await app.make()
    plain = (await app.client.get("/api/tasks")).json()["tasks"]
    assert all("result" not in task for task in plain)
    waiting, done = (await app.client.get("/api/tasks", params={"include": "result"})).json()["tasks"]
    assert waiting["result"] is None
    assert done["result"]["text"] == "The birch canoe slid on the smooth planks."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "done"),
        ("priority", "1"),
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "ten"),
        ("offset", "-1"),
        ("cursor", "nonsense"),
        ("cursor", "eyJ4IjoxfQ"),
        ("sort", "colour"),
        ("created_after", "yesterday"),
        ("created_after", "0001-01-01T00:00:00+14:00"),
        ("has_error", "maybe"),
        ("include", "everything"),
        ("stauts", "failed"),
        ("tag", "\x00"),
        ("text", "x" * 1_000),
    ],
)
async def test_a_wrong_filter_is_refused_by_name(app: TaskApp, name: str, value: str) -> None:
    answer = await app.client.get("/api/tasks", params={name: value})
    assert (answer.status_code, error_of(answer)["param"]) == (400, name), answer.text


async def test_a_page_with_texts_is_short(app: TaskApp) -> None:
    answer = await app.client.get("/api/tasks", params={"include": "result", "limit": 100})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "limit")


@pytest.mark.parametrize("id", ["task_00000000000000000000000000", "x", "%00", "..", "a%2Fb", "x" * 500, "日本"])
async def test_a_task_that_does_not_exist(app: TaskApp, id: str) -> None:
    assert (await app.client.get(f"/api/tasks/{id}")).status_code == 404


# Steering --------------------------------------------------------------------------------------------------------


async def test_a_task_that_waits_is_cancelled_at_once(app: TaskApp) -> None:
    task = await app.make()
    answer = await app.client.post(f"/api/tasks/{task['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    again = await app.client.post(f"/api/tasks/{task['id']}/cancel")
    assert (again.status_code, error_of(again)["code"]) == (409, "conflict")


async def test_a_task_that_runs_is_asked_to_end(app: TaskApp) -> None:
    task = await app.make()
    held = await app.begin()
    answer = await app.client.post(f"/api/tasks/{task['id']}/cancel")
    assert (answer.json()["status"], answer.json()["cancel_requested"]) == ("running", True)
    await app.end(held, TaskStatus.CANCELLED)
    assert (await app.client.get(f"/api/tasks/{task['id']}")).json()["status"] == "cancelled"


async def test_a_failed_task_begins_again(app: TaskApp) -> None:
    task = await app.make()
    await app.end(await app.begin(), TaskStatus.FAILED, TaskError(code="gone", message="It is gone."))
    shown = (await app.client.get(f"/api/tasks/{task['id']}")).json()
    assert shown["error"] == {"code": "gone", "message": "It is gone.", "remedy": ""}
    answer = await app.client.post(f"/api/tasks/{task['id']}/retry")
    assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (200, "queued", None)
    assert answer.json()["queue_position"] == 1
    assert (await app.client.post(f"/api/tasks/{task['id']}/retry")).status_code == 409


async def test_priority_changes_while_a_task_waits(app: TaskApp) -> None:
    first, second = await app.make(), await app.make()
    answer = await app.client.post(f"/api/tasks/{second['id']}/priority", json={"priority": "high"})
    assert (answer.json()["priority"], answer.json()["queue_position"]) == ("high", 1)
    assert (await app.client.get(f"/api/tasks/{first['id']}")).json()["queue_position"] == 2
    await app.begin()
    answer = await app.client.post(f"/api/tasks/{second['id']}/priority", data={"priority": "low"})
    assert answer.status_code == 409


@pytest.mark.parametrize("body", [{}, {"priority": "urgent"}, {"priority": None}, {"priority": "low", "x": 1}])
async def test_a_wrong_priority(app: TaskApp, body: dict[str, Any]) -> None:
    task = await app.make()
    answer = await app.client.post(f"/api/tasks/{task['id']}/priority", json=body)
    assert answer.status_code == 400
    assert (await app.store.get(task["id"], None)).priority is TaskPriority.NORMAL


async def test_a_deleted_task_is_gone_with_its_recording(app: TaskApp) -> None:
    task = (await upload(app, b"RIFF")).json()
    assert len(app.media()) == 1
    answer = await app.client.delete(f"/api/tasks/{task['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert app.media() == []
    for path in ("", "/result", "/subtitles", "/events"):
        assert (await app.client.get(f"/api/tasks/{task['id']}{path}")).status_code == 404
    assert (await app.client.delete(f"/api/tasks/{task['id']}")).status_code == 404


async def test_deleting_waits_until_the_node_has_let_go(app: TaskApp) -> None:
    task = (await upload(app, b"RIFF")).json()
    held = await app.begin()
    deleting = asyncio.create_task(app.client.delete(f"/api/tasks/{task['id']}"))
    async with asyncio.timeout(60):
        while not await app.store.cancel_requested([task["id"]]):  # noqa: ASYNC110 - the store wakes nobody
            await asyncio.sleep(0.01)
    assert not deleting.done()
    assert len(app.media()) == 1
    await app.end(held, TaskStatus.CANCELLED)
    assert (await deleting).status_code == 204
    assert app.media() == []


# Owners ----------------------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", ""),
    ("GET", "/result"),
    ("GET", "/subtitles"),
    ("GET", "/events"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
    ("POST", "/priority"),
    ("DELETE", ""),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("state", ["queued", "succeeded"])
async def test_somebody_elses_task_does_not_exist(ann: TaskApp, method: str, path: str, state: str) -> None:
    task = await ann.make()
    if state == "succeeded":
        await ann.run()
    before = await ann.store.get(task["id"], None)
    body: Any = {"priority": "high"} if path == "/priority" else None
    answer = await ann.client.request(method, f"/api/tasks/{task['id']}{path}", headers=BOB, json=body)
    never = "task_00000000000000000000000000"
    none = await ann.client.request(method, f"/api/tasks/{never}{path}", headers=BOB, json=body)
    assert answer.status_code == none.status_code == 404
    assert answer.text == none.text.replace(never, task["id"])
    assert await ann.store.get(task["id"], None) == before


async def test_everybody_lists_their_own(ann: TaskApp) -> None:
    mine = await ann.make()
    theirs = (await ann.client.post("/api/tasks", json={"url": LINK}, headers=BOB)).json()
    assert (mine["owner"], theirs["owner"]) == ("ann", "bob")

    async def ids(headers: dict[str, str], **params: str) -> list[str]:
        answer = await ann.client.get("/api/tasks", headers=headers, params=params)
        return [task["id"] for task in answer.json()["tasks"]]

    assert await ids({}) == await ids({}, owner="ann") == [mine["id"]]
    assert await ids(BOB) == [theirs["id"]]
    assert await ids(ROOT) == [theirs["id"], mine["id"]]
    assert await ids(ROOT, owner="ann") == [mine["id"]]
    refused = await ann.client.get("/api/tasks", params={"owner": "bob"})
    assert refused.status_code == 403


async def test_an_admin_may_do_everything_with_any_task(ann: TaskApp) -> None:
    task = await ann.make()
    assert (await ann.client.get(f"/api/tasks/{task['id']}", headers=ROOT)).json() == task
    assert (await ann.client.post(f"/api/tasks/{task['id']}/cancel", headers=ROOT)).status_code == 200
    assert (await ann.client.delete(f"/api/tasks/{task['id']}", headers=ROOT)).status_code == 204


async def test_a_cursor_of_somebody_else_shows_nothing_of_theirs(ann: TaskApp) -> None:
    for _ in range(3):
        await ann.make()
    cursor = (await ann.client.get("/api/tasks", params={"limit": 1})).json()["next"]
    answer = await ann.client.get("/api/tasks", params={"limit": 1, "cursor": cursor}, headers=BOB)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "cursor")


async def test_keys_of_different_owners_may_be_the_same(ann: TaskApp) -> None:
    headers = {"idempotency-key": "k"}
    mine = await ann.client.post("/api/tasks", json={"url": LINK}, headers=headers)
    theirs = await ann.client.post("/api/tasks", json={"url": LINK}, headers=headers | BOB)
    assert mine.json()["id"] != theirs.json()["id"]


@pytest.mark.parametrize(("key", "status"), [("", 401), ("wrong", 401), ("models", 403)])
async def test_a_key_with_the_right_scope_is_needed(ann: TaskApp, key: str, status: int) -> None:
    task = await ann.make()
    for method, path in [*ROUTES, ("POST", "")]:
        url = "/api/tasks" if (method, path) == ("POST", "") else f"/api/tasks/{task['id']}{path}"
        answer = await ann.client.request(method, url, headers={"x-api-key": key})
        assert answer.status_code == status, (method, path)


async def test_what_the_engine_cannot_do_is_refused_at_once(app: TaskApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: str, options: object) -> None:
        raise Unsupported("PocketSphinx cannot translate.", param="task")

    monkeypatch.setattr(Services, "check_supported", staticmethod(refuse))
    answer = await app.client.post("/api/tasks", json={"url": LINK, "task_type": "translate"})
    assert (answer.status_code, error_of(answer)["code"]) == (400, "unsupported_value")


async def test_what_cannot_be_written_hides_no_task(app: TaskApp) -> None:
    made = await app.make()
    await app.end(await app.begin(), TaskStatus.FAILED, TaskError(code="site_error", message="gone \ud800"))
    for path, status in ((made["id"], 200), (f"{made['id']}/result", 409), ("", 200)):
        answer = await app.client.get(f"/api/tasks/{path}".rstrip("/"))
        assert (answer.status_code, "gone ?" in answer.text) == (status, True)
