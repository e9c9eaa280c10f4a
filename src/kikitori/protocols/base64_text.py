"""Base64 of any length → bytes, piece by piece, so that a large file is never in memory twice."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

PIECE_CHARACTERS = 1024 * 1024
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
"""What browsers put before a file that they read as a data URL."""


def decoded(text: str, *, piece_characters: int = PIECE_CHARACTERS) -> Iterator[bytes]:
    """The bytes behind ``text``. Line breaks and missing padding are forgiven; raises ValueError for anything else."""
    head = _DATA_URL.match(text)
    rest, ended = "", False
    for at in range(head.end() if head else 0, len(text), piece_characters):
        piece = rest + "".join(text[at : at + piece_characters].split())
        whole = len(piece) - len(piece) % 4
        piece, rest = piece[:whole], piece[whole:]
        if piece:
            yield _piece(piece, ended=ended)
            ended = piece.endswith("=")
    if rest:
        yield _piece(rest + "=" * (-len(rest) % 4), ended=ended)


def _piece(text: str, *, ended: bool) -> bytes:
    if ended:
        raise ValueError("there is more behind its end")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError(str(exc).lower()) from exc
