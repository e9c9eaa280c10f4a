"""API keys over the application, in a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from tests.databases import migrated_sqlite

from kikitori.services.parts import Services
from kikitori.store.database import Database
from kikitori.store.keys import KeyStore
from kikitori.web.app import create_app

MakeServices: TypeAlias = Callable[..., Services]


@pytest.fixture
async def client(make_services: MakeServices, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with Database(await migrated_sqlite(tmp_path / "keys.db")) as database:
        keys = KeyStore(database)
        services = make_services(keys=keys, parts={"key_store": keys})
        transport = httpx.ASGITransport(app=create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


async def make(client: httpx.AsyncClient, key: str = "", **fields: Any) -> httpx.Response:
    return await client.post("/api/keys", json={"owner": "ann", **fields}, headers={"x-api-key": key} if key else {})


async def root(client: httpx.AsyncClient) -> str:
    answer = await make(client, name="root", scopes=["admin"])
    assert answer.status_code == 201, answer.text
    secret: str = answer.json()["secret"]
    return secret


async def test_the_first_key_closes_the_server(client: httpx.AsyncClient) -> None:
    secret = await root(client)
    assert (await client.get("/api/keys")).status_code == 401
    [key] = (await client.get("/api/keys", headers={"x-api-key": secret})).json()["keys"]
    assert (key["id"], key["name"], key["owner"], key["scopes"], key["revoked_at"]) == (
        1,
        "root",
        "ann",
        ["admin"],
        None,
    )
    assert secret.startswith(key["prefix"])


async def test_a_secret_is_shown_once_and_kept_nowhere(client: httpx.AsyncClient) -> None:
    secret = await root(client)
    made = await make(client, secret, name="phone", scopes=["transcribe", "models"])
    assert made.headers["cache-control"] == "no-store"
    new = made.json()["secret"]
    assert (await client.get("/v1/models", headers={"x-api-key": new})).status_code == 200
    listed = await client.get("/api/keys", headers={"x-api-key": secret})
    assert new not in listed.text and secret not in listed.text
    assert [key["scopes"] for key in listed.json()["keys"]] == [["admin"], ["models", "transcribe"]]


async def test_a_revoked_key_opens_nothing(client: httpx.AsyncClient) -> None:
    secret = await root(client)
    made = (await make(client, secret)).json()
    answer = await client.delete(f"/api/keys/{made['id']}", headers={"x-api-key": secret})
    assert answer.status_code == 200 and answer.json()["revoked_at"]
    assert (await client.get("/v1/models", headers={"x-api-key": made["secret"]})).status_code == 401


async def test_nobody_saws_off_the_branch_they_sit_on(client: httpx.AsyncClient) -> None:
    secret = await root(client)
    answer = await client.delete("/api/keys/1", headers={"x-api-key": secret})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert "kikitori keys revoke" in answer.json()["error"]["message"]
    assert (await client.get("/api/keys", headers={"x-api-key": secret})).status_code == 200


@pytest.mark.parametrize("scopes", [["transcribe"], ["models"], ["transcribe", "models"]])
async def test_only_administrators_may(client: httpx.AsyncClient, scopes: list[str]) -> None:
    secret = await root(client)
    other = (await make(client, secret, scopes=scopes)).json()["secret"]
    headers = {"x-api-key": other}
    answers = [
        await client.get("/api/keys", headers=headers),
        await make(client, other, scopes=["admin"]),
        await client.delete("/api/keys/1", headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [403, 403, 403]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"owner": ""}, "owner"),
        ({"owner": "a\nb"}, "owner"),
        ({"owner": 5}, "owner"),
        ({"name": " "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["sudo"]}, "scopes.0"),
        ({"scopes": "admin"}, "scopes"),
    ],
)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    answer = await make(client, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert (await client.get("/api/keys")).json() == {"keys": []}


@pytest.mark.parametrize(("number", "status"), [("7", 404), ("0", 400), ("kk_abc", 400), (str(2**63), 400)])
async def test_a_key_that_is_not_there(client: httpx.AsyncClient, number: str, status: int) -> None:
    assert (await client.delete(f"/api/keys/{number}")).status_code == status
