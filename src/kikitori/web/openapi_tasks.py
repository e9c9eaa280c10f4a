"""Tasks described: what may be sent, and what comes back, with examples."""

from __future__ import annotations

from typing import Any

from kikitori.options import option_table
from kikitori.store.task_records import TaskPriority, TaskStatus
from kikitori.text.formats import MEDIA_TYPES
from kikitori.text.subtitle_options import layout_table
from kikitori.types import Task
from kikitori.web import openapi
from kikitori.web.task_creation import MAX_BATCH, MAX_FILES
from kikitori.web.task_forms import MAX_TAG, MAX_TAGS, RESULT_FORMATS

EXAMPLE_ID = "task_01kb9q3m5e8d7x2v4n6r0t1y3w"


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _list(description: str, items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, "description": description, **more}


_FIELDS: dict[str, dict[str, Any]] = {
    "url": _text(
        "A link to a recording, or to a page of a site that yt-dlp knows; text with a link inside will do.",
        examples=["https://example.org/talk.mp3"],
    ),
    "model": _text("A model's id or alias; empty: the default model."),
    "task_type": _text("`translate` writes English.", enum=[each.value for each in Task], default="transcribe"),
    "priority": _text(
        "`high` goes first, `low` waits for the others; nothing waits for ever.",
        enum=[each.value for each in TaskPriority],
        default="normal",
    ),
    "callback_url": _text("Told, with a signed request, when the task has ended."),
    "platform": _text("A label of yours: where the recording comes from. Lists can be filtered by it."),
    "tags": _list(f"Up to {MAX_TAGS} labels of yours, each up to {MAX_TAG} characters.", {"type": "string"}),
    "idempotency_key": _text("Sent again with the same key, the request makes no second task. Also as a header."),
    "expires_in": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "Seconds after which a task that nobody began is `expired`.",
    },
    "formats": _list("The forms of the text that you want.", {"enum": [each.value for each in RESULT_FORMATS]}),
    "prompt": _text("Another name of `initial_prompt`."),
}


def creation_body() -> dict[str, Any]:
    """The bodies that ``POST /api/tasks`` takes."""
    options = {row.name: openapi.option_schema(row) for row in option_table() if row.name != "task"}
    fields = {**_FIELDS, **options}
    files = _list(f"One recording or several, up to {MAX_FILES}: each is a task.", openapi.FILE)
    form = openapi.form_body({"file": files, **fields}, required=[])["content"]["multipart/form-data"]
    plain = {"schema": {"type": "object", "required": ["url"], "properties": fields}}
    example = {"url": "https://example.org/talk.mp3", "language": "en", "word_timestamps": True, "priority": "high"}
    return {
        "required": True,
        "content": {
            "multipart/form-data": form,
            "application/json": {**plain, "example": example},
            "application/x-www-form-urlencoded": plain,
        },
    }


def batch_body() -> dict[str, Any]:
    options = {row.name: openapi.option_schema(row) for row in option_table() if row.name != "task"}
    common = {name: schema for name, schema in {**_FIELDS, **options}.items() if name != "url"}
    one = {"type": "object", "required": ["url"], "properties": {**_FIELDS, **options}}
    properties = {
        "urls": _list(f"Links, up to {MAX_BATCH:,}; the other fields are for all.", {"type": "string"}),
        "tasks": _list("Or tasks with fields of their own, which go before those for all.", one),
        **common,
    }
    example = {"urls": ["https://example.org/1.mp3", "https://example.org/2.mp3"], "language": "en", "priority": "low"}
    schema = {"type": "object", "properties": properties}
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def priority_body() -> dict[str, Any]:
    schema = {"type": "object", "required": ["priority"], "properties": {"priority": _FIELDS["priority"]}}
    content = {"schema": schema, "example": {"priority": "high"}}
    return {"required": True, "content": {"application/json": content, "application/x-www-form-urlencoded": content}}


def _always_there(properties: dict[str, Any], **others: Any) -> dict[str, Any]:
    """An object with all of ``properties``, and perhaps some of ``others``."""
    return {"type": "object", "required": [*properties], "properties": {**properties, **others}}


_TIME = {"type": ["string", "null"], "format": "date-time", "description": "UTC."}
_NUMBER = {"type": ["number", "null"]}

