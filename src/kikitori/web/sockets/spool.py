"""A file that arrives over a socket: on disk, under a name of ours, and gone when it is no longer wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from io import FileIO
from pathlib import Path

import anyio
import anyio.to_thread

from kikitori.errors import InvalidInput, InvalidMedia
from kikitori.media import disk
from kikitori.protocols.base64_text import decoded
from kikitori.protocols.file_request import upload_too_large
from kikitori.web.sockets.to_the_end import to_the_end
from kikitori.web.uploads import WRITE_BYTES


class Spool:
    """Takes a file by ``write`` or ``fill``; ``remove`` at the end, whatever happens."""

    def __init__(self, folder: Path, *, max_bytes: int, threads: anyio.CapacityLimiter) -> None:
        self.path = disk.temporary(folder, "media")
        self.size_bytes = 0
        self.complete = asyncio.Event()
        self._max_bytes, self._threads = max_bytes, threads
        self._gathered = bytearray()
        self._file: FileIO | None = None
        self._removed = False
        self._lock = asyncio.Lock()

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """The next bytes. Raises TooLarge, NoSpace, Unavailable."""
        self.size_bytes += len(data)
        if self.size_bytes > self._max_bytes:
            raise upload_too_large(self._max_bytes, param="size")
        self._gathered += data
        if last or len(self._gathered) >= WRITE_BYTES:
            gathered, self._gathered = self._gathered, bytearray()
            await self._locked(partial(self._append, gathered, last=last))
        if last:
            self.complete.set()

    async def fill(self, audio: str) -> None:
        """The whole file in base64. Raises InvalidInput, InvalidMedia, TooLarge, NoSpace, Unavailable."""
        await self._locked(partial(self._append_all, decoded(audio)))
        if not self.size_bytes:
            raise InvalidMedia("The file is empty.", param="audio")
        self.complete.set()

    async def remove(self) -> None:
        """Close the file and remove it, if it is still there."""
        await self._locked(self._remove)

    async def _locked(self, work: Callable[[], None]) -> None:
        """A thread's work goes on when its task is cancelled, so it is waited for: the file must not go under it."""

        async def in_turn() -> None:
            async with self._lock:
                await anyio.to_thread.run_sync(work, limiter=self._threads)

        await to_the_end(in_turn())

    # In a thread, one at a time

    def _append(self, data: bytes | bytearray, *, last: bool = False) -> None:
        if self._removed:
            return
        with disk.disk_errors():
            if self._file is None:
                self._file = disk.create(self.path)
            disk.write_all(self._file, data)
            if last:
                self._file.close()

    def _append_all(self, pieces: Iterator[bytes]) -> None:
        try:
            for piece in pieces:
                self.size_bytes += len(piece)
                if self.size_bytes > self._max_bytes:
                    raise upload_too_large(self._max_bytes, param="audio")
                self._append(piece)
        except ValueError as exc:
            remedy = "Send the bytes of an audio or video file in base64."
            raise InvalidInput(f"audio is no base64: {exc}.", remedy=remedy, param="audio") from exc
        self._append(b"", last=True)

    def _remove(self) -> None:
        self._removed = True
        if self._file is not None:
            self._file.close()
            disk.remove(self.path)
