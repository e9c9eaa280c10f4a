"""Which models there are (OpenAI's routes), which are in memory, and which are on their way (ours)."""

from __future__ import annotations

from typing import Annotated, Literal

import anyio.to_thread
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from kikitori.errors import Conflict
from kikitori.inference.downloads import Download
from kikitori.inference.known_models import KNOWN_MODELS, canonical_name, hub_id
from kikitori.inference.models import ModelSpec
from kikitori.inference.status import ModelState, ModelStatus
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


class DownloadRequest(BaseModel):
    model: str = Field(
        description="A short name such as `small`, or `organisation/model` of the hub.", min_length=1, max_length=200
    )


class DownloadList(BaseModel):
    downloads: list[Download]


class KnownModel(BaseModel):
    """A model that is here or can be had."""

    id: str
    engine: str = Field(description="The engine that runs it.")
    hub_id: str | None = Field(description="Where the hub keeps it.")
    size_bytes: int = Field(description="On the disk; about, when it is not here.")
    english_only: bool
    installed: bool
    loaded: bool = Field(description="In memory.")
    removable: bool = Field(description="It lies in the server's own folder.")


class KnownModels(BaseModel):
    models: list[KnownModel]


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


@router.get("/api/models/known", summary="Show the models that can be had")
async def known_models(state: State, caller: AnyCaller) -> KnownModels:
    """Those that are here, and those that can be downloaded by a short name; the best first."""
    specs = await anyio.to_thread.run_sync(state.services.catalog.installed, limiter=state.render_threads)
    here = {spec.id: spec for spec in specs if not spec.alias_of}
    loaded = {status.model for status in state.services.pool.loaded() if status.state is ModelState.READY}
    others = [name for name in here if name not in KNOWN_MODELS]
    return KnownModels(
        models=[_known(name, here.get(name), is_loaded=name in loaded) for name in (*others, *KNOWN_MODELS)]
    )


@router.get("/api/models/downloads", summary="Show the downloads of models", responses=openapi.error_responses(403))
async def list_downloads(state: State, caller: MayManageModels) -> DownloadList:
    """Those that run, with their progress, and the last ones that ended; the newest first."""
    return DownloadList(downloads=state.services.downloads.all())


@router.post(
    "/api/models/downloads",
    summary="Download a model",
    status_code=202,
    responses=openapi.error_responses(400, 404, 413, 429),
    openapi_extra=json_body(DownloadRequest, {"model": "small"}),
)
async def begin_download(request: Request, state: State, caller: MayManageModels) -> Download:
    """Begin it, or go on with one that broke off; it runs on when the client leaves. Needs the scope `models`."""
    asked = await json_model(request, DownloadRequest)
    return state.services.downloads.begin(asked.model)


@router.delete(
    "/api/models/downloads/{model:path}", summary="Stop a download", responses=openapi.error_responses(404, 409)
)
async def cancel_download(model: ModelName, state: State, caller: MayManageModels) -> Download:
    """What has arrived is kept: the next attempt goes on from there. Needs the scope `models`."""
    return state.services.downloads.cancel(model)


@router.delete(
    "/api/models/installed/{model:path}",
    summary="Remove a model from the disk",
    status_code=204,
    responses=openapi.error_responses(404, 409),
)
async def remove_model(model: ModelName, state: State, caller: MayManageModels) -> Response:
    """409 while it is in memory, and for one that does not lie in the server's own folder. Needs the scope `models`."""
    if any(status.model in (model, canonical_name(model)) for status in state.services.pool.loaded()):
        raise Conflict(f"The model {model} is in memory.", remedy="Unload it first.")
    await anyio.to_thread.run_sync(state.services.catalog.remove, model, limiter=state.render_threads)
    return Response(status_code=204)


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


def _known(name: str, spec: ModelSpec | None, *, is_loaded: bool) -> KnownModel:
    known = KNOWN_MODELS.get(name)
    return KnownModel(
        id=name,
        engine=spec.engine if spec else "whisper",
        hub_id=hub_id(name),
        size_bytes=spec.size_bytes if spec else known.size_bytes if known else 0,
        english_only=known is not None and known.english_only,
        installed=spec is not None,
        loaded=is_loaded,
        removable=spec is not None and spec.removable,
    )
