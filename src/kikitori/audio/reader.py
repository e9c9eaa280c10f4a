"""What libav reads from: a file, an object with ``read``, or a pipe.

libav gets Python objects only, never a name or an address: a name like ``http:…`` or a playlist
inside an upload must not make it open anything else.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from kikitori.errors import InvalidMedia, KikitoriError
from kikitori.types import Media

HEAD_BYTES = 16
COPY_BYTES = 1 << 20
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""First boxes of MP4 and its kin, the containers whose index may stand at the end."""


class Reader:
    """A binary file as libav wants it. Errors of the file wait in ``failure``.

    An exception inside a callback of libav would surface at some later call, or nowhere;
    so a failing read looks like the end of the file, and ``check`` raises afterwards.
    """

    def __init__(self, file: IO[bytes], *, owned: bool) -> None:
        self._file = file
        self._owned = owned
        self._seekable = _rewind(file)
        self.failure: Exception | None = None
        self.head = b""
        """The first bytes that were read."""

    def read(self, size: int) -> bytes:
        try:
            data = bytes(self._file.read(size) or b"")
            self._keep(data)
        except Exception as exc:  # whatever the file raises: see the class
            self.failure = self.failure or exc
            return b""
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1  # a place that cannot be: damaged files point there, and libav knows what to do

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return self._seekable

    @property
    def is_mp4(self) -> bool:
        return self.head[4:8] in BOXES

    def check(self) -> None:
        """Raise what went wrong while reading, as one of our errors."""
        if isinstance(self.failure, KikitoriError):
            raise self.failure
        if self.failure is not None:
            raise _unreadable(self.failure) from self.failure

    def close(self) -> None:
        if self._owned:
            self._file.close()

    def _keep(self, data: bytes) -> None:
        """Told of everything that is read."""

    def forget(self) -> None:
        """Nothing read so far is needed again."""

    def from_start(self) -> Reader | None:
        """The same bytes again, seekable, where a second try makes sense and is possible."""
        return None


class PipeReader(Reader):
    """A file that cannot seek. Keeps what it gives out until ``forget``, for a second try:

    an MP4 may have its index at the end, and then it can be read only by seeking.
    """

    def __init__(self, file: IO[bytes], *, owned: bool) -> None:
        super().__init__(file, owned=owned)
        self._kept: IO[bytes] | None = tempfile.TemporaryFile()

    def _keep(self, data: bytes) -> None:
        if self._kept is not None:
            self._kept.write(data)

    def forget(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def from_start(self) -> Reader | None:
        if self._kept is None or not self.is_mp4:
            return None
        while self.read(COPY_BYTES):
            pass
        self.check()
        kept, self._kept = self._kept, None
        return Reader(kept, owned=True)

    def close(self) -> None:
        self.forget()
        super().close()


def open_reader(media: Media) -> Reader:
    """``media`` from its start; a pipe from where it is. Raises InvalidMedia if it cannot be read."""
    owned = isinstance(media, str | Path)
    try:
        file: IO[bytes] = Path(media).open("rb") if isinstance(media, str | Path) else media
    except (OSError, ValueError) as exc:
        raise _unreadable(exc) from exc
    return Reader(file, owned=owned) if _rewind(file) else PipeReader(file, owned=owned)


def _rewind(file: IO[bytes]) -> bool:
    """Go to the start of ``file``, if it can."""
    with suppress(OSError, AttributeError, ValueError):
        if file.seekable():
            file.seek(0)
            return True
    return False


def _unreadable(exc: Exception) -> InvalidMedia:
    reason = getattr(exc, "strerror", None) or "reading failed"
    return InvalidMedia(
        f"The file cannot be read: {reason}.", remedy="Check that it exists, is a file and may be read."
    )
