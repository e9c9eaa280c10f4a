"""The API, its errors, the logs and the metrics are on the pages as in the code: none missing, none made up."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute, Route
from tests.unit.idle import idle_parts
from tests.unit.web.conftest import FakeCatalog, FakePool

from kikitori.errors import KikitoriError
from kikitori.metrics import Metrics
from kikitori.services.parts import Services
from kikitori.settings import Settings
from kikitori.store.keys import ApiKey, Scope
from kikitori.testing import FakeTranscriber, fake_transcript, script_of
from kikitori.web.answers import ANSWER_TYPES
from kikitori.web.app import READABLE_HEADERS, create_app
from kikitori.web.asked import OPENAI_FIELDS
from kikitori.web.errors import body_of, internal_body, status_of, stopping_body

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def rows(name: str, heading: str) -> list[list[str]]:
    """The cells of the first table below ``heading``, without its head."""
    table = re.search(rf"^#+ {heading}\n.*?^\|[ :|-]+\|\n((?:\|[^\n]*\n)+)", page(name), flags=re.MULTILINE | re.DOTALL)
    assert table, f"{name} has no table below {heading}"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


def coded(cell: str) -> list[str]:
    """What a cell has in `backticks`."""
    return re.findall(r"`([^`]+)`", cell)


# Routes and scopes -----------------------------------------------------------------------------------------------


class KeysByScope:
    """There are keys; the secret of each is what it may do."""

    async def any(self) -> bool:
        return True

    async def verify(self, secret: str) -> ApiKey | None:
        made = datetime(2026, 1, 1, tzinfo=UTC)
        return ApiKey(id=1, name=secret, owner="ann", scopes=frozenset({secret}), prefix="kk_", created_at=made)


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(
        Services(
            settings=Settings(data_dir=tmp_path),
            metrics=Metrics(),
            keys=KeysByScope(),
            catalog=FakeCatalog(),
            pool=FakePool(),
            transcriber=FakeTranscriber(script_of(fake_transcript(" Hello."))),
            **idle_parts(tmp_path),
        )
    )


def documented_routes() -> Mapping[str, str]:
    """``GET /v1/models``: the scope it needs."""
    return {coded(route)[0]: scope for route, _, scope in rows("api.md", "Routes")}


def test_every_route_is_documented(app: FastAPI) -> None:
    routes = {
        f"{method} {route.path.replace(':path}', '}')}"
        for route in _all_routes(app.routes)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert set(documented_routes()) == routes


def _all_routes(routes: Iterable[BaseRoute]) -> Iterator[Route]:
    """Those that people call, also in included routers; the files of /docs are mounted, and not among them."""
    for route in routes:
        if isinstance(route, Route):
            yield route
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from _all_routes(router.routes)


@pytest.mark.parametrize("route", documented_routes())
async def test_a_route_needs_the_scope_that_is_documented(app: FastAPI, route: str) -> None:
    documented = documented_routes()[route]
    assert (
        await _scopes_that_may(app, route)
        == {
            "–": {"", *Scope},
            "any": {*Scope},
            **{f"`{scope}`": {scope, Scope.ADMIN} for scope in Scope},
        }[documented]
    )


async def _scopes_that_may(app: FastAPI, route: str) -> set[str]:
    """``""`` stands for callers without a key."""
    method, path = route.replace("{model}", "fake").split(" ")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answers = {
            scope: await client.request(method, path, headers={"x-api-key": scope} if scope else {})
            for scope in ("", *Scope)
        }
    return {scope for scope, answer in answers.items() if answer.status_code not in (401, 403)}


@pytest.mark.parametrize("name", ["api.md", "security.md"])
def test_every_scope_is_documented(name: str) -> None:
    assert [scope for scope in Scope if f"`{scope.value}`" not in page(name)] == []


@pytest.fixture
def recording(hello_wav: Path) -> bytes:
    return hello_wav.read_bytes()


FORMS = ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech-segments"]


@pytest.mark.parametrize("path", FORMS)
async def test_the_form_of_the_page_is_accepted_as_it_is_filled_in(app: FastAPI, recording: bytes, path: str) -> None:
    """/docs sends every field: its default, or its first example."""
    body = app.openapi()["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = {
        name: schema["default"] if "default" in schema else schema["examples"][0]
        for name, schema in body["properties"].items()
        if name != "file"
    }
    data = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in fields.items()}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        headers = {"x-api-key": Scope.TRANSCRIBE}
        answer = await client.post(path, files={"file": recording}, data=data, headers=headers)
    assert (answer.status_code, answer.headers.get("x-kikitori-ignored-fields")) == (200, None), answer.text


def test_every_field_is_on_the_page(app: FastAPI) -> None:
    body = app.openapi()["paths"][FORMS[0]]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {name.removesuffix("[]") for name in body["properties"]} >= {*OPENAI_FIELDS, "file", "language"}


# Fields, answers, events -----------------------------------------------------------------------------------------


def test_every_field_beside_the_options_is_documented() -> None:
    documented = {coded(row[0])[0].removesuffix("[]") for row in rows("api.md", "Transcriptions")}
    assert documented == {*OPENAI_FIELDS, "language", "temperature"}


def test_every_answer_is_documented_with_its_type_and_an_example() -> None:
    documented = {(coded(name)[0], coded(kind)[0]) for name, kind, _ in rows("api.md", "Answers")}
    assert documented == {(answer.value, kind.partition(";")[0]) for answer, kind in ANSWER_TYPES.items()}
    examples = re.findall(r"^(`[^\n]*):\n\n```", page("api.md"), flags=re.MULTILINE)
    shown = {name for example in examples for name in coded(example)}
    assert [answer.value for answer in ANSWER_TYPES if answer.value not in shown] == []


def test_every_header_is_documented() -> None:
    documented = {coded(row[0])[0] for row in rows("api.md", "Headers")}
    assert documented == {*READABLE_HEADERS, "www-authenticate"}


def test_every_event_of_a_stream_is_documented() -> None:
    web = ROOT / "src" / "kikitori" / "web"
    source = (web / "streaming.py").read_text(encoding="utf-8") + (web / "answers.py").read_text(encoding="utf-8")
    documented = {name for row in rows("api.md", "Streaming") for name in coded(row[0]) if name.startswith("transc")}
    assert documented == set(re.findall(r'"(transcript\.text\.\w+)"', source))


# Errors ----------------------------------------------------------------------------------------------------------


def kinds_of(error: type[KikitoriError]) -> list[type[KikitoriError]]:
    return [error, *(kind for below in error.__subclasses__() for kind in kinds_of(below))]


async def test_every_error_is_documented(app: FastAPI) -> None:
    documented = {
        (int(status), coded(code)[0], coded(kind)[0]) for status, code, kind, _, _ in rows("api.md", "Errors")
    }
    known = {_told(500, internal_body("req_1")), _told(503, stopping_body())}
    for error in kinds_of(KikitoriError):
        status, kind = status_of(error.__new__(error))  # the class decides
        known.add((status, error.code, kind))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
        for answer in (await client.get("/nothing"), await client.put("/v1/models")):
            known.add(_told(answer.status_code, answer.json()))
    assert documented == known


def _told(status: int, body: Mapping[str, object]) -> tuple[int, str, str]:
    error = body["error"]
    assert isinstance(error, dict)
    return status, error["code"], error["type"]


def test_what_is_not_foreseen_is_told_as_documented() -> None:
    assert body_of(KikitoriError("secret"))["error"] == internal_body("")["error"]


# Logs, metrics, settings -----------------------------------------------------------------------------------------


def logged_facts() -> dict[str, set[str]]:
    """Action → names of its facts, from every ``{"action": …, …}`` of the source."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict) and "action" in (names := _keys(node)):
                for value in ast.walk(node.values[names.index("action")]):
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        found.setdefault(value.value, set()).update(name for name in names if name != "action")
    return found