TASK: dict[str, Any] = _always_there(
    {
        "id": _text("Ids sort by creation."),
        "status": _text("Where it is.", enum=[each.value for each in TaskStatus]),
        "progress": {"type": "number", "description": "0 to 100."},
        "priority": _FIELDS["priority"],
        "task_type": _FIELDS["task_type"],
        "url": {"type": ["string", "null"], "description": "What was given."},
        "file_name": _text("What the recording is called."),
        "options": {"type": "object", "description": "Decode options that were given."},
        "formats": {"type": "array", "items": {"type": "string"}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "platform": {"type": "string"},
        "details": {"type": "object", "description": "Title, author, page … of a link."},
        "parent": {"type": ["string", "null"], "description": "The task of the playlist that this one comes from."},
        "created_at": _TIME,
        "started_at": _TIME,
        "finished_at": _TIME,
        "expires_at": _TIME,
        "timings": _always_there({"queue_seconds": _NUMBER, "work_seconds": _NUMBER}),
        "duration": {**_NUMBER, "description": "Seconds of audio, once known."},
        "seconds_done": {**_NUMBER, "description": "Seconds of audio dealt with."},
        "speed": {**_NUMBER, "description": "Seconds of audio in a second."},
        "eta_seconds": {**_NUMBER, "description": "About how long it will take."},
        "language": _text("Of the speech, once known."),
        "language_probability": _NUMBER,
        "model": {"type": "string"},
        "engine": {"type": "string"},
        "mode": {"type": "string"},
        "attempts": {"type": "integer", "description": "How often a node began it."},
        "node": {"type": ["string", "null"], "description": "Who works on it."},
        "queue_position": {"type": ["integer", "null"], "description": "1 is next; null: it does not wait."},
        "cancel_requested": {"type": "boolean"},
        "error": {"type": ["object", "null"], "description": "`code`, `message`, `remedy`."},
        "callback_url": {"type": ["string", "null"]},
        "owner": {"type": "string"},
    }
)

TASK_EXAMPLE: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "status": "running",
    "progress": 41.7,
    "priority": "normal",
    "task_type": "transcribe",
    "url": None,
    "file_name": "talk.mp3",
    "options": {"language": "en"},
    "formats": ["srt"],
    "tags": ["talks"],
    "platform": "",
    "details": {},
    "parent": None,
    "created_at": "2026-03-01T12:30:00.000Z",
    "started_at": "2026-03-01T12:30:00.120Z",
    "finished_at": None,
    "expires_at": None,
    "timings": {"queue_seconds": 0.12, "work_seconds": 25.0},
    "duration": 600.0,
    "seconds_done": 250.0,
    "speed": 10.0,
    "eta_seconds": 35.0,
    "language": "en",
    "language_probability": 0.98,
    "model": "small",
    "engine": "whisper",
    "mode": "windowed",
    "attempts": 1,
    "node": "node_01kb9q2",
    "queue_position": None,
    "cancel_requested": False,
    "error": None,
    "callback_url": None,
    "owner": "ann",
}
_QUEUED: dict[str, Any] = {
    **TASK_EXAMPLE,
    "status": "queued",
    "progress": 0.0,
    "started_at": None,
    "timings": {"queue_seconds": None, "work_seconds": None},
    "duration": None,
    "seconds_done": 0.0,
    "speed": None,
    "eta_seconds": None,
    "language": "",
    "language_probability": 0.0,
    "model": "",
    "engine": "",
    "mode": "",
    "attempts": 0,
    "node": None,
    "queue_position": 3,
}
_TASKS = {"type": "array", "items": TASK}
_SEGMENT = _always_there(
    {"id": {"type": "integer"}, "start": {"type": "number"}, "end": {"type": "number"}, "text": {"type": "string"}},
    words=_list(
        "When `word_timestamps` was asked for.",
        _always_there(
            {
                "word": {"type": "string"},
                "start": {"type": "number"},
                "end": {"type": "number"},
                "probability": {"type": "number"},
            }
        ),
    ),
    speaker=_text("When the channels were split."),
)
_RESULT = _always_there(
    {
        "task_id": {"type": "string"},
        "text": {"type": "string"},
        "language": {"type": "string"},
        "duration": _NUMBER,
        "model": {"type": "string"},
        "engine": {"type": "string"},
        "segments": {"type": "array", "items": _SEGMENT},
    },
    status=_text("Of a partial text: where the task is.", enum=[each.value for each in TaskStatus]),
    progress={"type": "number", "description": "Of a partial text: 0 to 100."},
)
_WITH_RESULT = {**TASK, "properties": {**TASK["properties"], "result": {"anyOf": [_RESULT, {"type": "null"}]}}}
"""The texts are there when they are asked for."""
_LIST = _always_there(
    {
        "tasks": {"type": "array", "items": _WITH_RESULT},
        "total": {"type": "integer"},
        "total_is_exact": {"type": "boolean", "description": "`false`: there are more than `total`."},
        "has_more": {"type": "boolean"},
        "next": {"type": ["string", "null"], "description": "The `cursor` of the next page."},
    }
)
_SEGMENT_EXAMPLE = {"id": 0, "start": 0.0, "end": 2.6, "text": " The birch canoe slid on the smooth planks."}
_RESULT_EXAMPLE = {
    "task_id": EXAMPLE_ID,
    "text": "The birch canoe slid on the smooth planks.",
    "language": "en",
    "duration": 2.6,
    "model": "small",
    "engine": "whisper",
    "segments": [_SEGMENT_EXAMPLE],
}
_EVENTS_EXAMPLE = (
    f'id: 7-0-0\nevent: status\ndata: {{"id":"{EXAMPLE_ID}","status":"running","progress":0.0,"segments":0}}\n\n'
    'id: 7-1-0\nevent: segment\ndata: {"id":0,"start":0.0,"end":2.6,"text":" The birch canoe slid."}\n\n'
    'id: 7-1-2600\nevent: progress\ndata: {"progress":100.0,"seconds_done":2.6,"duration":2.6}\n\n'
    f'id: 9-1-2600\nevent: status\ndata: {{"id":"{EXAMPLE_ID}","status":"succeeded","progress":100.0,"segments":1}}\n\n'
)


