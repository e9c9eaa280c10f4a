"""Any OpenAI-compatible chat endpoint (OpenAI, Ollama, vLLM, llama.cpp …) behind one seam.

A caller may bring an endpoint, a key or a model of their own. Their key goes to that endpoint, and
nowhere else: not into logs, errors or the database. The server's key never goes to a caller's endpoint.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, cast

import httpx

from kikitori.errors import Busy, ChatFailed, ChatRefused, InvalidInput, KikitoriError
from kikitori.llm.talking import TalkPiece, TalkReader, TalkRequest, asked_of_sdk

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

CONNECT_SECONDS = 10.0
RETRIES = 2
"""After a failure that may pass: no connection, 408, 409, 429, 5xx."""
RETRY_AFTER_SECONDS = 10.0
"""Of a 429 that does not say."""
LONGEST_ANSWER = 400_000
"""Characters; a model that repeats itself without end is stopped there."""
LARGEST_REPLY_BYTES = 64 * 1024 * 1024
"""On the wire, from an endpoint of a caller's; a token may take 300 bytes there."""
LONGEST_QUOTE = 300
OPENAI_HOST = "api.openai.com"
CUT = " […]"
"""Ends an answer that reached the model's limit."""
SENT_HEADERS = frozenset(
    {"host", "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type"}
)
"""The SDK would also tell every endpoint about this machine, and about the operator's account at OpenAI."""

_HOST = re.compile(r"[\w.:-]+")


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Role
    content: str


