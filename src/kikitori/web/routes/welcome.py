"""``/``: what runs here, where to go, and how to call it, with the address that this page was opened with."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from kikitori import __version__
from kikitori.errors import Unavailable
from kikitori.settings import Settings
from kikitori.web.addresses import base_url, console_origin
from kikitori.web.assets import INDEX, answer, folder, headers
from kikitori.web.state import State, WebState

router = APIRouter(include_in_schema=False)

PAGE = "/"
FOLDER = "welcome"
PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")


@router.get("/")
async def home(request: Request, state: State) -> Response:
    """The page; it works without scripts, which add the models and the light."""
    page = folder(FOLDER)[INDEX].body.decode()
    facts = await _facts(request, state)
    written = PLACEHOLDER.sub(lambda found: html.escape(facts[found[1]]), page)
    return Response(written, headers=headers() | {"vary": "host"}, media_type="text/html; charset=utf-8")


@router.get("/welcome/{name:path}")
async def asset(name: str, request: Request) -> Response:
    """A file of the page."""
    found = None if name == INDEX else folder(FOLDER).get(name)
    return answer(request, found, name, page=PAGE)


async def _facts(request: Request, state: WebState) -> Mapping[str, str]:
    base = base_url(request, state.services.settings)
    locked = await _needs_key(state)
    return {
        "version": __version__,
        "base": base,
        "socket": f"ws{base.removeprefix('http')}",
        "console": _console(base, state.services.settings),
        "access": "keys" if locked else "open",
        "curl_key": ' \\\n  -H "Authorization: Bearer $KIKITORI_API_KEY"' if locked else "",
        "python_key": "KEY" if locked else "none",
        "socket_key": "?api_key=KEY" if locked else "",
    }


def _console(base: str, settings: Settings) -> str:
    """Where people find the console; behind a reverse proxy it has an address of its own."""
    if settings.console and settings.public_url and settings.console_origins:
        return settings.console_origins[0]
    return console_origin(base, settings)


async def _needs_key(state: WebState) -> bool:
    try:
        return await state.services.keys.any() or not state.open_without_keys
    except Unavailable:  # the page shall say that the server is not ready, rather than nothing
        return True
