"""What holds for every route: ids, logs, metrics, CORS, health, documentation."""

import json
import logging
import re
from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kikitori.errors import Unavailable
from kikitori.metrics import Metrics
from kikitori.options import option_table
from kikitori.services.parts import Services
from kikitori.testing import FakeTranscriber
from kikitori.text.subtitle_options import layout_table
from kikitori.web.app import create_app

from .conftest import Start

ORIGIN = "https://app.example"


@pytest.mark.parametrize("path", ["/", "/health/live", "/nothing", "/v1/models/nope"])
async def test_every_answer_has_an_id(start: Start, path: str) -> None:
    async with start() as app:
        first, second = await app.client.get(path), await app.client.get(path)
    assert re.fullmatch(r"req_[0-9a-f]{24}", first.headers["x-request-id"])
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("trace-1.2:3", True), ("", False), ("a b", False), ("x" * 200, False), ('"><script>', False)],
)
async def test_a_usable_id_of_the_client_is_kept(start: Start, given: str, kept: bool) -> None:
    async with start() as app:
        answer = await app.client.get("/health/live", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) is kept


async def test_a_request_is_one_line_in_the_log(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kikitori.web")
    async with start() as app:
        await app.client.get("/v1/models/nope", headers={"x-request-id": "mine"})
    (record,) = [record for record in caplog.records if vars(record).get("action") == "request"]
    facts = vars(record)
    assert (facts["method"], facts["path"], facts["status"]) == ("GET", "/v1/models/nope", 404)
    assert facts["route"] == "/v1/models/{model:path}"
    assert facts["client"] == "203.0.113.7"


async def test_probes_do_not_fill_the_log(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with start() as app:
        await app.client.get("/health/live")
        await app.client.get("/metrics")
        assert not [record for record in caplog.records if vars(record).get("action") == "request"]
        app.pool.ready = False
        await app.client.get("/health/ready")
        assert [record for record in caplog.records if vars(record).get("action") == "request"]


async def test_records_made_for_a_request_carry_its_id(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    from kikitori.logs import IdFilter

    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(IdFilter())
    async with start() as app:
        answer = await app.transcribe()
    records = [vars(record) for record in caplog.records if record.name.startswith("kikitori")]
    assert {record["action"] for record in records} == {"transcribed", "request"}
    assert all(record["ids"] == {"request_id": answer.headers["x-request-id"]} for record in records)


# Metrics


async def test_metrics_count_templates_not_paths(start: Start) -> None:
    async with start() as app:
        for path in ("/v1/models/nope", "/v1/models/no%2Fpe", "/made-up/1", "/made-up/2"):
            await app.client.get(path)
        body = (await app.client.get("/metrics")).text
    counts = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.name == "kikitori_requests_total"
    }
    assert counts["/v1/models/{model:path}", "404"] == 2
    assert counts["none", "404"] == 2
    assert len(counts) == 2


async def test_metrics_are_prometheus_text(start: Start) -> None:
    async with start() as app:
        answer = await app.client.get("/metrics", headers={"accept": "application/openmetrics-text; version=x"})
    assert answer.headers["content-type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"kikitori_batch_size", "kikitori_real_time_factor", "kikitori_audio_seconds"} <= names


# Health


async def test_alive_whatever_happens(start: Start) -> None:
    async with start() as app:
        app.pool.ready = False
        app.services.draining = True
        assert (await app.client.get("/health/live")).json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_ready_when_it_can_transcribe(start: Start, path: str) -> None:
    async with start() as app:
        assert (await app.client.get(path)).json() == {"status": "ready", "reason": ""}
        app.pool.ready = False
        app.services.not_ready_because = "The default model is being downloaded: 12%."
        waiting = await app.client.get(path)
        assert waiting.status_code == 503
        assert waiting.json() == {"status": "not ready", "reason": "The default model is being downloaded: 12%."}
        assert "retry-after" in waiting.headers
        app.pool.ready = app.services.draining = True
        assert (await app.client.get(path)).status_code == 503


# CORS


async def preflight(client: httpx.AsyncClient, path: str, origin: str = ORIGIN) -> httpx.Response:
    return await client.options(
        path,
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, x-stainless-lang",
        },
    )


async def test_without_the_setting_no_other_origin_is_let_in(start: Start) -> None:
    async with start() as app:
        assert (await preflight(app.client, "/v1/audio/transcriptions")).status_code == 405
        answer = await app.client.get("/v1/models", headers={"origin": ORIGIN})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(("origins", "allowed"), [([ORIGIN], ORIGIN), (["*"], "*")])
async def test_preflight_needs_no_key_and_has_an_id(start: Start, origins: list[str], allowed: str) -> None:
    class SomeKeys:
        async def any(self) -> bool:
            return True

        async def verify(self, secret: str) -> None:
            return None

    async with start(keys=SomeKeys(), cors_origins=origins) as app:
        answer = await preflight(app.client, "/v1/audio/transcriptions")
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == allowed
        assert "x-stainless-lang" in answer.headers["access-control-allow-headers"]
        assert "x-request-id" in answer.headers
        refused = await app.client.get("/v1/models", headers={"origin": ORIGIN})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == allowed
        assert "x-request-id" in refused.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("x"), 500), (Unavailable("None."), 503)], ids=["unforeseen", "ours"]
)
async def test_errors_can_be_read_by_other_origins(start: Start, error: Exception, status: int) -> None:
    async with start(error, cors_origins=[ORIGIN]) as app:
        answer = await app.client.post("/v1/audio/transcriptions", files={"file": b"RIFF"}, headers={"origin": ORIGIN})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_other_origins_than_those_named(start: Start) -> None:
    async with start(cors_origins=[ORIGIN]) as app:
        assert (await preflight(app.client, "/v1/models", "https://evil.example")).status_code == 400
        answer = await app.client.get("/v1/models", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


# Documentation


async def test_the_documentation_needs_no_other_server(start: Start) -> None:
    async with start() as app:
        page = await app.client.get("/docs")
        assert not re.search(r"(src|href)=\"(https?:)?//", page.text)
        for path in re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text):
            assert (await app.client.get(f"/{path}")).status_code == 200


