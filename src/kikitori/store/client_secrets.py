"""Client secrets: made with a key for a program that must not have it, good for live sessions, for minutes."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, or_, select

from kikitori.errors import Busy
from kikitori.store.database import Database
from kikitori.store.keys import utc_now
from kikitori.store.tables import api_keys, client_secrets

logger = logging.getLogger(__name__)

SECRET_PREFIX = "ek_"
SECRET_BYTES = 32
MAX_SECRET = 200
SHOWN_CHARACTERS = len(SECRET_PREFIX) + 8
MAX_OF_OWNER = 10_000
"""Secrets of one owner that may be alive at once."""
RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecret:
    """What a secret opens; the secret itself is nowhere."""

    owner: str
    key_id: int | None
    """The API key it was made with; None: there was none."""
    session: Mapping[str, Any]
    """How its sessions begin."""
    expires_at: datetime


class ClientSecretStore:
    """Secrets in the database, so that any node knows them. Expired ones are removed when new ones are made."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    async def create(
        self, session: Mapping[str, Any], *, lifetime: timedelta, owner: str, key_id: int | None = None
    ) -> tuple[str, ClientSecret]:
        """A new secret, which nobody can show again. Raises Busy when the owner has too many."""
        secret, now = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES), self._now()
        # Clients are told whole seconds.
        expires_at = (now + lifetime).replace(microsecond=0)
        row = {
            "secret_hash": _hash(secret),
            "owner": owner,
            "key_id": key_id,
            "session": dict(session),
            "created_at": now,
            "expires_at": expires_at,
        }
        of_owner = select(func.count()).where(client_secrets.c.owner == owner)
        async with self._database.write() as connection:
            await connection.execute(delete(client_secrets).where(client_secrets.c.expires_at <= now))
            if ((await connection.scalar(of_owner)) or 0) >= MAX_OF_OWNER:
                raise Busy("There are too many client secrets.", retry_after=RETRY_SECONDS)
            await connection.execute(insert(client_secrets).values(row))
        shown = secret[:SHOWN_CHARACTERS]
        logger.info("client secret made", extra={"action": "client_secret_made", "secret": shown, "owner": owner})
        return secret, ClientSecret(owner=owner, key_id=key_id, session=session, expires_at=expires_at)

    async def verify(self, secret: str) -> ClientSecret | None:
        """What ``secret`` opens; None when it has expired, never was, or its API key was revoked."""
        if not secret.startswith(SECRET_PREFIX) or len(secret) > MAX_SECRET:
            return None
        live_keys = select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None))
        wanted = select(client_secrets).where(
            client_secrets.c.secret_hash == _hash(secret),
            client_secrets.c.expires_at > self._now(),
            or_(client_secrets.c.key_id.is_(None), client_secrets.c.key_id.in_(live_keys)),
        )
        async with self._database.read() as connection:
            row = (await connection.execute(wanted)).one_or_none()
        if row is None:
            return None
        return ClientSecret(owner=row.owner, key_id=row.key_id, session=row.session, expires_at=row.expires_at)


def _hash(secret: str) -> str:
    """SHA-256 suffices: nobody guesses 256 random bits from their hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
