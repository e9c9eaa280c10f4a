import inspect

import httpx
import pytest
from fastapi import FastAPI

from kikitori import errors
from kikitori.errors import KikitoriError, StoreFailed
from kikitori.web.errors import STATUSES, body_of, headers_of, install_error_handlers, status_of

from .conftest import Start

OWN = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, KikitoriError)]
MADE: dict[type[KikitoriError], KikitoriError] = {
    errors.InvalidOption: errors.InvalidOption("beam_size", 0, "1 to 50"),
    errors.InvalidMedia: errors.InvalidMedia("No audio."),
    errors.Unsupported: errors.Unsupported("It cannot.", param="task"),
    errors.ChatRefused: errors.ChatRefused("No.", param="api_key"),
    errors.ModelNotFound: errors.ModelNotFound("m"),
    errors.DecodingCancelled: errors.DecodingCancelled(),
    errors.Busy: errors.Busy("Full.", retry_after=0.2),
}


def made(kind: type[KikitoriError]) -> KikitoriError:
    return MADE.get(kind) or kind("It is so.")


@pytest.mark.parametrize("kind", OWN)
def test_every_error_of_ours_has_a_status_and_openais_shape(kind: type[KikitoriError]) -> None:
    error = made(kind)
    status, type_ = status_of(error)
    assert 400 <= status < 600
    assert status < 500 or kind in (KikitoriError, *_tree(errors.Unavailable), errors.DecodingCancelled)
    body = body_of(error)["error"]
    assert isinstance(body, dict)
    assert set(body) == {"message", "type", "param", "code"}
    assert body["type"] == type_
    assert body["code"] == (kind.code if status != 500 else "internal_error")


def _tree(root: type[KikitoriError]) -> list[type[KikitoriError]]:
    return [kind for kind in OWN if issubclass(kind, root)]


def test_the_nearest_class_decides() -> None:
    class NoRoom(errors.TooLarge): ...

    assert status_of(NoRoom("Too much."))[0] == STATUSES[errors.TooLarge][0]


@pytest.mark.parametrize("kind", [errors.Busy, errors.Unavailable, errors.ModelLoadFailed])
def test_come_back_later(kind: type[KikitoriError]) -> None:
    assert int(headers_of(made(kind))["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "not_found"),
        ("POST", "/nothing", 404, "not_found"),
        ("GET", "/v1/audio/transcriptions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/docs/assets/nothing.js", 404, "not_found"),
        ("GET", "/docs/assets/..%2f..%2fcore.py", 404, "not_found"),
    ],
)
async def test_what_is_not_there(start: Start, method: str, path: str, status: int, code: str) -> None:
    async with start() as app:
        answer = await app.client.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert "x-request-id" in answer.headers
    if status == 405:
        assert answer.headers["allow"]


async def test_a_long_path_is_not_said_back_whole(start: Start) -> None:
    async with start() as app:
        answer = await app.client.get("/" + "x" * 5_000)
    assert len(answer.json()["error"]["message"]) < 300


@pytest.mark.parametrize(
    ("content", "param"),
    [(b'{"pin": true}', "model"), (b'{"model": 3}', "model"), (b'{"model": "m", "pin": "perhaps"}', "pin")],
)
async def test_wrong_json_names_its_field(start: Start, content: bytes, param: str) -> None:
    async with start() as app:
        answer = await app.client.post(
            "/api/models/load", content=content, headers={"content-type": "application/json"}
        )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
async def test_bodies_that_are_no_object(start: Start, content: bytes) -> None:
    async with start() as app:
        answer = await app.client.post(
            "/api/models/load", content=content, headers={"content-type": "application/json"}
        )
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_page_of_another_site_cannot_post_json_as_plain_text(start: Start) -> None:
    """A browser sends text/plain anywhere without asking; only real JSON makes it ask first."""
    async with start() as app:
        answer = await app.client.post(
            "/api/models/load", content=b'{"model": "fake"}', headers={"content-type": "text/plain"}
        )
    assert answer.status_code == 400


async def test_an_error_of_ours_that_means_a_bug_stays_inside() -> None:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/")
    async def broken() -> None:
        raise KikitoriError("secret detail")

    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_where_the_server_keeps_things_is_for_its_operator() -> None:
    error = StoreFailed("The database postgresql://ann@inside:5432/tasks cannot be used: gone.", what="database")
    assert status_of(error)[0] == 503
    assert "inside" not in str(body_of(error))
    assert "inside" in str(error)


async def test_an_error_about_half_a_character_can_be_said(start: Start) -> None:
    async with start() as app:
        answer = await app.client.post(
            "/api/tasks", content=b'{"\\ud800": 1}', headers={"content-type": "application/json"}
        )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "?"
