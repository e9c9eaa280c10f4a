"""What a language model makes of a task's text: summaries, answers, translations."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from kikitori.llm.prompts import Turn, question, summary
from kikitori.store.answers import AnswerKind
from kikitori.text.languages import LANGUAGE_NAMES
from kikitori.web import openapi
from kikitori.web.answers import JSON_TYPE, json_bytes
from kikitori.web.auth import Caller, MayTranscribe
from kikitori.web.bodies import MAX_LONG_BYTES
from kikitori.web.disconnect import while_connected
from kikitori.web.json_models import json_body, json_model
from kikitori.web.llm_answers import (
    Event,
    Work,
    answer_events,
    answer_json,
    reading_work,
    translation_work,
)
from kikitori.web.routes.tasks import TaskId
from kikitori.web.state import State, WebState
from kikitori.web.streaming import DONE_FRAME, EventStream, data_frame, kept_open, told_to_the_end
from kikitori.web.task_answers import found

router = APIRouter(tags=["language models"], responses=openapi.error_responses(400, 401, 403, 404))

QUIET_SECONDS = 10.0
"""A stream begins when there is something to tell, or after so long; what fails before has a status of its own."""

DEFAULT_ANSWERS, MAX_ANSWERS = 20, 100
"""On a page: a translation is as long as its task's text."""
MAX_ANSWER_ID = 2**53 - 1
"""As far as numbers of JSON are exact."""

Text = Annotated[str, StringConstraints(strip_whitespace=True)]


class LlmRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompt: Text = Field("", max_length=20_000, description="Your wishes for the answer.")
    output_language: Text = Field(
        "", max_length=100, description="Language of the answer: `de`, `German`, `Swiss German`.", examples=["de"]
    )
    stream: bool = Field(False, description="Send the answer while it is written, as server-sent events.")
    model: Text = Field("", max_length=200, description="A model of the chat endpoint; empty: the server's.")
    base_url: Text = Field("", max_length=2_000, description="A chat endpoint of your own, `https://host/v1`.")
    api_key: SecretStr = Field(
        SecretStr(""), max_length=2_000, description="Your key for the chat endpoint: used, and forgotten."
    )


class SummaryRequest(LlmRequest):
    prompt: Text = Field("", max_length=20_000, description="What to write, in place of a summary of our kind.")


class HistoryTurn(BaseModel):
    role: Literal["user", "assistant"]
    content: Text = Field(max_length=20_000)


class ChatRequest(LlmRequest):
    question: Text = Field(min_length=1, max_length=20_000)
    history: list[HistoryTurn] = Field(
        default_factory=list, max_length=100, description="The conversation so far, oldest first."
    )


class TranslationRequest(LlmRequest):
    output_language: Text = Field(min_length=1, max_length=100, description="`de`, `German`.", examples=["de"])


class TranslatedSegment(BaseModel):
    """Times and ids are those of the task's segments."""

    id: int
    start: float
    end: float
    text: str
    speaker: str | None = None


class ShownAnswer(BaseModel):
    """What a language model said."""

    id: int
    task_id: str
    kind: AnswerKind
    question: str = Field(description="Of a chat; of a summary, the prompt.")
    model: str
    language: str = Field(description="As asked for; empty: the model's choice.")
    text: str
    segments: list[TranslatedSegment] | None = Field(None, description="Of a translation.")
    untranslated: list[int] | None = Field(None, description="Segments that the model left out: in the old language.")
    created_at: str = Field(description="ISO 8601, UTC.")


class AnswerList(BaseModel):
    answers: list[ShownAnswer]
    has_more: bool
    next: int | None = Field(None, description="Send it as `after` for the next page; absent on the last one.")


ANSWER_RESPONSES = {
    200: {
        "description": "The answer; with `stream=true` as `answer.progress`, `answer.delta`, `answer.segments` and "
        "`answer.done`.",
        "model": ShownAnswer,
        "content": {"text/event-stream": {}},
    },
    **openapi.error_responses(409, 413, 429, 503),
}


