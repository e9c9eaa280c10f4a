"""API keys: made once, shown once, kept as hashes."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, insert, or_, select, update

from kikitori.errors import Conflict, InvalidOption, NotFound, Unavailable
from kikitori.store.database import Database
from kikitori.store.tables import api_keys

logger = logging.getLogger(__name__)

SECRET_PREFIX = "kk_"
SECRET_BYTES = 32
SHOWN_CHARACTERS = len(SECRET_PREFIX) + 8
CACHE_TTL = timedelta(seconds=5)
"""A key that was revoked by another process works no longer than this."""
CACHE_SIZE = 10_000
LAST_USED_STEP = timedelta(minutes=1)
MAX_TEXT = 200


class Scope(StrEnum):
    """What a key may do."""

    TRANSCRIBE = "transcribe"  # send audio, read its text
    MODELS = "models"  # load and unload models
    ADMIN = "admin"  # everything


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as people see it; the secret itself is nowhere."""

    id: int
    name: str
    owner: str
    scopes: frozenset[str]
    prefix: str
    """The secret's first characters, to tell keys apart."""
    created_at: datetime
    last_used_at: datetime | None = None
    """To the minute."""
    revoked_at: datetime | None = None

    def allows(self, scope: str) -> bool:
        """``admin`` implies every scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


def utc_now() -> datetime:
    return datetime.now(UTC)


class KeyStore:
    """The keys in the database. What ``verify`` and ``any`` found is remembered for a few seconds."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now
        self._found: dict[str, tuple[datetime, ApiKey]] = {}
        self._any: tuple[datetime, bool] | None = None

    async def create(self, name: str, owner: str, scopes: Iterable[str] = (Scope.TRANSCRIBE,)) -> tuple[str, ApiKey]:
        """A new key and its secret, which nobody can show again."""
        secret = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        key = ApiKey(
            id=0,
            name=_checked_text("name", name),
            owner=_checked_text("owner", owner),
            scopes=_checked_scopes(scopes),
            prefix=secret[:SHOWN_CHARACTERS],
            created_at=self._now(),
        )
        row = {
            "name": key.name,
            "key_hash": _hash(secret),
            "prefix": key.prefix,
            "owner": key.owner,
            "scopes": ",".join(sorted(key.scopes)),
            "created_at": key.created_at,
        }
        async with self._database.write() as connection:
            made: Any = (await connection.execute(insert(api_keys).values(row))).inserted_primary_key
        self._any = None
        logger.info("key created", extra={"action": "key_created", "key": key.prefix, "owner": key.owner})
        return secret, replace(key, id=int(made[0]))

    async def list(self) -> list[ApiKey]:
        """All keys, oldest first, revoked ones too."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(api_keys).order_by(api_keys.c.id))
            return [_key(row) for row in rows]

    async def revoke(self, id_or_prefix: str) -> ApiKey:
        """End a key by its number, its shown beginning, or the secret itself; here at once, elsewhere within seconds.

        Raises NotFound; Conflict when several live keys begin so.
        """
        wanted = _matches(id_or_prefix.strip())
        async with self._database.write() as connection:
            rows = await connection.execute(select(api_keys).where(wanted).order_by(api_keys.c.id))
            key = _the_one([_key(row) for row in rows], id_or_prefix)
            if key.revoked_at is None:
                key = replace(key, revoked_at=self._now())
                change = update(api_keys).where(api_keys.c.id == key.id, api_keys.c.revoked_at.is_(None))
                await connection.execute(change.values(revoked_at=key.revoked_at))
        self._found.clear()
        self._any = None
        logger.info("key revoked", extra={"action": "key_revoked", "key": key.prefix, "owner": key.owner})
        return key

    async def verify(self, secret: str) -> ApiKey | None:
        """The live key with this secret; None: there is none.

        Keys are found by the hash of the secret, so no comparison takes longer the more of it is right.
        """
        if not secret.startswith(SECRET_PREFIX) or len(secret) > MAX_TEXT:
            return None
        hashed, now = _hash(secret), self._now()
        known = self._found.get(hashed)
        key = known[1] if known and _fresh(known[0], now) else await self._look_up(hashed, now)
        if key is None or not _used_again(key, now):
            return key
        return await self._mark_used(hashed, key, now)

    async def any(self) -> bool:
        """There is at least one live key."""
        now = self._now()
        if self._any is None or not _fresh(self._any[0], now):
            async with self._database.read() as connection:
                found = await connection.scalar(select(exists().where(api_keys.c.revoked_at.is_(None))))
            self._any = (now, bool(found))
        return self._any[1]

    async def _look_up(self, hashed: str, now: datetime) -> ApiKey | None:
        live = select(api_keys).where(api_keys.c.key_hash == hashed, api_keys.c.revoked_at.is_(None))
        async with self._database.read() as connection:
            row = (await connection.execute(live)).one_or_none()
        if row is None:
            self._found.pop(hashed, None)
            return None
        return self._remember(hashed, _key(row), now)

    async def _mark_used(self, hashed: str, key: ApiKey, now: datetime) -> ApiKey:
        """Write ``last_used_at``; whoever asks next within the minute finds it written."""
        key = replace(key, last_used_at=now)
        if hashed in self._found:
            self._found[hashed] = (self._found[hashed][0], key)
        change = update(api_keys).where(
            api_keys.c.id == key.id,
            or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at <= now - LAST_USED_STEP),
        )
        try:
            async with self._database.write() as connection:
                await connection.execute(change.values(last_used_at=now))
        except Unavailable:  # the key is right all the same: a busy database must not turn its owner away
            logger.warning("last use of a key not written", extra={"action": "key_use_not_written", "key": key.prefix})
        return key

    def _remember(self, hashed: str, key: ApiKey, now: datetime) -> ApiKey:
        if len(self._found) >= CACHE_SIZE:
            self._found.clear()
        self._found[hashed] = (now, key)
        return key


def _hash(secret: str) -> str:
    """SHA-256, not a slow password hash: a secret has 256 random bits, so nobody can guess it from its hash,
    and it is looked up with every request."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _fresh(stored: datetime, now: datetime) -> bool:
    return stored <= now < stored + CACHE_TTL


def _used_again(key: ApiKey, now: datetime) -> bool:
    return key.last_used_at is None or now - key.last_used_at >= LAST_USED_STEP


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        owner=row.owner,
        scopes=frozenset(row.scopes.split(",")),
        prefix=row.prefix,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )


def _matches(id_or_prefix: str) -> ColumnElement[bool]:
    if id_or_prefix.isdecimal():
        return api_keys.c.id == min(int(id_or_prefix), 2**63 - 1)
    if id_or_prefix.startswith(SECRET_PREFIX) and len(id_or_prefix) > SHOWN_CHARACTERS:
        return api_keys.c.key_hash == _hash(id_or_prefix)
    return api_keys.c.prefix == id_or_prefix


def _the_one(keys: list[ApiKey], asked: str) -> ApiKey:
    live = [key for key in keys if key.revoked_at is None]
    if len(live) > 1:
        raise Conflict(
            f"{len(live)} keys begin with {asked!r}.",
            remedy=f"Give the number of one: {', '.join(str(key.id) for key in live)}.",
        )
    if not keys:
        shown = asked if len(asked) <= SHOWN_CHARACTERS else asked[:SHOWN_CHARACTERS] + "…"
        raise NotFound(f"There is no key {shown!r}.", remedy="`kikitori keys list` shows them.")
    return (live or keys)[0]


def _checked_text(field: str, value: str) -> str:
    value = value.strip()
    if not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise InvalidOption(field, value, f"text of 1 to {MAX_TEXT} characters on one line")
    return value


def _checked_scopes(scopes: Iterable[str]) -> frozenset[str]:
    asked = frozenset(scope.strip() for scope in scopes)
    known = [scope.value for scope in Scope]
    if not asked or not asked <= set(known):
        raise InvalidOption("scopes", ",".join(sorted(asked)), f"one or more of {', '.join(known)}")
    return asked
