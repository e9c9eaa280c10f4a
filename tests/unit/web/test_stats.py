"""Queue and throughput over the application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from kikitori.services.parts import Services
from kikitori.store.nodes import NodeStore
from kikitori.store.stats import StatsStore
from kikitori.tasks.stats import StatsDesk

from .task_app import TaskApp, task_app

MakeServices: TypeAlias = Callable[..., Services]


async def read(app: TaskApp, key: str) -> Any:
    answer = await app.client.get("/api/stats", headers={"x-api-key": key})
    return answer.json() if answer.status_code == 200 else answer.status_code


async def test_each_sees_figures_of_its_own(make_services: MakeServices, tmp_path: Path) -> None:
    async with task_app(make_services, tmp_path / "data", key="ann") as app:
        database = app.store._database
        app.services.stats = StatsDesk(StatsStore(database), NodeStore(database))
        await app.make()
        await app.run()
        await app.make()
        ann, bob, root = [await read(app, key) for key in ("ann", "bob", "root")]
        assert await read(app, "models") == 403
    assert ann["tasks"] == {
        "queued": 1, "fetching": 0, "running": 0, "succeeded": 1, "failed": 0, "cancelled": 0, "expired": 0,
    }  # fmt: skip
    assert ann["tasks_are_exact"] is True
    assert (len(ann["last_hour"]), len(ann["last_day"]), ann["nodes"]) == (60, 24, [])
    assert sum(minute["succeeded"] for minute in ann["last_hour"]) == 1
    assert sum(hour["audio_seconds"] for hour in ann["last_day"]) == 3.0
    assert set(bob["tasks"].values()) == {0}
    assert root["tasks"] == ann["tasks"]
