"""Files of the pages that come with the installation, and the headers that keep everything else out of them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import Request, Response

from kikitori.errors import NotFound

INDEX = "index.html"
NOBODY = "'none'"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
"""Of every kind of file that a page may consist of; others are not served."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
"""A page runs its own files alone and talks to this server alone. WebSockets of the same address are 'self' too."""


def headers(framers: Collection[str] = ()) -> dict[str, str]:
    """Of every file of a page; ``framers`` are the origins whose pages may show it in a frame."""
    ancestors = " ".join(framers) or "'none'"
    return {
        "cache-control": "no-cache",  # kept, but asked for again: names of files stay the same from version to version
        "content-security-policy": f"{POLICY}; frame-ancestors {ancestors}",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "microphone=(self), screen-wake-lock=(self), camera=(), geolocation=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file of a page."""

    body: bytes
    content_type: str
    etag: str


@cache
def folder(name: str) -> Mapping[str, Asset]:
    """All files of the page ``name`` by their path below its folder."""
    return dict(_walk(files("kikitori.web") / "static" / name, ""))


def make_asset(name: str, body: bytes) -> Asset:
    return Asset(
        body=body, content_type=CONTENT_TYPES[_suffix(name)], etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    )


def answer(request: Request, found: Asset | None, name: str, *, page: str, framers: Collection[str] = ()) -> Response:
    """The file, or that it has not changed. Raises NotFound when there is none, with the ``page`` to open."""
    if found is None:
        raise NotFound(f"There is no {name!r} here.", remedy=f"Open {page}.")
    told = headers(framers) | {"etag": found.etag}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if found.etag in known:
        return Response(status_code=304, headers=told)
    return Response(found.body, headers=told | {"content-type": found.content_type})


def _walk(place: Traversable, path: str) -> Iterator[tuple[str, Asset]]:
    for entry in place.iterdir():
        name = f"{path}{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, f"{name}/")
        elif _suffix(name) in CONTENT_TYPES:
            yield name, make_asset(name, entry.read_bytes())


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2]}"
