"""Correcting texts over the application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from kikitori.services.parts import Services
from kikitori.store.task_records import TaskResult
from kikitori.testing import fake_segments
from kikitori.web.routes.task_segments import MAX_TEXT

from .task_app import RESULT_TEXTS, TaskApp, task_app

MakeServices: TypeAlias = Callable[..., Services]


@pytest.fixture
async def app(make_services: MakeServices, tmp_path: Path) -> AsyncIterator[TaskApp]:
    async with task_app(make_services, tmp_path / "data", key="ann") as made:
        yield made


async def done(app: TaskApp) -> str:
    await app.make()
    return (await app.run()).id


async def correct(app: TaskApp, id: str, number: object, *, key: str = "ann", **body: Any) -> Any:
    return await app.client.patch(f"/api/tasks/{id}/segments/{number}", json=body, headers={"x-api-key": key})


async def test_the_result_its_files_and_the_search_have_the_new_text(app: TaskApp) -> None:
    id = await done(app)
    answer = await correct(app, id, 1, text="glided  along\non")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"id": 1, "start": 1.0, "end": 2.0, "text": " glided along on"}
    result = (await app.client.get(f"/api/tasks/{id}/result")).json()
    assert result["text"] == "The birch canoe glided along on the smooth planks."
    assert "glided along" in (await app.client.get(f"/api/tasks/{id}/subtitles?format=txt")).text
    totals = [
        (await app.client.get("/api/tasks", params={"text": word})).json()["total"] for word in ("glided", "slid")
    ]
    assert totals == [1, 0]


async def test_who_follows_a_corrected_task_hears_nothing_of_it_twice(app: TaskApp) -> None:
    id = await done(app)
    last = (await app.client.get(f"/api/tasks/{id}/events")).text.rstrip().rpartition("id: ")[2].split("\n")[0]
    await correct(app, id, 0, text="A new text")
    again = await app.client.get(f"/api/tasks/{id}/events", headers={"last-event-id": last})
    assert again.status_code == 204
    assert "A new text" in (await app.client.get(f"/api/tasks/{id}/events")).text


async def test_two_editors_do_not_overwrite_each_other(app: TaskApp) -> None:
    id = await done(app)
    first = await correct(app, id, 1, text="glided", expected="slid on")
    second = await correct(app, id, 1, text="slipped", expected="slid on")
    assert (first.status_code, second.status_code) == (200, 409)
    assert "Somebody else has changed this segment" in second.json()["error"]["message"]
    third = await correct(app, id, 1, text="slipped", expected=" glided ")
    assert third.json()["text"] == " slipped"
    assert (await correct(app, id, 1, text="skidded")).status_code == 200, "without it the last one wins"


async def test_many_at_once_without_expectation_all_succeed_or_are_told(app: TaskApp) -> None:
    id = await done(app)
    answers = await asyncio.gather(*(correct(app, id, 1, text=f"text {number}") for number in range(4)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    said = (await app.client.get(f"/api/tasks/{id}/result")).json()["segments"][1]["text"]
    assert said in [answer.json()["text"] for answer in answers if answer.status_code == 200]


async def test_a_task_that_runs_cannot_be_corrected(app: TaskApp) -> None:
    task = await app.make()
    held = await app.begin()
    await app.say(held, fake_segments(*RESULT_TEXTS))
    answer = await correct(app, task["id"], 0, text="x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert "when it has ended" in answer.json()["error"]["message"]


async def test_a_line_can_be_emptied(app: TaskApp) -> None:
    id = await done(app)
    assert (await correct(app, id, 2, text="")).json()["text"] == ""
    assert (await app.client.get(f"/api/tasks/{id}/subtitles?format=txt")).text == "The birch canoe\nslid on\n"


@pytest.mark.parametrize(
    ("number", "body", "status", "param"),
    [
        (9, {"text": "x"}, 404, None),
        (2**31, {"text": "x"}, 400, "segment_id"),
        (-1, {"text": "x"}, 400, "segment_id"),
        ("one", {"text": "x"}, 400, "segment_id"),
        (0, {}, 400, "text"),
        (0, {"text": 5}, 400, "text"),
        (0, {"text": "x" * (MAX_TEXT + 1)}, 400, "text"),
        (0, {"text": "x", "expected": []}, 400, "expected"),
    ],
)
async def test_a_wrong_correction_changes_nothing(
    app: TaskApp, number: object, body: dict[str, Any], status: int, param: str | None
) -> None:
    id = await done(app)
    answer = await correct(app, id, number, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    result: TaskResult = await app.store.result(id, None)
    assert [segment.text for segment in result.segments] == [*RESULT_TEXTS]


async def test_what_no_text_may_hold_is_left_out(app: TaskApp) -> None:
    id = await done(app)
    answer = await correct(app, id, 0, text="a\x00b \u202e日本 🎙")
    assert answer.json()["text"] == " ab \u202e日本 🎙"


async def test_the_text_of_somebody_else_is_not_there(app: TaskApp) -> None:
    id = await done(app)
    assert (await correct(app, id, 0, key="bob", text="x")).status_code == 404
    assert (await correct(app, id, 0, key="models", text="x")).status_code == 403
    assert (await correct(app, id, 0, key="root", text="Root")).json()["text"] == " Root"
