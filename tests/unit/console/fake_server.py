"""A server for pages under test: answers by method and path, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx
import pytest

from kikitori.console import here

Answer: TypeAlias = "httpx.Response | Callable[[httpx.Request], httpx.Response] | Mapping[str, Any]"

MODELS = {
    "object": "list",
    "data": [
        {"id": "mini", "object": "model", "created": 0, "owned_by": "local", "engine": "whisper"},
        {
            "id": "汎用モデル",
            "object": "model",
            "created": 0,
            "owned_by": "local",
            "engine": "whisper",
            "alias_of": "mini",
        },
    ],
}


@dataclass
class FakeServer:
    """``answers["GET /api/tasks"] = {"tasks": []}``; a path without an answer is 404."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)
    key: str = ""
    """The API key it wants; empty: none."""
    away: bool = False
    """Nobody answers."""

    def __post_init__(self) -> None:
        self.answers.setdefault("GET /health/ready", {"status": "ready", "reason": ""})
        self.answers.setdefault("GET /v1/models", MODELS)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.away:
            raise httpx.ConnectError("refused", request=request)
        if self.key and request.url.path.startswith(("/v1", "/api")):
            if request.headers.get("authorization") != f"Bearer {self.key}":
                return refused(401, "The API key is wrong or was revoked.", code="invalid_api_key")
        answer = self.answers.get(f"{request.method} {request.url.path}")
        if answer is None:
            return refused(404, f"There is no {request.url.path}.", code="not_found")
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json=answer) if isinstance(answer, Mapping) else answer(request)

    def calls(self, method: str, path: str) -> list[Any]:
        """The JSON bodies of calls that came; None where there was none."""
        found = [each for each in self.asked if (each.method, each.url.path) == (method, path)]
        return [json.loads(each.content) if each.content else None for each in found]


def refused(status: int, message: str, *, code: str = "invalid_value", param: str | None = None) -> httpx.Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return httpx.Response(status, json={"error": error})


def install(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every page talk to ``server``."""
    client = httpx.Client(base_url="http://kikitori.test", transport=httpx.MockTransport(server))
    monkeypatch.setattr(here, "client", lambda: client)
