"""A running server, as commands see it: its address, its answers, and what it says is wrong."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx

from kikitori.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    InvalidOption,
    KikitoriError,
    ModelNotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unsupported,
)

ATTEMPTS = 6
"""How often a server that is busy is asked."""
LONGEST_WAIT_SECONDS = 60.0
NEAR = ("127.0.0.1", "localhost", "[::1]")


def server_address(url: str) -> httpx.URL:
    """``host:8000`` or ``https://host/v1`` → the address the API lies under. Raises InvalidOption."""
    text = url.strip()
    try:
        address = httpx.URL(text if "://" in text else f"http://{text}")
        address = address.copy_with(path=address.path.rstrip("/").removesuffix("/v1") + "/", query=None, fragment=None)
    except httpx.InvalidURL as exc:
        raise InvalidOption("url", url, f"the address of a server, such as http://127.0.0.1:8000 ({exc})") from exc
    if address.scheme not in ("http", "https") or not address.host:
        raise InvalidOption("url", url, "the address of a server, such as http://127.0.0.1:8000")
    return address


@asynccontextmanager
async def open_client(url: str, api_key: str, *, timeout: httpx.Timeout) -> AsyncIterator[httpx.AsyncClient]:
    """Requests to the server at ``url``. Raises InvalidOption."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    direct = dict.fromkeys((f"all://{host}" for host in NEAR), None)  # no proxy leads to this machine
    async with httpx.AsyncClient(
        base_url=server_address(url), headers=headers, timeout=timeout, mounts=direct
    ) as client:
        yield client


@contextmanager
def reachable(address: httpx.URL) -> Iterator[None]:
    """What the network says as Unavailable."""
    try:
        yield
    except httpx.HTTPError as exc:
        raise Unavailable(**unanswered(address, exc)) from exc


def unanswered(address: httpx.URL, problem: Exception) -> dict[str, str]:
    """What to say of a server that cannot be reached: the words of an error."""
    return {
        "message": f"The server {address} does not answer ({_reason(problem)}).",
        "remedy": "Check --url, and that the server runs.",
    }


def _reason(problem: BaseException) -> str:
    """What the system said, where libraries wrap it: ``Connection refused``."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)  # below 0: of a name
        cause = cause.__cause__ or cause.__context__
    return str(problem) or type(problem).__name__


def form_fields(given: Mapping[str, Any], *, model: str) -> dict[str, str]:
    """The decode options that were typed, as the fields of a form."""
    fields = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    if "temperature" in fields:  # a list: OpenAI's lone 0 would mean the usual ones
        fields["temperature"] = f"[{fields['temperature']}]"
    return {**fields, "model": model} if model else fields


def not_a_server(response: httpx.Response) -> Unavailable:
    return Unavailable(f"{response.url.host} answers, but is not a Kikitori server.", remedy="Check --url.")


async def refusal(response: httpx.Response) -> KikitoriError:
    """What a server says is wrong, as one of our errors."""
    await response.aread()
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": f"The server answered {response.status_code} {response.reason_phrase}."}
    return error_from(response.status_code, error, response.headers.get("retry-after"))


def error_from(status: int, error: Mapping[str, Any], retry_after: str | None = None) -> KikitoriError:
    """The server's error, as one of ours."""
    message, code = str(error.get("message") or "The server failed."), error.get("code")
    param = error.get("param")
    made: KikitoriError
    if code == Busy.code or status == 429:
        made = Busy(message, retry_after=float(retry_after) if retry_after and retry_after.isdecimal() else 1.0)
        made.remedy = ""
        return made
    if status == 401:
        remedy = "Give the right one with --api-key or KIKITORI_API_KEY."
        return Unauthorized("The server wants an API key, and this one is missing, wrong or revoked.", remedy=remedy)
    if code == ModelNotFound.code:
        made = ModelNotFound("")
    elif code == Unsupported.code:
        made = Unsupported("", param=str(param))
    else:
        kinds: dict[int, type[KikitoriError]] = {
            400: InvalidInput, 403: Forbidden, 404: Unavailable, 409: Conflict, 413: TooLarge,
            415: InvalidInput, 422: InvalidInput, 502: Unavailable, 503: Unavailable, 504: Unavailable,
        }  # fmt: skip
        made = kinds.get(status, KikitoriError)("")
    made.message, made.remedy, made.param = message, "", param
    return made
