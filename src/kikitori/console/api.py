"""The public API, as the console calls it: blocking, since Streamlit runs a page in a thread of its own."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import unquote

import httpx

from kikitori.errors import KikitoriError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
LONG_SECONDS = 600.0
"""For what takes its time: loading a model, an answer of a language model."""


class ApiError(KikitoriError):
    """What the server says is wrong, in its own words, which include what to do.

    ``status`` is 0 when nobody answered at all.
    """

    def __init__(
        self, message: str, *, status: int = 0, code: str = "unavailable", param: str | None = None, remedy: str = ""
    ) -> None:
        super().__init__(message, remedy=remedy, param=param)
        self.status = status
        self.code = code

    @property
    def unreachable(self) -> bool:
        return self.status == 0

    @property
    def wants_key(self) -> bool:
        return self.status == 401


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file that the server gave."""

    content: bytes = field(repr=False)
    name: str
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """One server-sent event."""

    name: str
    data: Any
    """Read from JSON; text where it is none, such as ``[DONE]``."""


class Api:
    """Calls with one key. Cheap to make; ``client`` is shared by all sessions and never holds a key."""

    def __init__(self, client: httpx.Client, key: str = "") -> None:
        self._client = client
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    def __repr__(self) -> str:
        return f"Api({self._client.base_url})"

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self.call("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float = ANSWER_SECONDS) -> Any:
        """``body`` is sent as JSON."""
        return self.call("POST", path, json=dict(body or {}), timeout=timeout)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)

    def call(self, method: str, path: str, *, timeout: float = ANSWER_SECONDS, **request: Any) -> Any:
        """The answer's JSON, None when it has none. ``request`` as httpx takes it. Raises ApiError."""
        with told():
            answer = self._client.request(
                method, path, headers=self._headers, timeout=_timeout(timeout), **_without_none(request)
            )
        _check(answer)
        return answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else None

    def content(self, path: str, params: Mapping[str, Any] | None = None, *, most_bytes: int | None = None) -> Download:
        """A file. Raises ApiError, with the code ``too_large`` for one of more than ``most_bytes``."""
        with (
            told(),
            self._client.stream(
                "GET", path, headers=self._headers, timeout=_timeout(LONG_SECONDS), **_without_none({"params": params})
            ) as answer,
        ):
            if answer.is_success and most_bytes is not None and _length(answer) > most_bytes:
                raise ApiError("The file is too large to be shown here.", status=413, code="too_large")
            answer.read()
        _check(answer)
        media_type = answer.headers.get("content-type", "application/octet-stream")
        return Download(content=answer.content, name=_file_name(answer), media_type=media_type)

    def events(self, method: str, path: str, *, timeout: float = LONG_SECONDS, **request: Any) -> Iterator[ServerEvent]:
        """Server-sent events as they come; close the iterator to hang up. Raises ApiError, also for an error event."""
        with (
            told(),
            self._client.stream(
                method, path, headers=self._headers, timeout=_timeout(timeout), **_without_none(request)
            ) as answer,
        ):
            if not answer.is_success:
                answer.read()
                _check(answer)
            yield from _events(answer.iter_lines())

    def policy(self, path: str, *, host: str) -> str:
        """The Content-Security-Policy of a page, as a browser gets it that knows the server as ``host``."""
        with told():
            answer = self._client.get(path, headers={"host": host}, timeout=_timeout(ANSWER_SECONDS))
        return str(answer.headers.get("content-security-policy", ""))

    def health(self) -> tuple[bool, str]:
        """Whether the server can transcribe, and why not. Raises ApiError when nobody answers."""
        with told():
            answer = self._client.get("/health/ready", timeout=_timeout(CONNECT_SECONDS))
        try:
            body = answer.json()
            return answer.is_success, str(body.get("reason") or "")
        except (ValueError, AttributeError):
            return False, ""


@contextmanager
def told() -> Iterator[None]:
    """What the network says as ApiError."""
    try:
        yield
    except httpx.HTTPError as exc:
        raise ApiError(f"The server does not answer ({type(exc).__name__}).") from exc


def open_client(url: str, certificate: str = "") -> httpx.Client:
    """A client for the server at ``url``. Nothing goes through a proxy: the console stands beside its server."""
    return httpx.Client(
        base_url=url,
        trust_env=False,
        verify=trust(certificate) if certificate else True,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
    )


def trust(certificate: str) -> ssl.SSLContext:
    """Trust whoever shows the certificate of this PEM file, and nobody else."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False  # the certificate is for the names that browsers use
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # it is known as it stands; what it says of itself does not matter
    return context


def error_of(status: int, body: Any) -> ApiError:
    """The error in the JSON of an answer."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ApiError(f"The server answered {status}.", status=status, code="internal_error")
    return ApiError(
        str(error.get("message") or f"The server answered {status}."),
        status=status,
        code=str(error.get("code") or "internal_error"),
        param=error.get("param"),
        remedy=str(error.get("remedy") or ""),
    )


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        body = answer.json()
    except ValueError:
        body = None
    raise error_of(answer.status_code, body)


def _events(lines: Iterator[str]) -> Iterator[ServerEvent]:
    name = ""
    for line in lines:
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            data = _parsed(line.removeprefix("data:").strip())
            if isinstance(data, dict) and isinstance(data.get("error"), dict) and not name:
                raise error_of(500, data)
            yield ServerEvent(name=name or _type(data), data=data)
        elif not line:
            name = ""


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _type(data: Any) -> str:
    return str(data.get("type", "")) if isinstance(data, dict) else ""


def _without_none(request: Mapping[str, Any]) -> dict[str, Any]:
    """httpx sends ``None`` in params as an empty value, which the server would refuse."""
    kept = {name: value for name, value in request.items() if value is not None}
    if isinstance(params := kept.get("params"), Mapping):
        kept["params"] = {name: value for name, value in params.items() if value not in (None, "")}
    return kept


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=CONNECT_SECONDS)


def _length(answer: httpx.Response) -> int:
    """What the answer promises; 0: it does not say."""
    text = answer.headers.get("content-length", "")
    return int(text) if text.isdecimal() else 0


def _file_name(answer: httpx.Response) -> str:
    header = Message()
    header["content-disposition"] = answer.headers.get("content-disposition", "")
    return unquote(header.get_filename("") or "")
