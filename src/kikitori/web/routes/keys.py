"""API keys, for administrators: the same as `kikitori keys`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from kikitori.errors import Conflict
from kikitori.store.keys import ApiKey, Scope
from kikitori.web import openapi
from kikitori.web.auth import MayAdminister
from kikitori.web.json_models import json_body, json_model
from kikitori.web.state import State

router = APIRouter(tags=["keys"], responses=openapi.error_responses(401, 403))

LAST_KEY = 2**63 - 1
"""The largest number that the column holds."""

KeyNumber = Annotated[int, Path(description="The number of the key.", ge=1, le=LAST_KEY, examples=[1])]


class Key(BaseModel):
    """A key as people see it; its secret is nowhere."""

    id: int
    name: str
    owner: str
    scopes: list[Scope]
    prefix: str = Field(description="The first characters of its secret, to tell keys apart.")
    created_at: datetime
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class KeyList(BaseModel):
    keys: list[Key]


class NewKey(Key):
    secret: str = Field(description="Shown this once: nobody can show it again.")


class KeyRequest(BaseModel):
    name: str = Field("key", description="What it is for: a device, a program.", min_length=1, max_length=200)
    owner: str = Field(description="Whose it is: tasks and files belong to owners.", min_length=1, max_length=200)
    scopes: list[Scope] = Field([Scope.TRANSCRIBE], description="What it may do.", min_length=1, max_length=len(Scope))


@router.get("/api/keys", summary="List the API keys")
async def list_keys(state: State, caller: MayAdminister) -> KeyList:
    """All of them, the oldest first; revoked ones, too. Needs the scope `admin`."""
    return KeyList(keys=list(map(_shown, await state.services.key_store.list())))


@router.post(
    "/api/keys",
    summary="Make an API key",
    status_code=201,
    responses=openapi.error_responses(400, 413),
    openapi_extra=json_body(KeyRequest, {"name": "phone", "owner": "ann", "scopes": ["transcribe"]}),
)
async def create_key(request: Request, response: Response, state: State, caller: MayAdminister) -> NewKey:
    """From the first key on, nobody gets in without one. Needs the scope `admin`."""
    asked = await json_model(request, KeyRequest)
    secret, key = await state.services.key_store.create(asked.name, asked.owner, asked.scopes)
    response.headers["cache-control"] = "no-store"
    return NewKey(**_shown(key).model_dump(), secret=secret)


@router.delete("/api/keys/{number}", summary="Revoke an API key", responses=openapi.error_responses(400, 404, 409))
async def revoke_key(number: KeyNumber, state: State, caller: MayAdminister) -> Key:
    """It ends here at once, on other servers of the same database within seconds. Needs the scope `admin`.

    409 for the key that asks: the last one could shut everybody out, or, on loopback, let everybody in.
    """
    if number == caller.key:
        raise Conflict(
            "This is the key that you are using.", remedy="Revoke it with another one, or with `kikitori keys revoke`."
        )
    return _shown(await state.services.key_store.revoke(str(number)))


def _shown(key: ApiKey) -> Key:
    return Key(
        id=key.id,
        name=key.name,
        owner=key.owner,
        scopes=sorted(Scope(scope) for scope in key.scopes),
        prefix=key.prefix,
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )
