"""A recording that a request brings with it, or names: a form with a file, or a link in a form or in JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
from fastapi import Request

from kikitori.errors import InvalidInput, InvalidOption, KikitoriError, Unsupported
from kikitori.media import disk
from kikitori.media.sites import Playlist
from kikitori.web import bodies
from kikitori.web.disconnect import while_connected
from kikitori.web.multipart import FILE_FIELD, Fields
from kikitori.web.state import WebState

URL_FIELD = "url"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """On disk for as long as the request runs."""

    path: Path
    name: str
    """What its owner calls it; for people, never a path."""
    size_bytes: int
    fields: Fields
    """The other fields of the request."""
    source: str
    """The field it came by."""

    @contextmanager
    def blamed(self) -> Generator[None, None, None]:
        """What is wrong with the recording is wrong with the field it came by."""
        try:
            yield
        except KikitoriError as exc:
            if exc.param == FILE_FIELD:
                exc.param = self.source
            raise


@asynccontextmanager
async def received(request: Request, state: WebState) -> AsyncGenerator[Recording, None]:
    """The recording of ``request``. Its file is removed at the end, whatever happens.

    Raises what ``Uploads.receive`` and ``Fetcher.fetch`` raise, ClientGone.
    """
    kind = bodies.content_type(request)
    if kind == bodies.JSON:
        fields = _fields(await bodies.json_object(request))
    elif kind == bodies.URLENCODED:
        fields = await bodies.form_fields(request)
    else:
        async with state.uploads.receive_many(request, max_files=1) as form:
            if form.files and form.fields.one(URL_FIELD):
                raise InvalidInput("The form has a file and a url.", remedy="Send one of them.", param=URL_FIELD)
            for file in form.files:
                yield Recording(
                    path=file.path, name=file.name, size_bytes=file.size_bytes, fields=form.fields, source=FILE_FIELD
                )
                return
            fields = form.fields
    async with _fetched(request, state, fields) as recording:
        yield recording


@asynccontextmanager
async def _fetched(request: Request, state: WebState, fields: Fields) -> AsyncGenerator[Recording, None]:
    url, fetcher = fields.one(URL_FIELD), state.services.fetcher
    if not url:
        raise InvalidInput(
            "There is no recording.", remedy="Send it as the form field `file`, or a link as `url`.", param=FILE_FIELD
        )
    if fetcher is None:
        raise Unsupported("This server fetches no links.", param=URL_FIELD)
    async with while_connected(request.receive):
        found = await fetcher.fetch(url, state.uploads.folder)
    if isinstance(found, Playlist):
        raise InvalidOption(URL_FIELD, url, "a link to one recording; this one leads to a list")
    try:
        yield Recording(
            path=found.path, name=found.file_name, size_bytes=found.size_bytes, fields=fields, source=URL_FIELD
        )
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(disk.remove, found.path)


def _fields(values: dict[str, object]) -> Fields:
    """The members of a JSON object as a form has them; null is left out."""
    items: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise InvalidOption(name, value, "text or a number")
        if value is not None:
            items.append((name, str(value)))
    return Fields(tuple(items))
