"""Multipart bodies written by hand, as odd as clients make them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

BOUNDARY = "----kikitori"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def field(name: str, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return f'Content-Disposition: form-data; name="{name}"'.encode() + b"\r\n\r\n" + data


def file(content: bytes = b"RIFF", *, name: str = "file", filename: str | None = "a.wav", kind: str = "") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"'
    head += f'; filename="{filename}"' if filename is not None else ""
    head += f"\r\nContent-Type: {kind}" if kind else ""
    return head.encode() + b"\r\n\r\n" + content


def form(*parts: bytes, boundary: str = BOUNDARY) -> bytes:
    line = f"--{boundary}".encode()
    return b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + line + b"--\r\n"


async def in_pieces(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    """A body whose length nobody announces."""
    for piece in pieces:
        yield piece
