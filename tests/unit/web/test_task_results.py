"""Results and subtitles of tasks over the application."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pysubs2
import pytest
from docx import Document

from kikitori.services.parts import Services
from kikitori.store.task_records import TaskError, TaskResult, TaskStatus
from kikitori.testing import Hold, fake_segments
from kikitori.web.task_forms import RESULT_FORMATS

from .task_app import RESULT_TEXTS, TaskApp, task_app

MakeServices: TypeAlias = Callable[..., Services]
TEXT = "The birch canoe slid on the smooth planks."


@pytest.fixture
async def app(make_services: MakeServices, tmp_path: Path) -> AsyncIterator[TaskApp]:
    async with task_app(make_services, tmp_path / "data") as running:
        yield running


async def done(app: TaskApp, name: str = "talk.mp3") -> str:
    answer = await app.client.post("/api/tasks", files={"file": (name, b"RIFF")})
    await app.run()
    return str(answer.json()["id"])


async def test_a_result_is_the_text_with_its_segments(app: TaskApp) -> None:
    id = await done(app)
    answer = await app.client.get(f"/api/tasks/{id}/result")
    assert answer.status_code == 200
    result = answer.json()
    assert set(result) == {"task_id", "text", "language", "duration", "model", "engine", "segments"}
    assert (result["task_id"], result["text"], result["language"], result["duration"]) == (id, TEXT, "en", 3.0)
    assert [segment["id"] for segment in result["segments"]] == [0, 1, 2]
    assert [segment["text"] for segment in result["segments"]] == [*RESULT_TEXTS]


@pytest.mark.parametrize("path", ["result", "subtitles"])
async def test_who_asks_too_early_is_told_when_to_come_back(app: TaskApp, path: str) -> None:
    task = await app.make()
    answer = await app.client.get(f"/api/tasks/{task['id']}/{path}")
    assert (answer.status_code, answer.json()["status"], answer.json()["queue_position"]) == (202, "queued", 1)
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    await app.begin()
    answer = await app.client.get(f"/api/tasks/{task['id']}/{path}")
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    assert 1 <= int(answer.headers["retry-after"]) <= 30


@pytest.mark.parametrize("path", ["result", "subtitles"])
async def test_a_failure_speaks_for_itself(app: TaskApp, path: str) -> None:
    task = await app.make()
    error = TaskError(code="no_such_video", message="The video was removed.", remedy="Send another link.")
    await app.end(await app.begin(), TaskStatus.FAILED, error)
    answer = await app.client.get(f"/api/tasks/{task['id']}/{path}")
    assert answer.status_code == 409
    assert answer.json()["error"] == {
        "message": "The video was removed. Send another link.",
        "type": "invalid_request_error",
        "param": None,
        "code": "no_such_video",
        "remedy": "Send another link.",
        "status": "failed",
    }


async def test_a_cancelled_task_says_so(app: TaskApp) -> None:
    task = await app.make()
    await app.client.post(f"/api/tasks/{task['id']}/cancel")
    answer = await app.client.get(f"/api/tasks/{task['id']}/result")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cancelled")
    assert "retry" in answer.json()["error"]["remedy"]


@pytest.mark.parametrize("ended", [None, TaskStatus.CANCELLED, TaskStatus.FAILED])
async def test_what_there_is_so_far_comes_on_request(app: TaskApp, ended: TaskStatus | None) -> None:
    task = await app.make()
    empty = await app.client.get(f"/api/tasks/{task['id']}/result", params={"partial": "true"})
    assert (empty.status_code, empty.json()["text"], empty.json()["segments"]) == (200, "", [])
    held = await app.begin()
    await app.say(held, fake_segments(*RESULT_TEXTS)[:2])
    if ended:
        await app.end(held, ended, TaskError(code="x", message="X.") if ended is TaskStatus.FAILED else None)
    answer = await app.client.get(f"/api/tasks/{task['id']}/result", params={"partial": "true"})
    assert (answer.status_code, answer.json()["text"]) == (200, "The birch canoe slid on")
    assert answer.json()["status"] == (ended or TaskStatus.RUNNING)
    assert answer.json()["progress"] == 66.7
    text = await app.client.get(f"/api/tasks/{task['id']}/subtitles", params={"partial": "true", "format": "txt"})
    assert (text.status_code, text.text) == (200, "The birch canoe\nslid on\n")


@pytest.mark.parametrize("format", RESULT_FORMATS)
async def test_every_format_of_the_stored_text(app: TaskApp, format: str) -> None:
    id = await done(app)
    answer = await app.client.get(f"/api/tasks/{id}/subtitles", params={"format": format})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="talk.{format}"'
    if format == "json":
        assert answer.json()["text"] == TEXT
    elif format in ("txt", "tsv"):
        assert "slid on" in answer.text
    elif format == "lrc":
        assert answer.text.startswith("[00:00.00]")
    elif format == "docx":
        title, _, *text = [paragraph.text for paragraph in Document(io.BytesIO(answer.content)).paragraphs]
        assert (title, text) == ("talk", [f"0:00\t{TEXT}"])
    else:
        cues = pysubs2.SSAFile.from_string(answer.text, format_=format)
        assert " ".join(cue.plaintext.replace("\n", " ") for cue in cues) == TEXT


async def test_srt_is_the_default(app: TaskApp) -> None:
    id = await done(app)
    answer = await app.client.get(f"/api/tasks/{id}/subtitles")
    assert answer.headers["content-type"].startswith("application/x-subrip")
    assert answer.text.startswith("1\n00:00:00,000 --> ")


async def test_the_layout_can_be_chosen(app: TaskApp) -> None:
    id = await done(app)
    wide = (await app.client.get(f"/api/tasks/{id}/subtitles", params={"max_line_width": 60})).text
    narrow = (await app.client.get(f"/api/tasks/{id}/subtitles", params={"max_line_width": 16, "max_lines": 1})).text
    assert narrow.count("-->") > wide.count("-->")
    lines = [line for line in narrow.splitlines() if line and "-->" not in line]
    assert all(len(line) <= 16 for line in lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [("format", "odt"), ("format", "text"), ("max_line_width", "5"), ("max_lines", "many"), ("max_linewidth", "42")],
)
async def test_a_wrong_layout_is_refused_by_name(app: TaskApp, name: str, value: str) -> None:
    id = await done(app)
    answer = await app.client.get(f"/api/tasks/{id}/subtitles", params={name: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("会議 1.mp3", "attachment; filename=\"__ 1.srt\"; filename*=UTF-8''%E4%BC%9A%E8%AD%B0%201.srt"),
        ('a"b;c.wav', "attachment; filename=\"a_b_c.srt\"; filename*=UTF-8''a%22b%3Bc.srt"),
        ("../../etc/passwd", 'attachment; filename="passwd.srt"'),
        ("two.dots.mp3", 'attachment; filename="two.dots.srt"'),
        (".mp3", 'attachment; filename=".mp3.srt"'),
    ],
)
async def test_the_download_is_called_as_the_recording(app: TaskApp, name: str, header: str) -> None:
    task = await app.make()
    await app.run()
    record = await app.store.get(task["id"], None)
    from dataclasses import replace

    from kikitori.text.formats import OutputFormat
    from kikitori.web.multipart import plain_file_name
    from kikitori.web.task_answers import download_headers

    named = replace(record, file_name=plain_file_name(name))
    assert download_headers(named, OutputFormat.SRT) == {"content-disposition": header}


async def test_a_recording_without_a_name_lends_the_id(app: TaskApp) -> None:
    id = await done(app, name="x")
    task = await app.make()
    await app.run()
    answer = await app.client.get(f"/api/tasks/{task['id']}/subtitles")
    assert answer.headers["content-disposition"] == f'attachment; filename="{task["id"]}.srt"'
    assert id != task["id"]


async def translate(app: TaskApp, id: str, language: str, *texts: str) -> int:
    """As a language model did it before."""
    parts = [
        {"id": segment.id, "start": segment.start, "end": segment.end, "text": text}
        for segment, text in zip(fake_segments(*texts), texts, strict=True)
    ]
    text = json.dumps({"segments": parts, "untranslated": []})
    return (await app.services.answers.add(id, kind="translation", text=text, language=language)).id


@pytest.mark.parametrize("name", ["de", "DE", "German", "german"])
async def test_a_translation_has_subtitles_too(app: TaskApp, name: str) -> None:
    id = await done(app)
    await translate(app, id, "fr", " Le canot", " glissa", " là.")
    first = await translate(app, id, "German", " Das Kanu", " glitt", " dahin.")
    await translate(app, id, "de", " Das Birkenkanu", " glitt", " davon.")
    path = f"/api/tasks/{id}/subtitles"
    answer = await app.client.get(path, params={"translation": name, "format": "txt"})
    assert answer.text.split() == "Das Birkenkanu glitt davon.".split()
    assert answer.headers["content-disposition"] == 'attachment; filename="talk.de.txt"'
    answer = await app.client.get(path, params={"translation": str(first)})
    assert "00:00:00,000 --> " in answer.text
    assert " ".join(answer.text.split()).endswith("dahin.")
    assert answer.headers["content-disposition"] == 'attachment; filename="talk.German.srt"'
    whole = (await app.client.get(path, params={"translation": "fr", "format": "json"})).json()
    assert (whole["language"], [segment["text"] for segment in whole["segments"]]) == (
        "fr", [" Le canot", " glissa", " là."],
    )  # fmt: skip


async def test_a_translation_that_is_not_there_is_told_with_those_that_are(app: TaskApp) -> None:
    id = await done(app)
    path = f"/api/tasks/{id}/subtitles"
    answer = await app.client.get(path, params={"translation": "de"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "translation")
    assert "/translate makes one" in answer.json()["error"]["message"]
    other = await translate(app, await done(app), "de", " Ja.")
    await translate(app, id, "fr", " Oui.")
    for wanted in ("de", str(other), "9" * 90):
        answer = await app.client.get(path, params={"translation": wanted})
        assert answer.status_code == 404
        assert "There are: fr." in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/api/tasks/{}/result", "/api/tasks/{}/subtitles", "/api/tasks?include=result"])
async def test_long_texts_take_one_of_the_callers_places(
    make_services: MakeServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async with task_app(make_services, tmp_path / "data", key_concurrency=1) as app:
        id, hold = await done(app), Hold()
        read = app.store.result

        async def slow(*arguments: Any) -> TaskResult:
            await hold.wait()
            return await read(*arguments)

        monkeypatch.setattr(app.store, "result", slow)
        first = asyncio.create_task(app.client.get(path.format(id)))
        await hold.reached.wait()
        refused = await app.client.get(path.format(id))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert (await app.client.get(f"/api/tasks/{id}")).status_code == 200
        hold.release.set()
        assert (await first).status_code == 200
        assert (await app.client.get(path.format(id))).status_code == 200
