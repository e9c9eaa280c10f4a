"""A real server process on a real port, with the mini model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.servers import Server, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, mini_model: Path) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("acceptance") / "data", model=str(mini_model)) as server:
        yield server


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until a condition of the server holds; fail after a minute."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail("It did not happen within a minute.")
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def task_server(tmp_path_factory: pytest.TempPathFactory, mini_model: Path) -> Iterator[Server]:
    """One place to work at, a short queue, narrow limits, and 127.0.0.1 the only private address it may reach."""
    with running_server(
        tmp_path_factory.mktemp("tasks") / "data",
        model=str(mini_model),
        task_slots="1",
        max_queued_tasks="20",
        allowed_addresses="127.0.0.1/32",
        chunk_seconds="60",
        max_audio_seconds="1800",
        max_upload_bytes="24000000",
        max_fetch_seconds="15",
    ) as server:
        yield server


@pytest.fixture(scope="session")
def server_with_broken_model(tmp_path_factory: pytest.TempPathFactory, mini_model: Path) -> Iterator[Server]:
    """Its model ``broken`` looks like one, and cannot be loaded."""
    folder = tmp_path_factory.mktemp("broken")
    broken = folder / "broken"
    shutil.copytree(mini_model, broken)
    (broken / "model.bin").write_bytes(b"no model")
    with running_server(folder / "data", model=str(mini_model), model_aliases=f'{{"broken": "{broken}"}}') as server:
        yield server


@pytest.fixture(scope="session")
def pocketsphinx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Nothing but the embedded engine."""
    with running_server(tmp_path_factory.mktemp("embedded") / "data", model="pocketsphinx") as server:
        yield server