def _keys(node: ast.Dict) -> list[str]:
    return [key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else "" for key in node.keys]


def test_the_facts_of_every_logged_action_are_documented() -> None:
    table = re.findall(r"^\| `(\w+)` \| [\w, ]+ \| .*? \| ?(.*?) ?\|$", page("logging.md"), flags=re.MULTILINE)
    cells = dict(table)
    documented = {
        action: set(re.findall(r"(?<!: )(?<!, )`(\w+)`", cells["request"] if cell == "as `request`" else cell))
        for action, cell in table
    }
    logged = logged_facts()
    logged["client_gone"] = logged["request"] = logged["request"] | logged["client_gone"]
    assert documented == logged


def test_every_metric_is_documented() -> None:
    assert [f"| {' | '.join(row)} |" for row in rows("operations.md", "Metrics")] == metric_rows()


def metric_rows() -> list[str]:
    """As the page has them: name, type, labels, help."""
    metrics = Metrics()
    metrics.watch_pool(lambda: {"normal": 1}, lambda: {"small": 1})
    metrics.request_began()
    metrics.request_ended("/", 200, 0.1)
    metrics.call_waited("normal", 0.1)
    metrics.batch_ran("generate", 1, 0.1)
    metrics.transcribed(1.0, 1.0, "small")
    metrics.callback_tried("delivered")
    metrics.live_decoded("final", 0.1, 0.1)
    metrics.replied("done")
    table = []
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        shown = " ".join(f"`{label}`" for label in labels) or "–"
        table.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    return table


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_named_variables_exist(path: Path) -> None:
    settings = {f"KIKITORI_{name.upper()}" for name in Settings.model_fields}
    others = {"KIKITORI_CONFIG", "KIKITORI_URL", "KIKITORI_API_KEY"}  # a file of settings, and the client's side
    named = set(re.findall(r"KIKITORI_(?!TEST_)\w*[A-Z]", path.read_text(encoding="utf-8")))
    assert named <= settings | others


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_into_pages_lead_to_headings(path: Path) -> None:
    links = re.findall(r"\]\(([\w./-]*)#([^)]+)\)", path.read_text(encoding="utf-8"))
    missing = [anchor for file, anchor in links if anchor not in _anchors(path.parent / file if file else path)]
    assert missing == []


def _anchors(path: Path) -> set[str]:
    """As hosts of code make them from headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_flags_of_shown_commands_exist(path: Path) -> None:
    blocks = "".join(re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL))
    lines = [line.partition("  #")[0] for line in blocks.splitlines() if re.search(r"\bkikitori [a-z]", line)]
    flags = {flag for line in lines for flag in re.findall(r" (--[a-z-]+)", line)}
    assert [
        flag for flag in sorted(flags) if f"`{flag}" not in page("cli.md") and f" {flag}" not in page("cli.md")
    ] == []