class ChatModel(Protocol):
    """One model of one endpoint."""

    @property
    def name(self) -> str: ...

    @property
    def context_tokens(self) -> int:
        """Messages and answer together may be this long."""

    def stream(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        """The answer, piece by piece; closing the generator stops the model.

        An answer that reached the model's limit ends with ``CUT``. Raises ChatFailed, ChatRefused, Busy.
        """


async def complete(model: ChatModel, messages: Sequence[Message]) -> str:
    """The whole answer. Raises as ``ChatModel.stream``."""
    async with aclosing(model.stream(messages)) as pieces:
        return "".join([piece async for piece in pieces])


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Whom to ask, and what of it the caller brought: ``base_url``, ``api_key``, ``model``."""

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    brought: frozenset[str] = frozenset()

    def fault(self, name: str, message: str, *, quote: str = "") -> KikitoriError:
        """The error for what is wrong with ``name``: the caller's to mend, or the operator's."""
        if name in self.brought:
            return ChatRefused(message, param=name, quote=quote)
        return ChatFailed(message, remedy=f"Check KIKITORI_LLM_{name.upper()}.", quote=quote)


class ChatModels:
    """Opens chat models: the server's own, or what a caller brings."""

    def __init__(
        self,
        *,
        guarded: Callable[[], httpx.AsyncClient],
        base_url: str = "",
        api_key: str = "",
        model: str = "",
        context_tokens: int = 8_192,
        silence_seconds: float = 300.0,
    ) -> None:
        """``guarded`` makes the client for endpoints of callers; ``base_url`` is the operator's, and trusted.

        An endpoint may be silent for ``silence_seconds``.
        """
        self._guarded = guarded
        self._base_url, self._api_key, self._model = base_url, api_key, model
        self._context_tokens, self._silence_seconds = context_tokens, silence_seconds

    @property
    def configured(self) -> bool:
        """Whether the server has a model of its own."""
        return bool(self._base_url and self._model)

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @asynccontextmanager
    async def open(self, *, base_url: str = "", api_key: str = "", model: str = "") -> AsyncGenerator[OpenAIChat, None]:
        """A model to talk to; what is empty is the server's. Raises ChatFailed, InvalidInput."""
        endpoint = self._endpoint(base_url, api_key, model)
        await asyncio.to_thread(_import_sdk)
        async with self._http(endpoint) as http:
            yield OpenAIChat(endpoint, http, self._context_tokens, self._silence_seconds)

    def _endpoint(self, base_url: str, api_key: str, model: str) -> Endpoint:
        given = {"base_url": base_url, "api_key": api_key, "model": model}
        brought = frozenset(name for name, value in given.items() if value)
        if not (api_key.isascii() and api_key.isprintable()):
            raise InvalidInput("api_key has characters that no key has.", param="api_key")
        if base_url:
            _check_address(base_url)
            if not model:
                raise InvalidInput("model is missing.", remedy="Name a model of your base_url.", param="model")
            return Endpoint(base_url=base_url, api_key=api_key, model=model, brought=brought)
        needed = {"KIKITORI_LLM_BASE_URL": self._base_url, "KIKITORI_LLM_MODEL": model or self._model}
        if missing := [name for name, value in needed.items() if not value]:
            raise ChatFailed(
                "No language model is set up here.",
                remedy=f"The operator sets {' and '.join(missing)}; or send base_url and model of your own.",
            )
        if _parsed(self._base_url) is None:
            raise ChatFailed("The server's chat endpoint is no address.", remedy="Check KIKITORI_LLM_BASE_URL.")
        return Endpoint(
            base_url=self._base_url, api_key=api_key or self._api_key, model=model or self._model, brought=brought
        )

    def _http(self, endpoint: Endpoint) -> httpx.AsyncClient:
        client = self._guarded() if "base_url" in endpoint.brought else httpx.AsyncClient()

        async def drop_headers(request: httpx.Request) -> None:
            for name in [name for name in request.headers if name not in SENT_HEADERS]:
                del request.headers[name]
            request.headers["user-agent"] = "kikitori"
            if not endpoint.api_key:
                request.headers.pop("authorization", None)

        hooks = client.event_hooks
        client.event_hooks = {**hooks, "request": [*hooks["request"], drop_headers]}
        return client


class OpenAIChat:
    """A ``ChatModel`` through OpenAI's SDK."""

    def __init__(
        self, endpoint: Endpoint, http: httpx.AsyncClient, context_tokens: int, silence_seconds: float
    ) -> None:
        from openai import AsyncOpenAI

        self.context_tokens = context_tokens
        self._endpoint = endpoint
        http.timeout = httpx.Timeout(silence_seconds, connect=CONNECT_SECONDS)  # the SDK takes it from there
        self._sdk: AsyncOpenAI = AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key or "none",  # an empty one it would take from the environment
            max_retries=RETRIES,
            http_client=cast(Any, http),  # versions differ in what they declare; all take httpx's
        )

    @property
    def name(self) -> str:
        return self._endpoint.model

    async def stream(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        reason, length = "", 0
        with _errors_told(self._endpoint):
            chunks = await self._sdk.chat.completions.create(
                model=self._endpoint.model,
                messages=cast(Any, [{"role": each.role.value, "content": each.content} for each in messages]),
                stream=True,
            )
            async with chunks:
                async for chunk in chunks:
                    for choice in chunk.choices[:1]:
                        if text := choice.delta.content or choice.delta.refusal:
                            length += len(text)
                            yield _storable(text)
                        reason = choice.finish_reason or reason
                    if length > LONGEST_ANSWER:
                        reason = "length"
                        break
        if reason == "length":
            yield CUT
        elif reason == "content_filter":
            raise ChatFailed("The chat endpoint withheld the answer (content filter).")
        elif not reason and not length:
            raise self._endpoint.fault("base_url", "The chat endpoint does not answer as OpenAI's would.")
        elif not reason:
            raise ChatFailed("The chat endpoint broke off its answer.", remedy="Try again.")

    async def talk(self, request: TalkRequest) -> AsyncGenerator[TalkPiece, None]:
        """As ``TalkingModel.talk``."""
        reader = TalkReader()
        asked = asked_of_sdk(request, new_limit=OPENAI_HOST in self._endpoint.base_url)
        with _errors_told(self._endpoint):
            chunks = await self._sdk.chat.completions.create(model=self._endpoint.model, **cast(Any, asked))
            async with chunks:
                async for chunk in chunks:
                    for piece in reader.pieces(chunk):
                        yield piece
                    if reader.said > LONGEST_ANSWER:
                        reader.reason = "length"
                        break
        if not reader.reason and not reader.said:
            raise self._endpoint.fault("base_url", "The chat endpoint does not answer as OpenAI's would.")
        if not reader.reason:
            raise ChatFailed("The chat endpoint broke off its answer.", remedy="Try again.")
        yield reader.ended()


def _storable(text: str) -> str:
    """Without what no database and no UTF-8 takes: NUL, halves of characters."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _import_sdk() -> None:
    """Takes a second; not on the event loop."""
    import openai.resources.chat  # noqa: F401


def _check_address(base_url: str) -> None:
    """Raises InvalidInput, which does not repeat it: people put keys into addresses."""
    url = _parsed(base_url)
    if url is None or url.userinfo or url.query or url.fragment:
        remedy = "Write it as https://host/v1, without user, query or fragment; the key goes into api_key."
        raise InvalidInput("base_url is not the address of a chat endpoint.", remedy=remedy, param="base_url")


def _parsed(base_url: str) -> httpx.URL | None:
    """None: it is no address."""
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, UnicodeError):
        return None
    named = url.scheme in ("http", "https") and _HOST.fullmatch(url.host)
    return url if named and 0 < (url.port or 80) < 65_536 else None


@contextmanager
def _errors_told(endpoint: Endpoint) -> Generator[None, None, None]:
    """What the SDK raises as our errors, without their cause: it may hold the key."""
    from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, OpenAIError

    try:
        yield
    except APIStatusError as exc:
        raise _of_status(exc, endpoint) from None
    except (APITimeoutError, httpx.TimeoutException):
        raise ChatFailed("The chat endpoint did not answer in time.", remedy="Try again later.") from None
    except (APIConnectionError, httpx.HTTPError) as exc:
        raise endpoint.fault("base_url", f"The chat endpoint {_trouble(exc)}.") from None
    except APIError as exc:  # in the middle of a stream
        raise ChatFailed("The chat endpoint failed.", quote=_quote(exc.message, endpoint)) from None
    except (OpenAIError, ValueError, AttributeError, TypeError):
        raise endpoint.fault("base_url", "The chat endpoint does not answer as OpenAI's would.") from None


def _trouble(exc: Exception) -> str:
    return "has no valid certificate" if "certificate" in str(exc.__cause__).lower() else "cannot be reached"


def _of_status(exc: APIStatusError, endpoint: Endpoint) -> KikitoriError:
    status, quote = exc.status_code, _quote(exc.message, endpoint)
    if status in (401, 403):
        return endpoint.fault("api_key", f"The chat endpoint refused the key ({status}).")  # quotes would show it
    if status == 404:
        name = "base_url" if "base_url" in endpoint.brought else "model"
        return endpoint.fault(name, f"The chat endpoint has no model {endpoint.model!r} (404).", quote=quote)
    if status == 429 and exc.code == "insufficient_quota":
        return endpoint.fault("api_key", "The quota of the chat endpoint's key is used up.")
    if status == 429:
        return Busy("The chat endpoint has too much to do.", retry_after=_retry_after(exc))
    if status < 400:
        return endpoint.fault("base_url", f"The chat endpoint redirects ({status}).")
    if status < 500:
        return endpoint.fault("model", f"The chat endpoint refused the request ({status}).", quote=quote)
    return ChatFailed(f"The chat endpoint failed ({status}).", remedy="Try again later.", quote=quote)


def _quote(text: str, endpoint: Endpoint) -> str:
    """What the endpoint said, on one line, without the key."""
    said = " ".join(text.replace(endpoint.api_key, "[key]").split() if endpoint.api_key else text.split())
    return said if len(said) <= LONGEST_QUOTE else said[: LONGEST_QUOTE - 1] + "…"


def _retry_after(exc: APIStatusError) -> float:
    try:
        return min(3_600.0, max(1.0, float(exc.response.headers["retry-after"])))
    except (KeyError, ValueError):
        return RETRY_AFTER_SECONDS
