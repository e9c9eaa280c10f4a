"""Signatures of callbacks, after the Standard Webhooks specification, and the secrets behind them.

The server has one secret, and for a while perhaps its former one: a callback is signed with both then, and receivers
verify it with whichever they have. The secret of an owner is made from it and from the owner's name, so that no owner
can sign what another owner's receivers believe, and nothing has to be stored for each of them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from standardwebhooks import Webhook

from kikitori.errors import InvalidOption

PREFIX = "whsec_"
MADE_BYTES = 32
LEAST_BYTES, MOST_BYTES = 24, 64
"""What the specification allows."""
STORED_NAME = "callback_secret"


class Secrets(Protocol):
    """Secrets that all nodes share; ``store.secrets.SecretStore``."""

    async def get_or_create(self, name: str, make: Callable[[], str]) -> str: ...


class Signer:
    """Signs for each owner with a secret of its own; the owner ``""`` has the server's."""

    def __init__(self, secret: str, *, former: str = "") -> None:
        """``former``: what receivers may still verify with. Raises InvalidOption."""
        self._keys = [_key_of(secret)]
        if former:
            self._keys.append(_key_of(former, setting="former_callback_secret"))

    def secret(self, owner: str) -> str:
        """What a receiver of ``owner`` verifies with."""
        return _secret_of(self._keys[0], owner)

    def headers(self, owner: str, *, id: str, at: datetime, body: bytes) -> dict[str, str]:
        """The signature of ``body``, sent ``at`` (aware) under the webhook id ``id``."""
        text = body.decode()
        secrets = [_secret_of(key, owner) for key in self._keys]
        signatures = [Webhook(secret).sign(msg_id=id, timestamp=at, data=text) for secret in secrets]
        return {
            "webhook-id": id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


async def open_signer(configured: str, secrets: Secrets, *, former: str = "") -> Signer:
    """A signer with the secret of the settings, or, when that is empty, with the one that the first start made."""
    return Signer(configured or await secrets.get_or_create(STORED_NAME, make_secret), former=former)


def make_secret() -> str:
    return _written(os.urandom(MADE_BYTES))


def _secret_of(key: bytes, owner: str) -> str:
    if not owner:
        return _written(key)
    return _written(hmac.digest(key, b"kikitori callbacks of " + owner.encode(), hashlib.sha256))


def _written(key: bytes) -> str:
    return PREFIX + base64.b64encode(key).decode()


def _key_of(secret: str, *, setting: str = "callback_secret") -> bytes:
    text = secret.removeprefix(PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if text == secret or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        # The value itself is a secret.
        allowed = f"{PREFIX} and {LEAST_BYTES} to {MOST_BYTES} bytes as base64"
        raise InvalidOption(setting, "***", allowed)
    return key
