"""For machines that watch: is it alive, can it transcribe, how much does it do."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from kikitori.web.auth import AnyCaller
from kikitori.web.state import State

router = APIRouter(tags=["operations"])


class Alive(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    status: Literal["ready", "not ready"]
    reason: str = Field("", description="Why not.")


@router.get("/health/live", summary="Is the server alive?")
async def live() -> Alive:
    """200 as long as the process answers at all."""
    return Alive()


@router.get("/health/ready", summary="Can it transcribe?", responses={503: {"model": Readiness}})
@router.get("/health", summary="The same as /health/ready", responses={503: {"model": Readiness}})
async def ready(state: State, response: Response) -> Readiness:
    """200 when the default model is loaded and warm, else 503 with the reason."""
    reason = state.services.problem()
    if not reason:
        return Readiness(status="ready")
    response.status_code = 503
    response.headers["retry-after"] = "5"
    return Readiness(status="not ready", reason=reason)


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(state: State, caller: AnyCaller) -> Response:
    """Requests, queue depth and wait by priority, batch sizes, real-time factor, audio seconds, loaded models."""
    body, content_type = state.services.metrics.render()
    return Response(body, media_type=content_type)
