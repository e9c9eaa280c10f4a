"""Uploads stream to disk, under the data folder, and are gone when their request is."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.requests import Request

from kikitori.errors import InvalidMedia, Unavailable
from kikitori.media import disk
from kikitori.web.disconnect import ClientGone
from kikitori.web.multipart import MAX_FIELD_BYTES, Fields, FormReader, Piece, upload_too_large

logger = logging.getLogger(__name__)

WRITE_BYTES = 1024 * 1024
"""Pieces of a file are gathered to this size before a thread writes them."""
FORM_SLACK_BYTES = MAX_FIELD_BYTES + 1024 * 1024
"""What a body may hold besides the file."""
MAX_WRITERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A form that has arrived: its fields, and its file on disk."""

    path: Path
    size_bytes: int
    fields: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """One of several files on disk."""

    path: Path
    name: str
    """What the client calls it."""
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedForm:
    """A form that has arrived: its fields, and any number of files on disk."""

    fields: Fields
    files: tuple[UploadedFile, ...]


class Uploads:
    """Receives forms with files. Names from clients never become paths."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.threads = anyio.CapacityLimiter(MAX_WRITERS)

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncGenerator[Upload, None]:
        """The form of ``request`` with its one file, which is removed at the end, whatever happens.

        Raises InvalidInput, InvalidMedia, TooLarge (as soon as the bound is passed, whatever length
        was announced), NoSpace, Unavailable, ClientGone.
        """
        async with self._received(request, max_files=1, needs_file=True) as form:
            file = form.files[0]
            yield Upload(path=file.path, size_bytes=file.size_bytes, fields=form.fields)

    @asynccontextmanager
    async def receive_many(self, request: Request, *, max_files: int) -> AsyncGenerator[UploadedForm, None]:
        """The form of ``request`` with no file or several, together no larger than one may be.

        Files that still lie where they were received are removed at the end. Raises what ``receive`` raises.
        """
        async with self._received(request, max_files=max_files, needs_file=False) as form:
            yield form

    @asynccontextmanager
    async def receive_body(
        self, request: Request, *, head: bytes = b"", seen: Callable[[bytes], None] = lambda data: None
    ) -> AsyncGenerator[UploadedFile, None]:
        """The body of ``request`` as a file that begins with ``head``; removed at the end, whatever happens.

        ``seen`` is shown every piece of the body. Raises what ``receive`` raises.
        """
        self._check_announced(request)
        paths: list[Path] = []
        try:
            size = await self._save_body(request, paths, head, seen)
            if not size:
                raise InvalidMedia("The body is empty.", remedy="Send the recording as the body of the request.")
            yield UploadedFile(path=paths[0], name="", size_bytes=size)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_remove_all, paths, limiter=self.threads)

    async def _save_body(self, request: Request, paths: list[Path], head: bytes, seen: Callable[[bytes], None]) -> int:
        """Bytes of the body."""
        writer, size = await self._create(paths), 0
        writer.gathered += head
        try:
            async for data in _body(request):
                seen(data)
                size += len(data)
                if size > self.max_bytes:
                    raise upload_too_large(self.max_bytes)
                writer.gathered += data
                if len(writer.gathered) >= WRITE_BYTES:
                    await self._write(writer)
            await self._write(writer)
        finally:
            writer.file.close()
        return size

    @asynccontextmanager
    async def _received(
        self, request: Request, *, max_files: int, needs_file: bool
    ) -> AsyncGenerator[UploadedForm, None]:
        reader = FormReader(
            request.headers.get("content-type", ""),
            max_file_bytes=self.max_bytes,
            max_files=max_files,
            needs_file=needs_file,
        )
        self._check_announced(request)
        paths: list[Path] = []
        try:
            await self._save(request, reader, paths)
            fields = reader.finish()
            files = [
                UploadedFile(path=path, name=head.name, size_bytes=head.size_bytes)
                for path, head in zip(paths, reader.files, strict=True)
            ]
            if any(not file.size_bytes for file in files):
                raise InvalidMedia("The file is empty." if len(files) == 1 else "A file is empty.")
            yield UploadedForm(fields=fields, files=tuple(files))
        finally:
            with anyio.CancelScope(shield=True):  # the files go even when the request was cancelled
                await anyio.to_thread.run_sync(_remove_all, paths, limiter=self.threads)

    def remove_leftovers(self) -> None:
        """Remove what a process that was killed left behind. Blocking; for the start."""
        disk.remove_leftovers(self.folder)

    def _check_announced(self, request: Request) -> None:
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced) > self.max_bytes + FORM_SLACK_BYTES:
            raise upload_too_large(self.max_bytes)

    async def _save(self, request: Request, reader: FormReader, paths: list[Path]) -> None:
        """Read the body to its end, and write the files that are in it; ``paths`` grows with them."""
        received, writer = 0, None
        try:
            async for data in _body(request):
                received += len(data)
                if received > self.max_bytes + FORM_SLACK_BYTES:
                    raise upload_too_large(self.max_bytes)
                pieces = reader.feed(data)
                while len(paths) < len(reader.files):
                    if writer is not None:
                        await self._finish(writer, pieces, len(paths) - 1)
                    writer = await self._create(paths)
                if writer is not None:
                    writer.take(pieces, len(paths) - 1)
                    if len(writer.gathered) >= WRITE_BYTES:
                        await self._write(writer)
            if writer is not None:
                await self._write(writer)
        finally:
            if writer is not None:
                writer.file.close()

    async def _create(self, paths: list[Path]) -> _Writer:
        path = disk.temporary(self.folder, "upload")
        paths.append(path)  # first: what is made is removed
        with _disk_errors():
            return _Writer(await anyio.to_thread.run_sync(_create, path, limiter=self.threads))

    async def _finish(self, writer: _Writer, pieces: list[Piece], index: int) -> None:
        """The last bytes of a file that another one follows."""
        writer.take(pieces, index)
        try:
            await self._write(writer)
        finally:
            writer.file.close()

    async def _write(self, writer: _Writer) -> None:
        data, writer.gathered = writer.gathered, bytearray()
        with _disk_errors():
            await anyio.to_thread.run_sync(_write_all, writer.file, data, limiter=self.threads)


@dataclass(slots=True)
class _Writer:
    """An open file, and what has not been written to it."""

    file: FileIO
    gathered: bytearray = field(default_factory=bytearray)

    def take(self, pieces: list[Piece], index: int) -> None:
        for piece in pieces:
            if piece.file == index:
                self.gathered += piece.data


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
        if exc.errno in disk.FULL:
            raise disk.no_space() from exc
        raise Unavailable("The server cannot store the upload.", remedy="Its log says why.") from exc


def _create(path: Path) -> FileIO:
    """A new file that only we can read; unbuffered, because pieces are gathered already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "w")


def _write_all(file: FileIO, data: bytearray) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def _remove_all(paths: list[Path]) -> None:
    for path in paths:
        disk.remove(path)
