"""A server with keys, as an operator sets it up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import openai
import pytest
from tests.servers import Server, running_server

if TYPE_CHECKING:
    from tests.conftest import Sample


@dataclass(frozen=True, slots=True)
class Guarded:
    server: Server
    data_dir: Path
    key: str


def kikitori(data_dir: Path, *words: str) -> str:
    environment = os.environ | {"KIKITORI_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "kikitori", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, mini_model: Path) -> Iterator[Guarded]:
    data_dir = tmp_path_factory.mktemp("keys") / "data"
    key = kikitori(data_dir, "keys", "create", "--name", "test").strip()
    with running_server(data_dir, model=str(mini_model)) as server:
        yield Guarded(server, data_dir, key)


def client(guarded: Guarded, key: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{guarded.server.url}/v1", max_retries=0)


def test_a_key_opens_the_api(guarded: Guarded, samples: Mapping[str, Sample]) -> None:
    answer = client(guarded, guarded.key).audio.transcriptions.create(model="whisper-1", file=samples["en_01"].path)
    assert answer.text == samples["en_01"].text


@pytest.mark.parametrize("key", ["wrong", "kk_" + "A" * 43])
def test_a_wrong_key_is_refused_in_openais_words(guarded: Guarded, samples: Mapping[str, Sample], key: str) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        client(guarded, key).audio.transcriptions.create(model="whisper-1", file=samples["en_01"].path)
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id


def test_no_key_is_refused(guarded: Guarded) -> None:
    for route in ("/v1/models", "/api/models/loaded", "/metrics"):
        assert httpx.get(guarded.server.url + route).status_code == 401


def test_health_needs_no_key(guarded: Guarded) -> None:
    for route in ("/health/live", "/health/ready", "/docs", "/openapi.json"):
        assert httpx.get(guarded.server.url + route).status_code == 200


def test_the_key_is_stored_nowhere(guarded: Guarded) -> None:
    for path in guarded.data_dir.rglob("*"):
        if path.is_file():
            assert guarded.key.encode() not in path.read_bytes()
    assert guarded.key not in guarded.server.log.read_text()


def test_another_address_needs_a_key(tmp_path: Path) -> None:
    environment = os.environ | {"KIKITORI_DATA_DIR": str(tmp_path / "data"), "KIKITORI_OFFLINE": "true"}
    command = [sys.executable, "-m", "kikitori", "serve", "--host", "0.0.0.0", "--port", "0"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert refused.returncode != 0
    assert "kikitori keys create" in refused.stderr
