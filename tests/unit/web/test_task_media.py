"""Recordings of tasks over the application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.unit.audio.test_peaks import wav

from kikitori.services.parts import Services
from kikitori.web.peak_memory import PeakMemory

from .task_app import TaskApp, task_app

MakeServices: TypeAlias = Callable[..., Services]
CONTENT = wav(0.5, 1.0).getvalue()


@pytest.fixture
async def app(make_services: MakeServices, tmp_path: Path) -> AsyncIterator[TaskApp]:
    async with task_app(make_services, tmp_path / "data", key="ann") as made:
        yield made


async def sent(app: TaskApp, name: str = "会議 1.wav", content: bytes = CONTENT) -> str:
    answer = await app.client.post("/api/tasks", files={"file": (name, content)})
    assert answer.status_code == 201, answer.text
    id: str = answer.json()["id"]
    return id


async def get(app: TaskApp, id: str, what: str, **more: Any) -> Any:
    return await app.client.get(f"/api/tasks/{id}/{what}", **more)


async def test_a_recording_comes_back_as_it_was_sent(app: TaskApp) -> None:
    answer = await get(app, await sent(app), "recording")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] in ("audio/x-wav", "audio/wav", "audio/vnd.wave")
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''%E4%BC%9A%E8%AD%B0%201.wav"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "private" in answer.headers["cache-control"]


async def test_parts_can_be_asked_for(app: TaskApp) -> None:
    answer = await get(app, await sent(app), "recording", headers={"range": "bytes=4-9"})
    assert (answer.status_code, answer.content) == (206, CONTENT[4:10])
    assert answer.headers["content-range"] == f"bytes 4-9/{len(CONTENT)}"


async def test_a_page_that_was_sent_as_a_recording_does_not_become_ours(app: TaskApp) -> None:
    answer = await get(app, await sent(app, "x.html", b"<script>"), "recording")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_the_wave_is_read_once(app: TaskApp, monkeypatch: pytest.MonkeyPatch) -> None:
    id = await sent(app)
    first = (await get(app, id, "peaks", params={"count": 2})).json()
    assert first["duration"] == 2.0
    assert first["peaks"] == pytest.approx([0.5, 1.0], abs=0.01)
    monkeypatch.setattr("kikitori.web.routes.task_media.find_peaks", None)
    assert (await get(app, id, "peaks", params={"count": 2})).json() == first


@pytest.mark.parametrize("what", ["recording", "peaks"])
async def test_what_is_not_here_or_not_yours_is_not_found(app: TaskApp, what: str) -> None:
    link = (await app.make())["id"]
    answer = await get(app, link, what)
    assert (answer.status_code, "not here" in answer.json()["error"]["message"]) == (404, True)
    mine = await sent(app)
    assert (await get(app, mine, what, headers={"x-api-key": "bob"})).status_code == 404
    for path in app.media():
        path.unlink()
    assert (await get(app, mine, what)).status_code == 404


@pytest.mark.parametrize("count", ["0", "4001", "many"])
async def test_so_many_values_there_are_not(app: TaskApp, count: str) -> None:
    answer = await get(app, await sent(app), "peaks", params={"count": count})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "count")


async def test_what_has_no_wave_is_said(app: TaskApp) -> None:
    answer = await get(app, await sent(app, content=b"no sound" * 100), "peaks")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")


def test_memory_is_bounded_and_keeps_what_is_asked_for() -> None:
    memory: Any = PeakMemory(2)
    memory.put("a", 1)
    memory.put("b", 2)
    assert memory.get("a") == 1
    memory.put("c", 3)
    assert [memory.get(key) for key in "abc"] == [1, None, 3]