@router.post(
    "/api/tasks/{id}/summary",
    summary="Summarise a task",
    responses=ANSWER_RESPONSES,
    openapi_extra=json_body(SummaryRequest, {"output_language": "en"}),
)
async def summarise(id: TaskId, request: Request, state: State, caller: MayTranscribe) -> Response:
    """What was said, in short, with the times. `prompt` asks for another kind of text."""
    asked = await json_model(request, SummaryRequest)
    reading = summary(prompt=asked.prompt, language=_language(asked))
    work = reading_work(reading, kind=AnswerKind.SUMMARY, question=asked.prompt, language=asked.output_language)
    return await _answer(request, state, caller, id, asked, work)


@router.post(
    "/api/tasks/{id}/chat",
    summary="Ask about a task",
    responses=ANSWER_RESPONSES,
    openapi_extra=json_body(ChatRequest, {"question": "What was decided?"}),
)
async def chat(id: TaskId, request: Request, state: State, caller: MayTranscribe) -> Response:
    """A question about what was said. `history` is the conversation so far."""
    asked = await json_model(request, ChatRequest, most=MAX_LONG_BYTES)
    turns = [Turn(by_user=turn.role == "user", text=turn.content) for turn in asked.history]
    reading = question(asked.question, history=turns, prompt=asked.prompt, language=_language(asked))
    work = reading_work(reading, kind=AnswerKind.CHAT, question=asked.question, language=asked.output_language)
    return await _answer(request, state, caller, id, asked, work)


@router.post(
    "/api/tasks/{id}/translate",
    summary="Translate a task",
    responses=ANSWER_RESPONSES,
    openapi_extra=json_body(TranslationRequest, {"output_language": "de"}),
)
async def translate_task(id: TaskId, request: Request, state: State, caller: MayTranscribe) -> Response:
    """Segment by segment, so that times stay. `prompt` holds wishes for the wording."""
    asked = await json_model(request, TranslationRequest)
    work = translation_work(
        prompt=asked.prompt,
        language=asked.output_language,
        language_name=_language(asked),
    )
    return await _answer(request, state, caller, id, asked, work)


@router.get(
    "/api/tasks/{id}/answers",
    summary="List the answers about a task",
    response_model_exclude_none=True,
    responses=openapi.error_responses(429),
)
async def list_answers(
    id: TaskId,
    state: State,
    caller: MayTranscribe,
    after: Annotated[int, Query(ge=0, le=MAX_ANSWER_ID, description="Only those that follow this one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_ANSWERS, description="At most so many.")] = DEFAULT_ANSWERS,
) -> AnswerList:
    """Summaries, answers and translations made so far, oldest first."""
    with state.calls.place(caller.id):
        task = await found(state.services.tasks, id, caller)
        page = await state.services.answers.list(task.id, after=after, limit=limit + 1)
    shown, has_more = page[:limit], len(page) > limit
    return AnswerList.model_validate(
        {
            "answers": [answer_json(each) for each in shown],
            "has_more": has_more,
            "next": shown[-1].id if has_more else None,
        }
    )


async def _answer(
    request: Request, state: WebState, caller: Caller, id: str, asked: LlmRequest, work: Work
) -> Response:
    """Everything a request holds (its place, its connection to the model) is let go with its answer, or without one."""
    async with AsyncExitStack() as held:
        held.enter_context(state.calls.place(caller.id))
        async with while_connected(request.receive):
            task = await found(state.services.tasks, id, caller)
            result = await state.services.tasks.result(task.id, caller.sees)
            events = answer_events(
                state.services.llm,
                state.services.answers,
                result,
                work,
                base_url=asked.base_url,
                api_key=asked.api_key.get_secret_value().strip(),
                model=asked.model,
            )
            if not asked.stream:
                async with aclosing(events):
                    *_, last = [event async for event in events]
                return Response(json_bytes(last["answer"]), media_type=JSON_TYPE)
            frames = kept_open(_frames(events), quiet_seconds=QUIET_SECONDS)
            held.push_async_callback(frames.aclose)
            first = await anext(frames)
        told = told_to_the_end(_joined(first, frames), stopping=lambda: state.services.draining)
        return EventStream(told, headers={}, held=held.pop_all())


async def _frames(events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for event in events:
            yield data_frame(event)
    yield DONE_FRAME


async def _joined(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for frame in rest:
        yield frame


def _language(asked: LlmRequest) -> str:
    """``de`` is German; what has no name here, models may know all the same."""
    name = LANGUAGE_NAMES.get(asked.output_language.lower())
    return name.title() if name else asked.output_language
