"""Temporary files of a process: named after it, refused when there is no room, removed when it is gone."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from kikitori.errors import NoSpace, Unavailable
from kikitori.processes import process_runs

logger = logging.getLogger(__name__)

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NAME = re.compile(r"(?:fetch|site|media|upload)-(?P<pid>\d+)-[0-9a-f]{32}(?:\.\w{1,8})?")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


def temporary(folder: Path, kind: str, suffix: str = "") -> Path:
    """A new path for ``kind`` (fetch, site, media, upload), that the next start knows for a leftover."""
    return folder / f"{kind}-{os.getpid()}-{secrets.token_hex(16)}{plain_suffix(suffix)}"


def plain_suffix(suffix: str) -> str:
    """``suffix`` when it is harmless in a path, else nothing."""
    return suffix.lower() if _SUFFIX.fullmatch(suffix.lower()) else ""


def create(path: Path) -> FileIO:
    """A new file that only we can read; unbuffered, because pieces are gathered already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "w")


def write_all(file: FileIO, data: bytes | bytearray) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def check_room(folder: Path, size_bytes: int) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < size_bytes:
        raise no_space()


def no_space() -> NoSpace:
    return NoSpace("The disk of the server is full.", remedy="The operator has to make room; then try again.")


@contextmanager
def disk_errors() -> Generator[None, None, None]:
    """A full or broken disk is the server's fault, and says so."""
    try:
        yield
    except OSError as exc:
        if exc.errno in FULL:
            logger.error("disk full", extra={"action": "disk_full"})
            raise no_space() from exc
        logger.exception("media not stored", extra={"action": "media_failed"})
        raise Unavailable("The server cannot store the media.", remedy="Its log says why.") from exc


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as exc:  # whoever used it is done; the next start removes what stays
        logger.warning(
            "temporary file not removed", extra={"action": "media_stays", "file": path.name, "reason": str(exc)}
        )


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this machine that are gone left in ``folder``. Blocking; for the start."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        found = _NAME.fullmatch(path.name)
        if found and not process_runs(int(found["pid"])):
            remove(path)
            logger.info("temporary file left over removed", extra={"action": "media_removed", "file": path.name})
