"""Requests to a transcription endpoint: they end when their caller goes away, and are tried again where it helps."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, urlsplit

from kikitori.errors import Busy, ModelLoadFailed, RemoteFailed

CONNECT_SECONDS = 10.0
POLL_SECONDS = 0.1
"""How soon it is noticed that the caller has gone."""
RETRIES = 2
RETRY_SECONDS = (0.5, 2.0)
LONGEST_RETRY_SECONDS = 5.0
"""An endpoint that wants a longer pause is not waited for."""
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses after which it is tried again."""
LARGEST_REPLY_BYTES = 16 * 1024 * 1024
LONGEST_QUOTE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests go. Raises ModelLoadFailed from ``of`` when that is no address."""

    url: SplitResult
    api_key: str = field(default="", repr=False)
    seconds: float = 120.0
    """An answer may take so long."""

    @classmethod
    def of(cls, base_url: str, api_key: str = "", seconds: float = 120.0) -> Endpoint:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ModelLoadFailed(
                "The transcription endpoint has no address.",
                remedy="Set KIKITORI_OPENAI_BASE_URL, such as https://api.openai.com/v1.",
            )
        return cls(url=url, api_key=api_key, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """One request and its answer on a connection of its own, which another thread may cut."""

    def __init__(self, endpoint: Endpoint, path: str, body: bytes, content_type: str) -> None:
        url = endpoint.url
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        more: dict[str, Any] = {"context": ssl.create_default_context()} if url.scheme == "https" else {}
        self._connection = kind(url.hostname or "", url.port, timeout=CONNECT_SECONDS, **more)
        self._path, self._body, self._seconds = url.path.rstrip("/") + path, body, endpoint.seconds
        self._headers = {"content-type": content_type, "accept": "application/json"}
        if endpoint.api_key:
            self._headers["authorization"] = f"Bearer {endpoint.api_key}"

    def run(self) -> Reply:
        """Raises OSError, HTTPException."""
        connection = self._connection
        try:
            connection.connect()
            connection.sock.settimeout(self._seconds)
            connection.request("POST", self._path, self._body, self._headers)
            answer = connection.getresponse()
            body = answer.read(LARGEST_REPLY_BYTES + 1)
            if len(body) > LARGEST_REPLY_BYTES:
                raise HTTPException("too long an answer")
            return Reply(status=answer.status, headers={k.lower(): v for k, v in answer.getheaders()}, body=body)
        finally:
            connection.close()

    def cut(self) -> None:
        """Whoever waits in ``run`` gets an error now."""
        connected = self._connection.sock
        if connected is not None:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already


class Client:
    """Sends requests for several threads at once; ``close`` waits for those under way, which are cut."""

    def __init__(self, endpoint: Endpoint, *, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._endpoint, self._clock = endpoint, clock
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="kikitori-openai")
        self._running: set[Exchange] = set()

    def post(
        self, path: str, fields: Iterable[tuple[str, str]], file: tuple[str, bytes], check: Callable[[], None]
    ) -> dict[str, Any]:
        """The JSON object that answers. ``check`` is called often, and may raise to stop.

        Raises RemoteFailed, Busy, and what ``check`` raises.
        """
        body, content_type = multipart(fields, file)
        for attempt in range(RETRIES + 1):
            last = attempt == RETRIES
            exchange = Exchange(self._endpoint, path, body, content_type)
            try:
                reply = self._wait(exchange, check)
            except (OSError, HTTPException) as exc:
                if last or isinstance(exc, TimeoutError):
                    raise unreachable(exc) from None
                self._pause(RETRY_SECONDS[attempt], check)
                continue
            pause = _pause_of(reply, attempt)
            if reply.status not in PASSING or last or pause > LONGEST_RETRY_SECONDS:
                return self._read(reply)
            self._pause(pause, check)
        raise AssertionError("The last attempt returns or raises.")

    def close(self) -> None:
        for exchange in list(self._running):
            exchange.cut()
        self._threads.shutdown()

    def _wait(self, exchange: Exchange, check: Callable[[], None]) -> Reply:
        """Raises what ``run`` and ``check`` raise."""
        self._running.add(exchange)
        coming: Future[Reply] = self._threads.submit(exchange.run)
        try:
            while True:
                try:
                    return coming.result(POLL_SECONDS)
                except NotYet:
                    if coming.done():
                        return coming.result()  # its own time-out
                    check()
        except BaseException:  # whatever ends the waiting, nobody is left to read the answer
            exchange.cut()
            raise
        finally:
            self._running.discard(exchange)

    def _pause(self, seconds: float, check: Callable[[], None]) -> None:
        end = self._clock() + seconds
        while (left := end - self._clock()) > 0:
            check()
            time.sleep(min(left, POLL_SECONDS))

    def _read(self, reply: Reply) -> dict[str, Any]:
        """Raises RemoteFailed, Busy."""
        if reply.status == 429:
            raise Busy(
                "The transcription endpoint has too much to do.", retry_after=max(1.0, _pause_of(reply, RETRIES))
            )
        content = _object(reply.body)
        if reply.status == 200 and content is not None:
            return content
        raise refused(reply.status, _quote(content, self._endpoint.api_key))


def multipart(fields: Iterable[tuple[str, str]], file: tuple[str, bytes]) -> tuple[bytes, str]:
    """A form with one file (name and content): its body and its content type."""
    boundary = f"kikitori-{secrets.token_hex(16)}"
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    name, content = file
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n'
    parts += [head.encode(), b"content-type: audio/wav\r\n\r\n", content, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


class Refused(RemoteFailed):
    """The endpoint does not take the request as it is; ``quote`` is what it said."""

    def __init__(self, message: str, *, remedy: str, status: int, quote: str) -> None:
        super().__init__(message, remedy=remedy)
        self.status, self.quote = status, quote


def refused(status: int, quote: str) -> Refused:
    said = f" It said: {quote}" if quote else ""
    if status in (401, 403):
        message, remedy = f"The transcription endpoint refused the key ({status}).", "Check KIKITORI_OPENAI_API_KEY."
    elif status == 404:
        message, remedy = f"The transcription endpoint has no such model ({status}).", "Check KIKITORI_OPENAI_MODELS."
    elif status == 200:
        message, remedy = (
            "The transcription endpoint does not answer as OpenAI's would.",
            ("Check KIKITORI_OPENAI_BASE_URL."),
        )
    elif status < 500:
        message, remedy = f"The transcription endpoint refused the request ({status}).{said}", "Check its model."
    else:
        message, remedy = f"The transcription endpoint failed ({status}).", "Try again later."
    return Refused(message, remedy=remedy, status=status, quote=quote)


def unreachable(exc: Exception) -> RemoteFailed:
    if isinstance(exc, TimeoutError):
        return RemoteFailed("The transcription endpoint did not answer in time.", remedy="Try again later.")
    if isinstance(exc, ssl.SSLError):
        return RemoteFailed("The transcription endpoint has no valid certificate.", remedy="Check its address.")
    return RemoteFailed("The transcription endpoint cannot be reached.", remedy="Check KIKITORI_OPENAI_BASE_URL.")


def _pause_of(reply: Reply, attempt: int) -> float:
    """What the endpoint asks for, or what is usual (seconds)."""
    try:
        return max(0.0, float(reply.headers["retry-after"]))
    except (KeyError, ValueError):
        return RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _quote(content: Mapping[str, Any] | None, key: str) -> str:
    """What the endpoint said, on one line, without the key."""
    error = (content or {}).get("error")
    said = error.get("message") if isinstance(error, dict) else error
    text = " ".join(str(said or "").split())
    return (text.replace(key, "[key]") if key else text)[:LONGEST_QUOTE]
