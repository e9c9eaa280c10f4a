import io
import json
import logging

import httpx
import pytest
from docx import Document

from kikitori.errors import (
    Busy,
    InvalidMedia,
    ModelLoadFailed,
    ModelNotFound,
    TooLarge,
    Unavailable,
    Unsupported,
)
from kikitori.testing import fake_transcript, script_of
from kikitori.types import Task
from kikitori.web.answers import ANSWER_TYPES
from kikitori.web.asked import AnswerFormat

from .conftest import TEXTS, Start
from .forms import CONTENT_TYPE, field, file, form, in_pieces

TEXT = "The birch canoe slid on the smooth planks."
URL = "/v1/audio/transcriptions"
HEADERS = {"content-type": CONTENT_TYPE}


async def test_the_file_arrives_whole_and_is_gone_afterwards(start: Start) -> None:
    content = bytes(range(256)) * 20_000
    async with start() as app:
        answer = await app.transcribe(content)
        assert answer.json() == {"text": TEXT, "usage": {"type": "duration", "seconds": 3}}
        (call,) = app.transcriber.calls
        assert call.content == content
        assert call.finished
        assert call.media.parent == app.services.settings.data_dir / "tmp"  # type: ignore[union-attr]
        assert app.leftovers() == []


@pytest.mark.parametrize("response_format", list(AnswerFormat))
async def test_every_format_with_its_content_type(start: Start, response_format: AnswerFormat) -> None:
    async with start(*script_of(fake_transcript(*TEXTS, speakers=("left", "right")))) as app:
        answer = await app.transcribe(response_format=response_format.value, channels="split")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == ANSWER_TYPES[response_format]
    if response_format is AnswerFormat.DOCX:
        text = "".join(paragraph.text for paragraph in Document(io.BytesIO(answer.content)).paragraphs)
    else:
        text = answer.text
    assert "birch" in text
    assert answer.headers["x-kikitori-mode"] == "windowed"
    assert answer.headers["x-kikitori-model"] == "fake"
    assert answer.headers["x-kikitori-engine"] == "fake"


async def test_full_json_says_which_mode_ran(start: Start) -> None:
    async with start() as app:
        answer = (await app.transcribe(response_format="full_json")).json()
    assert (answer["mode"], answer["model"], answer["engine"]) == ("windowed", "fake", "fake")
    assert [segment["text"] for segment in answer["segments"]] == list(TEXTS)


async def test_options_and_model_reach_the_transcriber(start: Start) -> None:
    async with start() as app:
        await app.transcribe(model="whisper-1", beam_size="2", language="Japanese", task="translate")
        (call,) = app.transcriber.calls
    assert call.model == "whisper-1"
    assert (call.options.beam_size, call.options.language, call.options.task) == (2, "ja", Task.TRANSLATE)


async def test_translations_translate(start: Start) -> None:
    async with start() as app:
        answer = await app.client.post("/v1/audio/translations", files={"file": b"RIFF"}, data={"model": "whisper-1"})
        assert answer.status_code == 200
        assert app.transcriber.calls[0].options.task is Task.TRANSLATE


@pytest.mark.parametrize(
    "body",
    [
        form(file(), field("timestamp_granularities[]", "word"), field("response_format", "vtt")),
        form(field("response_format", "vtt"), field("timestamp_granularities", "word"), field("model", "fake"), file()),
        form(file(filename=None), field("timestamp_granularities[]", "word"), field("response_format", "vtt")),
        form(file(filename="upload", kind="application/octet-stream"), field("word_timestamps", "true"),
             field("response_format", "vtt")),
    ],
)  # fmt: skip
async def test_forms_of_all_kinds_of_clients_mean_the_same(start: Start, body: bytes) -> None:
    async with start() as app:
        answer = await app.client.post(URL, content=body, headers=HEADERS)
        assert answer.status_code == 200
        (call,) = app.transcriber.calls
    assert call.content == b"RIFF"
    assert call.options.word_timestamps


async def test_streaming(start: Start) -> None:
    async with start() as app:
        answer = await app.transcribe(stream="true")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-kikitori-mode"] == "windowed"
        data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        assert data.pop() == "[DONE]"
        *deltas, done = map(json.loads, data)
        assert "".join(delta["delta"] for delta in deltas) == done["text"] == TEXT
        assert app.transcriber.calls[0].finished
        assert app.leftovers() == []


async def test_a_failure_before_the_first_text_is_a_status_even_when_streaming(start: Start) -> None:
    async with start(ModelNotFound("nope")) as app:
        answer = await app.transcribe(stream="true", model="nope")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


async def test_a_failure_after_it_is_in_the_stream(start: Start) -> None:
    events = script_of(fake_transcript(*TEXTS))[:3]
    async with start(*events, InvalidMedia("The file breaks off.")) as app:
        answer = await app.transcribe(stream="true")
        assert answer.status_code == 200
        assert app.leftovers() == []
    last = json.loads(answer.text.strip().splitlines()[-1][6:])
    assert last["error"]["param"] == "file"


async def test_what_is_ignored_is_told(start: Start) -> None:
    async with start() as app:
        answer = await app.send({"beam_sise": "2", "include[]": "logprobs"})
        assert answer.status_code == 200
        assert answer.headers["x-kikitori-ignored-fields"] == "beam_sise, include"
        assert "x-kikitori-ignored-fields" not in (await app.transcribe()).headers


