"""Ids as OpenAI's look: a word for the kind, and letters that never come twice."""

from __future__ import annotations

import secrets
import string

LETTERS = string.ascii_letters + string.digits
LENGTH = 21


def new_id(kind: str) -> str:
    """``item_…``, ``event_…``"""
    return f"{kind}_{''.join(secrets.choice(LETTERS) for _ in range(LENGTH))}"
