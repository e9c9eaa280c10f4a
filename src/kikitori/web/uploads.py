"""Uploads stream to disk, under the data folder, and are gone when their request is."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.requests import Request

from kikitori.errors import InvalidMedia, Unavailable
from kikitori.web.disconnect import ClientGone
from kikitori.web.multipart import MAX_FIELD_BYTES, Fields, FormReader, upload_too_large

logger = logging.getLogger(__name__)

WRITE_BYTES = 1024 * 1024
"""Pieces of a file are gathered to this size before a thread writes them."""
FORM_SLACK_BYTES = MAX_FIELD_BYTES + 1024 * 1024
"""What a body may hold besides the file."""
MAX_WRITERS = 8
_NAME = re.compile(r"upload-(?P<pid>\d+)-[0-9a-f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A form that has arrived: its fields, and its file on disk."""

    path: Path
    size_bytes: int
    fields: Fields


class Uploads:
    """Receives forms with one file. Names from clients never become paths."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._threads = anyio.CapacityLimiter(MAX_WRITERS)

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncGenerator[Upload, None]:
        """The form of ``request``; its file is removed at the end, whatever happens.

        Raises InvalidInput, InvalidMedia, TooLarge (as soon as the bound is passed, whatever length
        was announced), Unavailable (no room), ClientGone.
        """
        reader = FormReader(request.headers.get("content-type", ""), max_file_bytes=self.max_bytes)
        self._check_announced(request)
        path = self.folder / f"upload-{os.getpid()}-{secrets.token_hex(16)}"
        try:
            await self._save(request, reader, path)
            fields = reader.finish()
            if not reader.file_bytes:
                raise InvalidMedia("The file is empty.")
            yield Upload(path=path, size_bytes=reader.file_bytes, fields=fields)
        finally:
            with anyio.CancelScope(shield=True):  # the file goes even when the request was cancelled
                await anyio.to_thread.run_sync(_remove, path, limiter=self._threads)

    def remove_leftovers(self) -> None:
        """Remove what a process that was killed left behind. Blocking; for the start."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            found = _NAME.fullmatch(path.name)
            if found and (int(found["pid"]) == os.getpid() or not _alive(int(found["pid"]))):
                _remove(path)
                logger.info("upload left over removed", extra={"action": "upload_removed", "file": path.name})

    def _check_announced(self, request: Request) -> None:
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced) > self.max_bytes + FORM_SLACK_BYTES:
            raise upload_too_large(self.max_bytes)

    async def _save(self, request: Request, reader: FormReader, path: Path) -> None:
        """Read the body to its end, and write the file that is in it."""
        received, gathered = 0, bytearray()
        with _disk_errors():
            file = await anyio.to_thread.run_sync(_create, path, limiter=self._threads)
        with file:
            async for data in _body(request):
                received += len(data)
                if received > self.max_bytes + FORM_SLACK_BYTES:
                    raise upload_too_large(self.max_bytes)
                for piece in reader.feed(data):
                    gathered += piece
                if len(gathered) >= WRITE_BYTES:
                    await self._write(file, gathered)
                    gathered = bytearray()
            await self._write(file, gathered)

    async def _write(self, file: FileIO, data: bytearray) -> None:
        with _disk_errors():
            await anyio.to_thread.run_sync(_write_all, file, data, limiter=self._threads)


async def _body(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it comes; ClientGone when it breaks off with the connection."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if data := message.get("body", b""):
            yield data
        if not message.get("more_body", False):
            return


@contextmanager
def _disk_errors() -> Generator[None, None, None]:
    """A full or broken disk is the server's fault, and says so."""
    try:
        yield
    except OSError as exc:
        logger.exception("upload not stored", extra={"action": "upload_failed"})
        raise Unavailable("The server cannot store the upload.", remedy="Its disk may be full.") from exc


def _create(path: Path) -> FileIO:
    """A new file that only we can read; unbuffered, because pieces are gathered already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "w")


def _write_all(file: FileIO, data: bytearray) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:  # the request has its answer; the next start removes what stays
        logger.warning("upload not removed", extra={"action": "upload_stays", "file": path.name, "reason": str(exc)})


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # there, asking would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
