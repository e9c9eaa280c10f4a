"""Who calls, and what they may do.

Without any key a server on loopback is open. As soon as there is one, everything but ``/``,
``/docs`` and ``/health`` needs a key: ``Authorization: Bearer …``, ``x-api-key`` or ``api-key``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from kikitori.errors import Forbidden, Unauthorized
from kikitori.services import Keys
from kikitori.store.keys import Scope
from kikitori.web.state import State

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

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


async def caller_of(
    request: Request,
    state: State,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
    azure_header: Annotated[str | None, Security(_azure_header)],
) -> Caller:
    """Whoever sent ``request``; raises Unauthorized."""
    if await state.services.keys.any():
        return await _key_holder(state.services.keys, bearer.credentials if bearer else header or azure_header or "")
    if not state.open_without_keys:
        raise Unauthorized("This server has no API key yet.", remedy="Make one with `kikitori keys create`.")
    return Caller(id=f"address {request.client.host if request.client else 'unknown'}")


async def _key_holder(keys: Keys, secret: str) -> Caller:
    if not secret:
        raise Unauthorized("The API key is missing.", remedy="Send it as `Authorization: Bearer KEY`.")
    key = await keys.verify(secret)
    if key is None:
        raise Unauthorized("The API key is wrong or was revoked.")
    return Caller(id=f"key {key.id}", owner=key.owner, scopes=key.scopes)


def needs(scope: Scope) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """A dependency: the caller, who may do ``scope``. Raises Unauthorized, Forbidden."""

    async def caller_with_scope(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        if not caller.may(scope):
            raise Forbidden(f"This key lacks the scope {scope.value!r}.", remedy="Use a key that has it.")
        return caller

    return caller_with_scope


AnyCaller = Annotated[Caller, Depends(caller_of)]
"""Whoever has a key, whatever its scopes."""
MayTranscribe = Annotated[Caller, Depends(needs(Scope.TRANSCRIBE))]
MayManageModels = Annotated[Caller, Depends(needs(Scope.MODELS))]