async def test_the_documentation_is_laid_out_for_phones_too(start: Start) -> None:
    """Seen in a browser 320 to 390 pixels wide: no form reaches beyond the screen."""
    async with start() as app:
        page = await app.client.get("/docs")
    head = page.text.partition("</head>")[0]
    assert "@media (max-width: 640px)" in head
    assert int(page.headers["content-length"]) == len(page.content)


async def test_every_option_is_documented(start: Start) -> None:
    async with start() as app:
        schema = (await app.client.get("/openapi.json")).json()
    routes = schema["paths"]
    form = routes["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    named = {name.removesuffix("[]") for name in form["properties"]}
    assert {row.name for row in (*option_table(), *layout_table())} <= named
    assert {"file", "model", "response_format", "stream", "prompt", "chunking_strategy"} <= named
    assert all(field["description"] for field in form["properties"].values())
    speech = routes["/v1/audio/speech-segments"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert "min_silence_duration_ms" in speech["properties"]
    json.dumps(schema, allow_nan=False)


async def test_every_route_is_described_in_words(start: Start) -> None:
    async with start() as app:
        schema = (await app.client.get("/openapi.json")).json()
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            assert route["summary"] and route["description"] and route["tags"], f"{method} {path}"
            assert "422" not in route["responses"], f"{method} {path}"


async def test_every_documented_default_is_accepted(start: Start) -> None:
    """Swagger's form sends all of them."""
    async with start() as app:
        schema = (await app.client.get("/openapi.json")).json()
        for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
            form = schema["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
            defaults = {name: field["default"] for name, field in form["properties"].items() if "default" in field}
            fields = {name: _as_text(value) for name, value in defaults.items()}
            answer = await app.client.post(path, files={"file": b"RIFF"}, data=fields)
            assert answer.status_code == 200, answer.text
            assert "x-kikitori-ignored-fields" not in answer.headers


def _as_text(value: object) -> object:
    return [str(part) for part in value] if isinstance(value, list) else str(value).lower() if value in (
        True, False) else str(value)  # fmt: skip


def test_an_app_can_be_made_without_a_loop(make_services: Callable[..., Services]) -> None:
    services = make_services()
    assert isinstance(services.transcriber, FakeTranscriber)
    assert isinstance(services.metrics, Metrics)
    assert create_app(services).title == "Kikitori"
