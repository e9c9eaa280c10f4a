from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kikitori.cli.nodes import app
from kikitori.cli.worker import worker_flags
from kikitori.settings import Settings
from kikitori.store.database import Database
from kikitori.store.nodes import NodeStore
from kikitori.store.task_records import Node


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KIKITORI_DATA_DIR", str(tmp_path / "data"))
    return Settings()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def put(settings: Settings, *silences: float | None) -> None:
    """A node for each: silent for so many seconds, or stopped."""

    async def work() -> None:
        async with Database(settings.database) as database:
            await database.upgrade()
            for number, silence in enumerate(silences):
                at = datetime.now(UTC) - timedelta(seconds=silence or 0)
                node = Node(
                    id=f"node_{number}", host="here", pid=number, version="1", slots=2, started_at=at, heartbeat_at=at
                )
                await NodeStore(database).register(node)
                if silence is None:
                    await NodeStore(database).stop(node.id, at)

    asyncio.run(work())


def test_nodes_are_shown_with_their_state(settings: Settings) -> None:
    put(settings, 5, 100, None)
    shown = [line.split() for line in run().stdout.splitlines()]
    assert [(line[0], line[-1]) for line in shown[1:]] == [("node_1", "silent"), ("node_0", "alive")]
    every = json.loads(run("--all", "--json").stdout)
    assert {node["id"]: node["state"] for node in every} == {
        "node_0": "alive",
        "node_1": "silent",
        "node_2": "stopped",
    }


def test_where_no_node_runs_it_is_said_how_to_start_one(settings: Settings) -> None:
    put(settings)
    done = run()
    assert (done.exit_code, done.stdout, "kikitori worker" in done.stderr) == (0, "", True)
    assert run("--json").stdout == "[]\n"


def test_looking_makes_no_database(tmp_path: Path) -> None:
    done = run()
    assert (done.exit_code, "There is no database" in done.stderr) == (3, True)
    assert not (tmp_path / "data").exists()


def test_a_worker_has_the_flags_of_a_server_but_those_of_requests() -> None:
    names = {flag.name for flag in worker_flags()}
    assert names >= {"config", "model", "device", "data_dir", "database_url", "media_url", "task_slots", "log_format"}
    assert not names & {"host", "port", "tls_cert", "worker"}
    assert names < {"config", *Settings.model_fields}