def task_response(description: str) -> dict[str, Any]:
    return _json(description, TASK, TASK_EXAMPLE)


def created_response() -> dict[str, Any]:
    answer = _json(
        'The task, or with several files `{"tasks": […]}`.',
        {"anyOf": [TASK, _always_there({"tasks": _TASKS})]},
        _QUEUED,
    )
    return {**answer, "headers": {"Location": {"description": "Where the task is.", "schema": {"type": "string"}}}}


def batch_response() -> dict[str, Any]:
    return _json("The tasks, in the order of the links.", _always_there({"tasks": _TASKS}), {"tasks": [_QUEUED]})


def list_response() -> dict[str, Any]:
    example = {
        "tasks": [TASK_EXAMPLE],
        "total": 120,
        "total_is_exact": True,
        "has_more": True,
        "next": "eyJiIjoxfQ",
    }
    return _json("A page of tasks.", _LIST, example)


def result_responses() -> dict[int | str, dict[str, Any]]:
    return {
        200: _json("The text.", _RESULT, _RESULT_EXAMPLE),
        202: pending_response(),
        409: ended_response(),
    }


def segment_response() -> dict[str, Any]:
    return _json("The segment as it is now.", _SEGMENT, _SEGMENT_EXAMPLE)


def pending_response() -> dict[str, Any]:
    answer = task_response("Not yet: the task waits or runs. This is the task.")
    return {**answer, "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}}


def ended_response() -> dict[str, Any]:
    example = {
        "error": {
            "message": "The link leads to a page without a recording.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_value",
            "remedy": "Send the link of the recording.",
            "status": "failed",
        }
    }
    return _json(
        "There is no text: the task failed, was cancelled or expired, and this is why.", openapi.ERROR, example
    )


def subtitle_responses() -> dict[int | str, dict[str, Any]]:
    example = "1\n00:00:00,000 --> 00:00:02,600\nThe birch canoe slid on the smooth planks.\n"
    content: dict[str, Any] = {
        MEDIA_TYPES[each].partition(";")[0]: {"schema": {"type": "string"}} for each in RESULT_FORMATS
    }
    content[MEDIA_TYPES[RESULT_FORMATS[0]].partition(";")[0]]["example"] = example
    name = {"description": "The name of the file.", "schema": {"type": "string"}}
    return {
        200: {"description": "The file.", "content": content, "headers": {"Content-Disposition": name}},
        202: pending_response(),
        409: ended_response(),
    }


def layout_parameters() -> list[dict[str, Any]]:
    """The options of the layout of subtitles."""
    return [
        {"name": row.name, "in": "query", "required": False, "schema": openapi.option_schema(row)}
        for row in layout_table()
    ]


def events_responses() -> dict[int | str, dict[str, Any]]:
    content = {"text/event-stream": {"example": _EVENTS_EXAMPLE}}
    return {
        200: {"description": "The events.", "content": content},
        204: {"description": "The task had ended with the event `Last-Event-ID`: do not come back."},
    }


def _json(description: str, schema: dict[str, Any], example: object) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}
