"""The live page: files that come with the installation, and nothing from anywhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from kikitori.text.languages import LANGUAGE_NAMES
from kikitori.web.addresses import base_url, console_origin
from kikitori.web.assets import INDEX, Asset, answer, folder, make_asset
from kikitori.web.state import State

router = APIRouter(include_in_schema=False)

PAGE = "/live"
LANGUAGES = "languages.json"
"""Made here: the codes of the languages that Whisper knows."""


def framers(request: Request, state: State) -> list[str]:
    """Origins of consoles, which may show the page in a frame."""
    settings = state.services.settings
    own = console_origin(base_url(request, settings), settings)
    return [*settings.console_origins, *([own] if own else [])]


Framers = Annotated[list[str], Depends(framers)]


@router.get("/live")
async def live(request: Request, shown_by: Framers) -> Response:
    """The page."""
    return answer(request, assets()[INDEX], INDEX, page=PAGE, framers=shown_by)


@router.get("/live/{name:path}")
async def asset(name: str, request: Request, framers: Framers) -> Response:
    """A file of the page; its addresses are relative, so that it also works below a path of a reverse proxy."""
    if not name:
        return RedirectResponse("../live")
    return answer(request, assets().get(name), name, page=PAGE, framers=framers)


@cache
def assets() -> Mapping[str, Asset]:
    """All files of the page by their path below ``/live/``."""
    return {**folder("live"), LANGUAGES: make_asset(LANGUAGES, json.dumps(list(LANGUAGE_NAMES)).encode())}