@pytest.mark.parametrize(
    ("error", "status", "kind", "param", "code"),
    [
        (InvalidMedia("This is no audio."), 400, "invalid_request_error", "file", "invalid_value"),
        (Unsupported("It cannot.", param="task", engines=["whisper"]), 400, "invalid_request_error", "task",
         "unsupported_value"),
        (ModelNotFound("m"), 404, "invalid_request_error", "model", "model_not_found"),
        (TooLarge("Too long."), 413, "invalid_request_error", None, "too_large"),
        (Busy("Full.", retry_after=7.2), 429, "rate_limit_error", None, "rate_limit_exceeded"),
        (Unavailable("None."), 503, "server_error", None, "unavailable"),
        (ModelLoadFailed("Broken."), 503, "server_error", None, "model_load_failed"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a segment"])
async def test_errors_of_the_transcriber(
    start: Start, error: Exception, status: int, kind: str, param: str | None, code: str, late: bool
) -> None:
    events = script_of(fake_transcript(*TEXTS))[:3] if late else []
    async with start(*events, error) as app:
        answer = await app.transcribe()
        assert app.leftovers() == []
    assert answer.status_code == status
    found = answer.json()["error"]
    assert found == {"message": str(error), "type": kind, "param": param, "code": code}
    assert answer.headers.get("retry-after") == {429: "8", 503: "5"}.get(status)


async def test_a_model_that_cannot_be_loaded_does_not_tell_where_it_lies(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    failure = ModelLoadFailed(
        "/srv/secret/mine is not a model: gone.", param="model", model="mine", place="/srv/secret/mine"
    )
    for stream in ("false", "true"):
        async with start(failure) as app:
            answer = await app.transcribe(stream=stream)
        assert answer.status_code == 503
        assert answer.json()["error"] == {
            "message": "mine is not a model: gone.",
            "type": "server_error",
            "param": "model",
            "code": "model_load_failed",
        }
    assert any("/srv/secret/mine" in vars(record).get("reason", "") for record in caplog.records)


async def test_an_unforeseen_error_is_a_number_for_the_caller_and_a_trace_for_the_log(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start(RuntimeError("secret detail")) as app:
        answer = await app.transcribe()
        assert app.leftovers() == []
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["code"] == "internal_error"
    assert answer.headers["x-request-id"] in error["message"]
    assert "secret" not in answer.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "odt"}, "response_format"),
        ({"beam_size": "0"}, "beam_size"),
        ({"temperature": "hot"}, "temperature"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"max_lines": "0"}, "max_lines"),
    ],
)
async def test_wrong_fields(start: Start, fields: dict[str, str], param: str) -> None:
    async with start() as app:
        answer = await app.send(fields)
        assert app.transcriber.calls == []
        assert app.leftovers() == []
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"model": "whisper-1"}', {"content-type": "application/json"}, 400),
        (b"model=whisper-1", {"content-type": "application/x-www-form-urlencoded"}, 400),
        (b"", {}, 400),
        (b"", HEADERS, 400),
        (b"garbage", HEADERS, 400),
        (form(field("model", "fake")), HEADERS, 400),
        (form(file(b"")), HEADERS, 400),
        (form(file())[:-8], HEADERS, 400),
        (form(file(), file()), HEADERS, 400),
        (form(file(name="audio")), HEADERS, 400),
    ],
    ids=["JSON", "urlencoded", "nothing", "empty", "garbage", "no file", "empty file", "cut", "two", "other name"],
)
async def test_wrong_bodies(start: Start, body: bytes, headers: dict[str, str], status: int) -> None:
    async with start() as app:
        answer = await app.client.post(URL, content=body, headers=headers)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert app.leftovers() == []
        assert app.transcriber.calls == []
        assert (await app.transcribe()).status_code == 200


async def test_uploads_are_bounded_when_their_length_is_announced(start: Start) -> None:
    async with start(max_upload_bytes=1_024) as app:
        answer = await app.transcribe(b"x" * 3_000_000)
        assert not (app.services.settings.data_dir / "tmp").exists()
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


async def test_uploads_are_bounded_while_they_come(start: Start) -> None:
    pieces = in_pieces([form(file(b"x" * 200_000))])
    async with start(max_upload_bytes=10_000) as app:
        answer = await app.client.post(URL, content=pieces, headers=HEADERS)
        assert app.leftovers() == []
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 413


async def test_a_full_disk_is_the_servers_fault(start: Start) -> None:
    async with start() as app:
        app.services.settings.data_dir.mkdir()
        (app.services.settings.data_dir / "tmp").write_text("in the way")
        answer = await app.transcribe()
    assert answer.status_code == 503
    assert "store" in answer.json()["error"]["message"]


async def test_nothing_that_was_said_is_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with start() as app:
        await app.transcribe(prompt="hidden prompt")
    assert caplog.records
    everything = json.dumps([vars(record) for record in caplog.records], default=str)
    assert "birch" not in everything
    assert "hidden prompt" not in everything


async def test_fifty_at_once(start: Start) -> None:
    import asyncio

    async with start() as app:
        answers: list[httpx.Response] = await asyncio.gather(*(app.transcribe() for _ in range(50)))
        assert [answer.status_code for answer in answers] == [200] * 50
        assert len({answer.headers["x-request-id"] for answer in answers}) == 50
        assert app.leftovers() == []
