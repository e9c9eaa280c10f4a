"""Texts of tasks, corrected by people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from kikitori.tasks.views import segment_json
from kikitori.web import openapi, openapi_tasks
from kikitori.web.answers import JSON_TYPE, json_bytes
from kikitori.web.auth import MayTranscribe
from kikitori.web.json_models import json_body, json_model
from kikitori.web.routes.tasks import TaskId
from kikitori.web.state import State
from kikitori.web.task_answers import found

router = APIRouter(tags=["tasks"], responses=openapi.error_responses(401, 403))

MAX_TEXT = 10_000
LAST_SEGMENT = 2**31 - 1
"""The largest number that the column holds."""

SegmentId = Annotated[int, Path(description="The number of the segment.", ge=0, le=LAST_SEGMENT, examples=[0])]


class Correction(BaseModel):
    """What a segment shall say."""

    text: str = Field(description="The right text, on one line; empty where nobody spoke.", max_length=MAX_TEXT)
    expected: str | None = Field(
        None,
        description="The text that you saw. When the segment says something else by now, the answer is 409 and nothing "
        "changes; without this field the last correction wins.",
        max_length=MAX_TEXT,
    )


@router.patch(
    "/api/tasks/{id}/segments/{segment_id}",
    summary="Correct a segment",
    response_class=Response,
    openapi_extra=json_body(Correction, {"text": "The birch canoe slid on."}),
    responses={200: openapi_tasks.segment_response(), **openapi.error_responses(400, 404, 409, 413)},
)
async def correct_segment(
    id: TaskId, segment_id: SegmentId, request: Request, state: State, caller: MayTranscribe
) -> Response:
    """Its result, files and search have the new text from then on. Words that stayed keep their times.

    409 as long as the task has not ended. Answers of language models stay as they were.
    """
    asked = await json_model(request, Correction)
    task = await found(state.services.tasks, id, caller)
    segment = await state.services.tasks.correct(task.id, caller.sees, segment_id, asked.text, expected=asked.expected)
    return Response(json_bytes(segment_json(segment)), media_type=JSON_TYPE)
