"""Which models there are (OpenAI's routes), and which are in memory (ours)."""

from __future__ import annotations

from typing import Annotated, Literal

import anyio.to_thread
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from kikitori.inference.models import ModelSpec
from kikitori.inference.status import ModelStatus
from kikitori.web import openapi
from kikitori.web.auth import AnyCaller, MayManageModels
from kikitori.web.json_models import json_body, json_model
from kikitori.web.state import State

router = APIRouter(tags=["models"], responses=openapi.error_responses(401, 403))

ModelName = Annotated[str, Path(description="A model's id or alias; `/` may be sent as `%2F`.", examples=["small"])]


class Model(BaseModel):
    """A model that a transcription may name."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix seconds.")
    owned_by: str
    engine: str = Field(description="The engine that runs it.")
    alias_of: str | None = Field(None, description="The model that this is another name of.")


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class LoadedModels(BaseModel):
    models: list[ModelStatus]


class LoadRequest(BaseModel):
    model: str = Field(description="A model's id or alias.", min_length=1, max_length=500)
    pin: bool = Field(False, description="Keep it in memory: neither idle time nor need of memory unloads it.")


@router.get("/v1/models", summary="List the models", response_model_exclude_none=True)
async def list_models(state: State, caller: AnyCaller) -> ModelList:
    """The models that are here, in OpenAI's shape."""
    specs = await anyio.to_thread.run_sync(state.services.catalog.installed, limiter=state.render_threads)
    return ModelList(data=[_model(spec.id, spec, spec.alias_of) for spec in specs])


@router.get(
    "/v1/models/{model:path}",
    summary="Show a model",
    response_model_exclude_none=True,
    responses=openapi.error_responses(404),
)
async def show_model(model: ModelName, state: State, caller: AnyCaller) -> Model:
    """One model, by its id or by an alias such as `whisper-1`."""
    spec = await anyio.to_thread.run_sync(state.services.catalog.resolve, model, limiter=state.render_threads)
    return _model(model, spec, spec.id if spec.id != model else "")


@router.get("/api/models/loaded", summary="Show the models in memory")
async def loaded_models(state: State, caller: AnyCaller) -> LoadedModels:
    """Each with its replicas: where they run, what they take, who waits, how full their batches are."""
    return LoadedModels(models=state.services.pool.loaded())


@router.post(
    "/api/models/load",
    summary="Load a model",
    responses=openapi.error_responses(400, 404, 413, 503),
    openapi_extra=json_body(LoadRequest, {"model": "small", "pin": True}),
)
async def load_model(request: Request, state: State, caller: MayManageModels) -> ModelStatus:
    """Load now, so that the first request does not wait. Needs a key with the scope `models`."""
    asked = await json_model(request, LoadRequest)
    return await state.services.pool.load(asked.model, pin=asked.pin)


@router.delete(
    "/api/models/loaded/{model:path}",
    summary="Unload a model",
    status_code=204,
    responses=openapi.error_responses(404, 409),
)
async def unload_model(model: ModelName, state: State, caller: MayManageModels) -> Response:
    """Give its memory back. 409 while requests use it. Needs a key with the scope `models`."""
    await state.services.pool.unload(model)
    return Response(status_code=204)


def _model(name: str, spec: ModelSpec, alias_of: str) -> Model:
    return Model(id=name, created=spec.created, owned_by=spec.owned_by, engine=spec.engine, alias_of=alias_of or None)
