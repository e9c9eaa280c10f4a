"""Client secrets: the routes of today and of the beta, in the shapes of OpenAI's SDK."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.realtime import ClientSecretCreateResponse
from openai.types.realtime.realtime_session_create_response import RealtimeSessionCreateResponse
from openai.types.realtime.realtime_transcription_session_create_response import (
    RealtimeTranscriptionSessionCreateResponse,
)
from tests.databases import migrated_sqlite

from kikitori.services.parts import Services
from kikitori.store.client_secrets import ClientSecretStore
from kikitori.store.database import Database
from kikitori.store.keys import KeyStore
from kikitori.web.app import create_app

LISTENING: Any = {
    "type": "transcription",
    "audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}, "turn_detection": None}},
}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database, None]:
    async with Database(await migrated_sqlite(tmp_path / "secrets.db")) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> ClientSecretStore:
    return ClientSecretStore(database)


@pytest.fixture
async def key(database: Database) -> str:
    """Ann's key, the first one."""
    secret, _ = await KeyStore(database).create("test", "ann")
    return secret


@pytest.fixture
async def transport(
    make_services: Callable[..., Services], database: Database, store: ClientSecretStore
) -> AsyncGenerator[httpx.AsyncClient, None]:
    services = make_services(keys=KeyStore(database), parts={"client_secrets": store})
    inner = httpx.ASGITransport(app=create_app(services))
    async with httpx.AsyncClient(transport=inner, base_url="http://localhost") as client:
        yield client


@pytest.fixture
def sdk(transport: Any, key: str) -> openai.AsyncOpenAI:
    """It reads answers strictly: what does not fit its types is an error."""
    return openai.AsyncOpenAI(
        api_key=key,
        base_url="http://localhost/v1",
        http_client=transport,
        max_retries=0,
        _strict_response_validation=True,
    )


def lives(expires_at: int, seconds: float, *, since: float) -> bool:
    """It was made between ``since`` and now, and lives so long; it is told in whole seconds."""
    return since + seconds - 1 < expires_at <= time.time() + seconds


async def test_a_secret_for_transcription(sdk: openai.AsyncOpenAI, store: ClientSecretStore) -> None:
    began = time.time()
    made = await sdk.realtime.client_secrets.create(
        session=LISTENING, expires_after={"anchor": "created_at", "seconds": 60}
    )
    assert isinstance(made, ClientSecretCreateResponse)
    assert made.value.startswith("ek_")
    assert lives(made.expires_at, 60, since=began)
    assert isinstance(made.session, RealtimeTranscriptionSessionCreateResponse)
    assert made.session.id.startswith("sess_")
    assert made.session.object == "realtime.transcription_session"
    assert made.session.audio is not None
    heard = made.session.audio.input
    assert heard is not None
    assert heard.turn_detection is None
    assert heard.transcription is not None
    assert (heard.transcription.model, heard.transcription.language) == ("whisper-1", "en")
    kept = await store.verify(made.value)
    assert kept is not None
    assert (kept.owner, kept.key_id, kept.expires_at.timestamp()) == ("ann", 1, made.expires_at)
    assert kept.session["audio"]["input"]["turn_detection"] is None


async def test_a_secret_for_a_conversation_lives_ten_minutes(sdk: openai.AsyncOpenAI) -> None:
    began = time.time()
    made = await sdk.realtime.client_secrets.create(session={"type": "realtime", "instructions": "Be brief."})
    assert isinstance(made.session, RealtimeSessionCreateResponse)
    assert made.session.instructions == "Be brief."
    assert made.session.output_modalities == ["audio"]
    assert lives(made.expires_at, 600, since=began)


