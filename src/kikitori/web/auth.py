"""Who calls, and what they may do.

Without any key a server on loopback is open. As soon as there is one, everything but ``/``,
``/docs``, ``/live`` (the page, not what it asks for) and ``/health`` needs a key: ``Authorization: Bearer …``,
``x-api-key`` or ``api-key``. Browsers can set no header on an EventSource or a WebSocket: there the query may carry it,
as ``api_key``; sockets have more ways (``web.sockets.opening``).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Query, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.requests import HTTPConnection

from kikitori.errors import Forbidden, Unauthorized
from kikitori.services.parts import Keys
from kikitori.settings import Settings
from kikitori.store.keys import Scope
from kikitori.web import binding
from kikitori.web.state import State, WebState

_bearer = HTTPBearer(auto_error=False, description="An API key, made with `kikitori keys create`.")
_header = APIKeyHeader(name="x-api-key", auto_error=False, description="The same key, in a header of its own.")
_azure_header = APIKeyHeader(
    name="api-key", scheme_name="AzureKeyHeader", auto_error=False, description="The same key, as Azure clients do."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent a request; ``id`` tells callers apart: a key, or an address when there are no keys."""

    id: str
    owner: str = ""
    scopes: frozenset[str] = frozenset({Scope.ADMIN})
    key: int | None = None
    """The number of its API key; None: it has none."""

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def sees(self) -> str | None:
        """Whose tasks it sees: its owner's; None: everybody's."""
        return None if Scope.ADMIN in self.scopes else self.owner


async def caller_of(
    request: Request,
    state: State,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
    azure_header: Annotated[str | None, Security(_azure_header)],
) -> Caller:
    """Whoever sent ``request``; raises Unauthorized."""
    return await identify(request, state, bearer.credentials if bearer else header or azure_header or "")


async def watcher_of(
    request: Request,
    state: State,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
    azure_header: Annotated[str | None, Security(_azure_header)],
    api_key: Annotated[str, Query(description="The key, for clients that cannot set a header.")] = "",
) -> Caller:
    """Whoever wants to watch and may; raises Unauthorized, Forbidden."""
    secret = bearer.credentials if bearer else header or azure_header or api_key
    return allowed(await identify(request, state, secret), Scope.TRANSCRIBE)


async def key_in_headers(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
    azure_header: Annotated[str | None, Security(_azure_header)],
) -> str:
    """The key of ``request``, which its route judges by itself; empty: none."""
    return header_secret(request)


def socket_secret(connection: HTTPConnection) -> str:
    """The key that the opening of a WebSocket carries; empty: none."""
    return header_secret(connection) or connection.query_params.get("api_key", "")


def header_secret(connection: HTTPConnection) -> str:
    """The key that the headers carry, also as Deepgram's clients write it (``Authorization: Token …``); empty: none."""
    headers = connection.headers
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "token") and credentials.strip():
        return credentials.strip()
    return headers.get("x-api-key") or headers.get("api-key") or ""


async def identify(connection: HTTPConnection, state: WebState, secret: str) -> Caller:
    """Whoever opened ``connection`` with the key ``secret``, which may be empty. Raises Unauthorized, Forbidden."""
    if await state.services.keys.any():
        return await _key_holder(state.services.keys, secret)
    if not state.open_without_keys:
        raise Unauthorized("This server has no API key yet.", remedy="Make one with `kikitori keys create`.")
    _require_this_machine(connection, state.services.settings)
    return Caller(id=f"address {connection.client.host if connection.client else 'unknown'}")


def allowed(caller: Caller, scope: Scope) -> Caller:
    """The caller, who may do ``scope``. Raises Forbidden."""
    if not caller.may(scope):
        raise Forbidden(f"This key lacks the scope {scope.value!r}.", remedy="Use a key that has it.")
    return caller


def _require_this_machine(connection: HTTPConnection, settings: Settings) -> None:
    """Without keys, pages of other sites must not reach the server through its user's browser.

    A browser says where a page comes from (Origin), and by which name it found the server (Host): a foreign name that
    points to loopback is DNS rebinding. Programs other than browsers send neither a foreign Host nor an Origin.
    """
    if settings.insecure:
        return
    host = _hostname(f"//{connection.headers.get('host', '')}")
    if host and not (binding.is_this_machine(host) or host == settings.host.lower()):
        raise Forbidden(f"A server without keys does not answer to the name {host!r}.", remedy=_OPEN_REMEDY)
    origin = connection.headers.get("origin", "")
    allowed = settings.cors_origins
    if origin and not (binding.is_this_machine(_hostname(origin)) or {"*", origin} & set(allowed)):
        raise Forbidden(f"Pages of {origin} may not use this server.", remedy=_OPEN_REMEDY)


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # brackets that are no IPv6 address
        return url


_OPEN_REMEDY = "Make a key with `kikitori keys create`, or name the origin in KIKITORI_CORS_ORIGINS."


async def _key_holder(keys: Keys, secret: str) -> Caller:
    if not secret:
        raise Unauthorized("The API key is missing.", remedy="Send it as `Authorization: Bearer KEY`.")
    key = await keys.verify(secret)
    if key is None:
        raise Unauthorized("The API key is wrong or was revoked.")
    return Caller(id=f"key {key.id}", owner=key.owner, scopes=key.scopes, key=key.id)


def needs(scope: Scope) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """A dependency: the caller, who may do ``scope``. Raises Unauthorized, Forbidden."""

    async def caller_with_scope(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        return allowed(caller, scope)

    return caller_with_scope


AnyCaller = Annotated[Caller, Depends(caller_of)]
"""Whoever has a key, whatever its scopes."""
MayTranscribe = Annotated[Caller, Depends(needs(Scope.TRANSCRIBE))]
KeyInHeaders = Annotated[str, Depends(key_in_headers)]
"""For a route that says in its own words who may not come in."""
MayManageModels = Annotated[Caller, Depends(needs(Scope.MODELS))]
MayAdminister = Annotated[Caller, Depends(needs(Scope.ADMIN))]
MayWatch = Annotated[Caller, Depends(watcher_of)]
