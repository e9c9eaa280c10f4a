"""A direct link → a file: bounded, gone on with after a break, and known for what it is by its first bytes."""

from __future__ import annotations

import asyncio
import mimetypes
from io import FileIO
from pathlib import Path, PurePath
from typing import Any

import anyio
import anyio.to_thread
import httpx

from kikitori.errors import InvalidMedia, KikitoriError, LinkFailed, TooLarge
from kikitori.media import disk
from kikitori.media.guard import link_errors
from kikitori.media.links import name_of
from kikitori.media.sites import Fetched, OnProgress

WRITE_BYTES = 1024 * 1024
"""What comes is gathered to this size before a thread writes it."""
SNIFF_BYTES = 512
ATTEMPTS = 4
"""In a row that bring nothing new."""
TROUBLE = (429, 500, 502, 503, 504)
PAGES = ("text/html", "application/xhtml+xml")
STREAMS = (b"#EXTM3U", b"<MPD", b"<?xml")
"""Lists of the pieces of a recording begin like this; the sites' library puts them together."""

_threads = anyio.CapacityLimiter(8)


class LeadsToPage(Exception):
    """Not media, but a page that may have some on it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


class TurnedAway(Exception):
    """The server answers with ``error``; for a browser it might do more."""

    def __init__(self, error: KikitoriError) -> None:
        super().__init__(str(error))
        self.error = error


class _BrokeOff(Exception):
    """It may work in a moment; if not, ``error`` is why."""

    def __init__(self, error: KikitoriError) -> None:
        super().__init__(str(error))
        self.error = error


class Download:
    """Brings one link into a folder."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        folder: Path,
        *,
        max_bytes: int,
        on_progress: OnProgress | None = None,
        pause_seconds: float = 1.0,
        param: str = "url",
    ) -> None:
        """``client`` is a guarded one that follows redirects."""
        self._client = client
        self._url = url
        self._host = httpx.URL(url).host
        self._folder = folder
        self._max_bytes = max_bytes
        self._tell = on_progress or (lambda done, total: None)
        self._pause_seconds = pause_seconds
        self._param = param
        self._path: Path | None = None
        self._done = 0
        self._version = ""
        """The strong ETag of what has come; empty: it cannot be gone on with."""
        self._name = ""

    async def run(self) -> Fetched:
        """Nothing stays when it fails.

        Raises LeadsToPage, TurnedAway, LinkFailed, InvalidMedia, ForbiddenAddress, TooLarge, NoSpace, Unavailable.
        """
        try:
            await self._try_again_and_again()
        except BaseException:  # also when cancelled
            await self._drop()
            raise
        assert self._path
        return Fetched(path=self._path, size_bytes=self._done, file_name=self._name, details={})

    async def _try_again_and_again(self) -> None:
        failures = 0
        while True:
            before = self._done
            try:
                await self._attempt()
                return
            except _BrokeOff as exc:
                failures = 1 if self._done > before else failures + 1
                if failures == ATTEMPTS:
                    raise exc.error from exc
            await asyncio.sleep(self._pause_seconds * 2 ** (failures - 1))

    async def _attempt(self) -> None:
        if not self._version:
            self._done = 0
        going_on = {"range": f"bytes={self._done}-", "if-range": self._version} if self._done else {}
        try:
            with link_errors(self._host, param=self._param):
                async with self._client.stream("GET", self._url, headers=going_on) as answer:
                    self._check_status(answer)
                    await self._receive(answer)
        except LinkFailed as exc:
            if isinstance(exc.__cause__, httpx.TransportError):
                raise _BrokeOff(exc) from exc
            raise

    async def _receive(self, answer: httpx.Response) -> None:
        if answer.status_code != httpx.codes.PARTIAL_CONTENT:
            self._done = 0
        total = self._total(answer)
        if total is not None and total > self._max_bytes:
            raise self._too_large()
        blocks = answer.aiter_bytes()  # as they come: blocks of one size would be lost in part when it breaks off
        start = b""
        if not self._done:
            while len(start) < SNIFF_BYTES and (block := await anext(blocks, b"")):
                start += block
            self._check_kind(answer, start)
            await self._begin(answer, total)
        assert self._path
        with disk.disk_errors():
            file = await anyio.to_thread.run_sync(_open_at, self._path, self._done, limiter=_threads)
        with file:
            gathered = bytearray(start)
            try:
                async for data in blocks:
                    gathered += data
                    if len(gathered) >= WRITE_BYTES:
                        await self._write(file, gathered, total)
                        gathered = bytearray()
            except httpx.TransportError:
                await self._write(file, gathered, total)  # the next attempt goes on from here
                raise
            await self._write(file, gathered, total)

    async def _write(self, file: FileIO, data: bytearray, total: int | None) -> None:
        if self._done + len(data) > self._max_bytes:
            raise self._too_large()
        with disk.disk_errors():
            await anyio.to_thread.run_sync(disk.write_all, file, data, limiter=_threads)
        self._done += len(data)
        self._tell(self._done, total)

    async def _begin(self, answer: httpx.Response, total: int | None) -> None:
        """A new file for the first byte."""
        await self._drop()
        self._name = name_of(str(answer.url), answer.headers.get("content-disposition", ""))
        etag = answer.headers.get("etag", "")
        self._version = "" if etag.startswith("W/") else etag
        suffix = PurePath(self._name).suffix or mimetypes.guess_extension(_kind(answer)) or ""
        path = disk.temporary(self._folder, "fetch", suffix)
        with disk.disk_errors():
            await anyio.to_thread.run_sync(disk.check_room, self._folder, total or 0, limiter=_threads)
            self._path = path
            (await anyio.to_thread.run_sync(disk.create, path, limiter=_threads)).close()

    async def _drop(self) -> None:
        if self._path:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(disk.remove, self._path)
            self._path = None

    def _check_status(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if answer.is_success:
            return
        remedy = "Check the link."
        if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            reason = ": it is not there"
        elif status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            reason, remedy = ": it is not given out", "Use a link that is open to all, such as a signed one."
        elif status in TROUBLE:
            reason, remedy = "", "Try again later."
        else:
            reason = ""
        error = LinkFailed(f"{self._host} answers {status}{reason}.", remedy=remedy, param=self._param)
        if status in TROUBLE and _kind(answer) not in PAGES:
            raise _BrokeOff(error)
        raise TurnedAway(error)

    def _check_kind(self, answer: httpx.Response, start: bytes) -> None:
        """Raises LeadsToPage and InvalidMedia. Many servers know little of media types, so the bytes count for more."""
        if not start:
            raise LinkFailed("The link leads to an empty file.", param=self._param)
        if answer.extensions.get("content_encoding", "identity") != "identity":
            raise LinkFailed(
                f"{self._host} sends the file packed.", remedy="Send a link to the file itself.", param=self._param
            )
        head = start[:SNIFF_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
        if head.startswith((b"<", *STREAMS)) or (_kind(answer) in PAGES and b"\0" not in start):
            raise LeadsToPage(str(answer.url))
        kind = _kind(answer)
        if kind == "application/json" or kind.startswith(("image/", "font/")):
            raise InvalidMedia(f"The link leads to {kind}.", remedy="Send a link to audio or video.", param=self._param)

    def _total(self, answer: httpx.Response) -> int | None:
        announced = answer.headers.get("content-length", "")
        return self._done + int(announced) if announced.isascii() and announced.isdigit() else None

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"The recording is larger than {self._max_bytes / 1e6:,.0f} MB.",
            remedy="Ask the operator for a higher limit.",
            param=self._param,
        )


def _open_at(path: Path, position: int) -> Any:
    """What stands behind ``position`` goes."""
    file = path.open("r+b", buffering=0)
    file.seek(position)
    file.truncate()
    return file


def _kind(answer: httpx.Response) -> str:
    return str(answer.headers.get("content-type", "")).partition(";")[0].strip().lower()
