"""Client secrets of OpenAI's Realtime API: a program that has one opens live sessions, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from kikitori.errors import InvalidInput, KikitoriError, ModelNotFound
from kikitori.protocols.openai_realtime import beta
from kikitori.protocols.openai_realtime.fields import REALTIME, TRANSCRIPTION
from kikitori.protocols.openai_realtime.ids import new_id
from kikitori.protocols.openai_realtime.problems import Problem
from kikitori.protocols.openai_realtime.starting import Models, checked_config, checked_flat_config, from_config
from kikitori.services.parts import Catalog
from kikitori.web import openapi
from kikitori.web.auth import Caller, MayTranscribe
from kikitori.web.bodies import JSON, content_type, json_object, unknown_type
from kikitori.web.json_models import json_body, json_model
from kikitori.web.state import State, WebState

LEAST_SECONDS, DEFAULT_SECONDS, MOST_SECONDS = 10, 600, 7_200
BETA_SECONDS = 60
"""What the beta's routes promise when they are asked for nothing else."""

router = APIRouter(tags=["live"], responses=openapi.error_responses(400, 401, 403, 413, 429))

JsonObject = dict[str, Any]


class ExpiresAfter(BaseModel):
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(DEFAULT_SECONDS, ge=LEAST_SECONDS, le=MOST_SECONDS)


class SecretRequest(BaseModel):
    expires_after: ExpiresAfter = Field(default_factory=ExpiresAfter)
    session: JsonObject = Field(
        default_factory=lambda: {"type": REALTIME},
        description="How sessions begin that this secret opens: what `session.update` takes.",
    )


class Secret(BaseModel):
    value: str = Field(description="`ek_…`: opens any number of sessions until it expires.")
    expires_at: int = Field(description="Unix seconds.")


class SecretAndSession(Secret):
    session: JsonObject


class FlatSession(BaseModel):
    """A session in the beta's shape; it has more fields than these."""

    id: str
    object: str
    client_secret: Secret

    model_config = {"extra": "allow"}


class Refused(InvalidInput):
    """A session object that cannot be; says so with the code that the socket would give."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message, param=problem.param)
        self.code = problem.code or InvalidInput.code


EXAMPLE = {
    "expires_after": {"anchor": "created_at", "seconds": 600},
    "session": {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}},
}
FLAT_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"input_audio_transcription": {"model": "whisper-1"}},
            }
        }
    }
}


@router.post(
    "/v1/realtime/client_secrets",
    summary="Make a client secret",
    openapi_extra=json_body(SecretRequest, EXAMPLE),
)
async def make_client_secret(
    request: Request, response: Response, state: State, caller: MayTranscribe
) -> SecretAndSession:
    """A key of short life for a browser or an app, which opens WebSockets of `/v1/realtime` with it."""
    asked = await json_model(request, SecretRequest)
    config = await _checked(state, partial(checked_config, asked.session))
    secret, session = await _make(state, caller, config, asked.expires_after.seconds)
    response.headers["cache-control"] = "no-store"
    return SecretAndSession(value=secret.value, expires_at=secret.expires_at, session=session)


@router.post("/v1/realtime/sessions", summary="Make a client secret (beta)", openapi_extra=FLAT_BODY)
async def make_session(request: Request, response: Response, state: State, caller: MayTranscribe) -> FlatSession:
    """The same as it was in the beta, with a flat session object."""
    return await _make_flat(request, response, state, caller, REALTIME)


@router.post(
    "/v1/realtime/transcription_sessions",
    summary="Make a client secret for transcription (beta)",
    openapi_extra=FLAT_BODY,
)
async def make_transcription_session(
    request: Request, response: Response, state: State, caller: MayTranscribe
) -> FlatSession:
    """The same as it was in the beta, with a flat session object."""
    return await _make_flat(request, response, state, caller, TRANSCRIPTION)


def known_models(catalog: Catalog) -> Models:
    """Which names a session may ask for. Looks at the disk."""

    def known(name: str) -> bool:
        try:
            catalog.resolve(name)
        except ModelNotFound:
            return False
        except KikitoriError:  # it is here and cannot be used: whoever uses it is told why
            return True
        return True

    return known


async def _make_flat(request: Request, response: Response, state: WebState, caller: Caller, kind: str) -> FlatSession:
    if content_type(request) != JSON:  # a page of another site may send anything else without asking
        raise unknown_type(request, JSON)
    body = await json_object(request)
    config = await _checked(state, partial(checked_flat_config, body, kind))
    secret, session = await _make(state, caller, config, beta.secret_seconds(body, BETA_SECONDS))
    response.headers["cache-control"] = "no-store"
    return FlatSession(**{**beta.flat_session(session), "client_secret": secret})


async def _checked(state: WebState, check: Callable[..., JsonObject]) -> JsonObject:
    """What a secret keeps. Models are looked for on the disk, so in a thread."""
    models = known_models(state.services.catalog)
    try:
        return await anyio.to_thread.run_sync(partial(check, models=models), limiter=state.render_threads)
    except Problem as problem:
        raise Refused(problem) from problem


async def _make(state: WebState, caller: Caller, config: Mapping[str, Any], seconds: int) -> tuple[Secret, JsonObject]:
    try:
        session = from_config(config, id=new_id("sess"), now=time.time()).session
    except Problem as problem:
        raise Refused(problem) from problem
    value, made = await state.services.client_secrets.create(
        config, lifetime=timedelta(seconds=seconds), owner=caller.owner, key_id=caller.key
    )
    return Secret(value=value, expires_at=int(made.expires_at.timestamp())), session
