"""Callbacks: what was sent, once more, and what receivers need to believe it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from kikitori.store.task_records import CallbackStatus
from kikitori.tasks.views import callback_json
from kikitori.web import openapi
from kikitori.web.auth import MayTranscribe
from kikitori.web.json_models import json_body, json_model
from kikitori.web.routes.tasks import TaskId
from kikitori.web.state import State
from kikitori.web.task_answers import checked_id

router = APIRouter(tags=["callbacks"], responses=openapi.error_responses(401, 403))

Time = Annotated[str, Field(description="ISO 8601, UTC.")]


class Attempt(BaseModel):
    """One request to the receiver."""

    number: int
    at: Time
    status_code: int | None = Field(description="null: there was no answer.")
    response: str = Field(description="The first 512 bytes of the answer.")
    error: str = Field(description="Why it counts as failed; empty: delivered.")
    seconds: float


class Delivery(BaseModel):
    """A callback and its attempts. `id` is the `webhook-id` of every one of them."""

    id: str
    task_id: str
    url: str
    status: CallbackStatus
    created_at: Time
    next_attempt_at: Time | None
    delivered_at: Time | None
    attempts: list[Attempt]


class Deliveries(BaseModel):
    callbacks: list[Delivery]


class ReceiverTest(BaseModel):
    url: str = Field(description="Where callbacks shall go.", min_length=1, max_length=2_000)


class ReceiverAnswer(BaseModel):
    """What the receiver made of a test event."""

    delivered: bool
    status_code: int | None = Field(description="null: there was no answer.")
    response: str = Field(description="The first 512 bytes of the answer.")
    error: str
    seconds: float


class Secret(BaseModel):
    secret: str = Field(description="`whsec_…`: what the receivers of this key's owner verify with.")


@router.get("/api/tasks/{id}/callbacks", summary="Show the callbacks of a task", responses=openapi.error_responses(404))
async def list_callbacks(id: TaskId, state: State, caller: MayTranscribe) -> Deliveries:
    """Every callback, with every attempt: when, what came back, how long it took."""
    found = await state.services.callbacks.list(checked_id(id), caller.sees)
    return Deliveries.model_validate({"callbacks": [callback_json(*each) for each in found]})


@router.post(
    "/api/tasks/{id}/callbacks/resend",
    summary="Send a callback again",
    status_code=202,
    responses=openapi.error_responses(404, 409),
)
async def resend_callback(id: TaskId, state: State, caller: MayTranscribe) -> Delivery:
    """Now, and under its old `webhook-id`. What comes of it is found in the list of attempts."""
    return Delivery.model_validate(callback_json(*await state.services.callbacks.resend(checked_id(id), caller.sees)))


@router.post(
    "/api/callbacks/test",
    summary="Test a receiver",
    responses=openapi.error_responses(400, 413, 429),
    openapi_extra=json_body(ReceiverTest, {"url": "https://example.org/hook"}),
)
async def try_receiver(request: Request, state: State, caller: MayTranscribe) -> ReceiverAnswer:
    """Sends a signed event `callback.test` to `url`, once and at once, and shows what came back."""
    asked = await json_model(request, ReceiverTest)
    with state.calls.place(caller.id):
        reply = await state.services.callbacks.test(asked.url, caller.owner)
    return ReceiverAnswer(
        delivered=reply.delivered,
        status_code=reply.status_code,
        response=reply.response,
        error=reply.error,
        seconds=reply.seconds,
    )


@router.get("/api/callbacks/secret", summary="Show the secret of callbacks")
async def callback_secret(response: Response, state: State, caller: MayTranscribe) -> Secret:
    """Each owner has a secret of its own. Receivers verify with it that a callback comes from here."""
    response.headers["cache-control"] = "no-store"
    return Secret(secret=state.services.callbacks.secret(caller.owner))