async def test_without_a_body_it_is_a_conversation(transport: httpx.AsyncClient, key: str) -> None:
    answer = await transport.post("/v1/realtime/client_secrets", headers={"x-api-key": key})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["session"]["type"] == "realtime"


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({}, "missing_required_parameter", "session.type"),
        ({"type": "video"}, "invalid_value", "session.type"),
        ({"type": "transcription", "voice": "alloy"}, "unknown_parameter", "session.voice"),
        (
            {"type": "transcription", "audio": {"input": {"transcription": {"model": "nobody"}}}},
            "invalid_value",
            "session.audio.input.transcription.model",
        ),
        ({"type": "realtime", "model": "nobody"}, "invalid_model", "session.model"),
    ],
)
async def test_a_wrong_session_is_refused_in_the_words_of_the_socket(
    transport: httpx.AsyncClient, key: str, session: Any, code: str, param: str
) -> None:
    answer = await transport.post("/v1/realtime/client_secrets", json={"session": session}, headers={"x-api-key": key})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize("seconds", [9, 7_201, "soon"])
async def test_secrets_live_for_seconds_to_hours(transport: httpx.AsyncClient, key: str, seconds: Any) -> None:
    answer = await transport.post(
        "/v1/realtime/client_secrets",
        json={"session": LISTENING, "expires_after": {"anchor": "created_at", "seconds": seconds}},
        headers={"x-api-key": key},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "expires_after.seconds"


async def test_the_betas_transcription_session(sdk: openai.AsyncOpenAI, store: ClientSecretStore) -> None:
    began = time.time()
    made = await sdk.beta.realtime.transcription_sessions.create(
        input_audio_format="g711_ulaw",
        input_audio_transcription={"model": "whisper-1", "language": "en"},
        turn_detection={"type": "server_vad", "silence_duration_ms": 700},
        client_secret={"expires_at": {"anchor": "created_at", "seconds": 120}},
    )
    assert made.client_secret.value.startswith("ek_")
    assert lives(made.client_secret.expires_at, 120, since=began)
    assert made.input_audio_format == "g711_ulaw"
    assert made.turn_detection is not None
    assert (made.turn_detection.silence_duration_ms, made.turn_detection.threshold) == (700, 0.5)
    kept = await store.verify(made.client_secret.value)
    assert kept is not None
    assert kept.session["type"] == "transcription"
    assert kept.session["audio"]["input"]["format"] == {"type": "audio/pcmu"}


async def test_the_betas_session_lives_a_minute(sdk: openai.AsyncOpenAI) -> None:
    began = time.time()
    made = await sdk.beta.realtime.sessions.create(model="gpt-4o-realtime-preview", voice="sage", temperature=0.9)
    assert lives(made.client_secret.expires_at, 60, since=began)
    assert (made.voice, made.temperature, made.output_audio_format) == ("sage", 0.9, "pcm16")


async def test_a_flat_session_names_its_own_fields_when_it_is_wrong(transport: httpx.AsyncClient, key: str) -> None:
    answer = await transport.post(
        "/v1/realtime/transcription_sessions",
        json={"input_audio_transcription": {"model": "nobody"}},
        headers={"x-api-key": key},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "session.input_audio_transcription.model"


@pytest.mark.parametrize("path", ["client_secrets", "sessions", "transcription_sessions"])
async def test_they_need_a_key_that_may_transcribe(
    transport: httpx.AsyncClient, key: str, database: Database, path: str
) -> None:
    url = f"/v1/realtime/{path}"
    other, _ = await KeyStore(database).create("other", "bob", ["models"])
    assert (await transport.post(url, json={})).status_code == 401
    assert (await transport.post(url, json={}, headers={"x-api-key": other})).status_code == 403


async def test_a_secret_opens_no_other_route(sdk: openai.AsyncOpenAI, transport: httpx.AsyncClient) -> None:
    made = await sdk.realtime.client_secrets.create(session=LISTENING)
    for url in ("/v1/realtime/client_secrets", "/api/tasks"):
        assert (await transport.post(url, json={}, headers={"x-api-key": made.value})).status_code == 401
