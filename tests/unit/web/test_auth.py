import asyncio
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kikitori.store.database import Database
from kikitori.store.keys import KeyStore, Scope
from kikitori.testing import Hold, fake_transcript, script_of
from kikitori.web import binding

from .conftest import Running, Start

PUBLIC = ["/", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json", "/health", "/health/live", "/health/ready"]
GUARDED = [
    ("GET", "/v1/models"),
    ("GET", "/v1/models/fake"),
    ("GET", "/api/models/loaded"),
    ("POST", "/api/models/load"),
    ("DELETE", "/api/models/loaded/fake"),
    ("GET", "/metrics"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/audio/translations"),
    ("POST", "/v1/audio/speech-segments"),
]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without keys; migrating takes longer than copying."""
    path = tmp_path_factory.mktemp("keys") / "empty.db"

    async def migrate() -> None:
        async with Database(f"sqlite+aiosqlite:///{path}") as database:
            await database.upgrade()

    asyncio.run(migrate())
    return path


@pytest.fixture
async def keys(migrated: Path, tmp_path: Path) -> AsyncGenerator[KeyStore, None]:
    path = shutil.copy(migrated, tmp_path / "keys.db")
    async with Database(f"sqlite+aiosqlite:///{path}") as database:
        yield KeyStore(database)


async def secret(keys: KeyStore, *scopes: Scope) -> str:
    made, _ = await keys.create("test", "ann", scopes or (Scope.TRANSCRIBE,))
    return made


def bearer(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


async def ask(app: Running, method: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    if path.startswith("/v1/audio"):
        return await app.client.post(path, files={"file": b"RIFF"}, headers=headers)
    return await app.client.request(method, path, json={"model": "fake"} if method == "POST" else None, headers=headers)


async def test_loopback_without_keys_is_open(start: Start, keys: KeyStore) -> None:
    async with start(keys=keys) as app:
        assert (await app.transcribe()).status_code == 200
        any_key = await app.client.get("/v1/models", headers=bearer("anything"))
        assert any_key.status_code == 200


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_the_first_key_closes_every_door(start: Start, keys: KeyStore, method: str, path: str) -> None:
    key = await secret(keys, Scope.ADMIN)
    async with start(keys=keys) as app:
        for headers in ({}, bearer("kk_wrong"), bearer("x" * 5_000), {"authorization": key}):
            answer = await ask(app, method, path, headers)
            assert answer.status_code == 401
            error = answer.json()["error"]
            assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert app.leftovers() == []
        assert (await ask(app, method, path, bearer(key))).status_code not in (401, 403)


@pytest.mark.parametrize("path", PUBLIC)
async def test_doors_that_stay_open(start: Start, keys: KeyStore, path: str) -> None:
    await secret(keys)
    async with start(keys=keys) as app:
        assert (await app.client.get(path)).status_code == 200


@pytest.mark.parametrize("header", ["api-key", "X-API-Key", "authorization"])
async def test_a_key_may_come_in_several_headers(start: Start, keys: KeyStore, header: str) -> None:
    key = await secret(keys)
    value = f"bearer {key}" if header == "authorization" else key
    async with start(keys=keys) as app:
        assert (await app.client.get("/v1/models", headers={header: value})).status_code == 200


async def test_basic_authentication_of_a_proxy_does_not_hide_the_key(start: Start, keys: KeyStore) -> None:
    headers = {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": await secret(keys)}
    async with start(keys=keys) as app:
        assert (await app.client.get("/v1/models", headers=headers)).status_code == 200


async def test_a_key_of_odd_bytes(start: Start, keys: KeyStore) -> None:
    await secret(keys)
    async with start(keys=keys) as app:
        answer = await app.client.get("/v1/models", headers={b"authorization": "Bearer kk_日本".encode()})
    assert answer.status_code == 401


async def test_a_key_in_the_address_is_not_taken(start: Start, keys: KeyStore) -> None:
    key = await secret(keys)
    async with start(keys=keys) as app:
        assert (await app.client.get("/v1/models", params={"api_key": key})).status_code == 401


async def test_a_revoked_key(start: Start, keys: KeyStore) -> None:
    key = await secret(keys)
    await secret(keys)
    await keys.revoke(key)
    async with start(keys=keys) as app:
        assert (await app.client.get("/v1/models", headers=bearer(key))).status_code == 401


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        (Scope.TRANSCRIBE, {"/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech-segments"}),
        (Scope.MODELS, {"/api/models/load", "/api/models/loaded/fake"}),
    ],
)
async def test_a_scope_opens_its_doors_only(start: Start, keys: KeyStore, scope: Scope, allowed: set[str]) -> None:
    key = await secret(keys, scope)
    of_anybody = {"/v1/models", "/v1/models/fake", "/api/models/loaded", "/metrics"}
    async with start(keys=keys) as app:
        for method, path in GUARDED:
            answer = await ask(app, method, path, bearer(key))
            if path in allowed | of_anybody:
                assert answer.status_code not in (401, 403), path
            else:
                assert answer.status_code == 403
                assert answer.json()["error"]["code"] == "forbidden"


async def test_an_open_network_without_keys_is_refused_even_while_running(start: Start, keys: KeyStore) -> None:
    """The last key may be revoked while the server runs; that must not open it."""
    async with start(keys=keys, host="0.0.0.0") as app:
        answer = await app.client.get("/v1/models")
        assert answer.status_code == 401
        assert "kikitori keys create" in answer.json()["error"]["message"]
    async with start(keys=keys, host="0.0.0.0", insecure=True) as app:
        assert (await app.client.get("/v1/models")).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000", "me.localhost"])
async def test_an_open_server_answers_to_its_own_names(start: Start, host: str) -> None:
    async with start() as app:
        assert (await app.client.get("/v1/models", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example"},
        {"host": "localhost.evil.example:8000"},
        {"origin": "https://evil.example"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "null"},
        {"host": "[::1"},
        {"origin": "http://[::1"},
    ],
)
async def test_an_open_server_does_not_serve_pages_of_other_sites(start: Start, headers: dict[str, str]) -> None:
    async with start() as app:
        refused = await app.client.get("/v1/models", headers=headers)
        assert refused.status_code == 403
        assert "kikitori keys create" in refused.json()["error"]["message"]
        assert (await app.client.get("/health/live", headers=headers)).status_code == 200
        assert (await app.client.get("/v1/models", headers={"origin": "http://localhost:3000"})).status_code == 200
    async with start(insecure=True) as app:
        assert (await app.client.get("/v1/models", headers=headers)).status_code == 200


async def test_named_origins_and_keys_open_the_server_to_other_sites(start: Start, keys: KeyStore) -> None:
    origin = {"origin": "https://app.example"}
    async with start(cors_origins=["https://app.example"]) as app:
        assert (await app.client.get("/v1/models", headers=origin)).status_code == 200
    secret, _ = await keys.create("app", "me", [Scope.TRANSCRIBE])
    async with start(keys=keys) as app:
        headers = origin | {"host": "speech.example", "authorization": f"Bearer {secret}"}
        assert (await app.client.get("/v1/models", headers=headers)).status_code == 200


async def test_insecure_does_not_switch_keys_off(start: Start, keys: KeyStore) -> None:
    await secret(keys)
    async with start(keys=keys, host="0.0.0.0", insecure=True) as app:
        assert (await app.client.get("/v1/models")).status_code == 401


async def test_a_key_has_so_many_places(start: Start, keys: KeyStore) -> None:
    first, second = await secret(keys), await secret(keys)
    hold = Hold()
    begun, started, *rest = script_of(fake_transcript(" a"))
    async with start(begun, started, hold, *rest, keys=keys, key_concurrency=1) as app:

        async def transcribe(key: str, **fields: Any) -> httpx.Response:
            return await app.client.post(
                "/v1/audio/transcriptions", files={"file": b"RIFF"}, data=fields, headers=bearer(key)
            )

        running = asyncio.create_task(transcribe(first, stream="true"))
        await hold.reached.wait()
        refused = await transcribe(first)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert (await app.client.get("/v1/models", headers=bearer(first))).status_code == 200
        other = asyncio.create_task(transcribe(second))
        hold.release.set()
        assert (await running).status_code == (await other).status_code == 200
        assert (await transcribe(first)).status_code == 200


@pytest.mark.parametrize(
    ("host", "private"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.8.8.8", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_is_loopback(host: str, private: bool) -> None:
    assert binding.is_loopback(host) is private
