"""Queue and throughput, for charts."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from kikitori.tasks.stats import Stats, Step, Worker
from kikitori.web import openapi
from kikitori.web.auth import MayTranscribe
from kikitori.web.state import State

router = APIRouter(tags=["tasks"], responses=openapi.error_responses(401, 403))


class Ended(BaseModel):
    """What ended in a minute or an hour."""

    at: datetime = Field(description="When it began, UTC.")
    succeeded: int
    failed: int
    cancelled: int = Field(description="With those that were not begun in time.")
    audio_seconds: float = Field(description="Of those that succeeded.")


class NodeAtWork(BaseModel):
    id: str
    host: str
    version: str
    slots: int = Field(description="Tasks that it works on at once; 0: it only takes them.")
    tasks: int = Field(description="Tasks that it works on now.")


class TaskStats(BaseModel):
    """Yours; with the scope `admin`, everybody's."""

    tasks: dict[str, int] = Field(description="How many there are of each status.")
    tasks_are_exact: bool = Field(description="`false`: of some status there are more; counting stops at 100,000.")
    last_hour: list[Ended] = Field(description="60 minutes, the oldest first.")
    last_day: list[Ended] = Field(description="24 hours, the oldest first.")
    nodes: list[NodeAtWork] = Field(description="Those alive; only for the scope `admin`.")


@router.get("/api/stats", summary="Queue and throughput")
async def stats(state: State, caller: MayTranscribe) -> TaskStats:
    """How many tasks wait, run and have ended, and how many ended in each minute of the last hour and hour of the day.

    The figures are a few seconds old at most.
    """
    found = await state.services.stats.read(caller.sees)
    return _shown(found, with_nodes=caller.sees is None)


def _shown(found: Stats, *, with_nodes: bool) -> TaskStats:
    return TaskStats(
        tasks={status.value: count for status, count in found.counts.items()},
        tasks_are_exact=found.is_exact,
        last_hour=list(map(_ended, found.minutes)),
        last_day=list(map(_ended, found.hours)),
        nodes=list(map(_node, found.workers)) if with_nodes else [],
    )


def _ended(step: Step) -> Ended:
    return Ended(
        at=step.at,
        succeeded=step.succeeded,
        failed=step.failed,
        cancelled=step.cancelled,
        audio_seconds=round(step.audio_seconds, 3),
    )


def _node(worker: Worker) -> NodeAtWork:
    node = worker.node
    return NodeAtWork(id=node.id, host=node.host, version=node.version, slots=node.slots, tasks=worker.tasks)
