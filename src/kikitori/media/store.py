"""Where media lies until its task is deleted: a folder, or an object store that all nodes share.

Keys are made here, of the task's id and a random part; names of clients never become paths.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread

from kikitori.errors import KikitoriError, NotFound, StoreFailed
from kikitori.media import disk

logger = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9_]{1,100}")
_MARK = r"(?:-(?P<mark>[0-9a-f]{8}))?"
_KEY = re.compile(rf"[A-Za-z0-9_-]{{1,4}}/(?P<task>[A-Za-z0-9_]{{1,100}}){_MARK}-[0-9a-f]{{16}}(\.[a-z0-9]{{1,8}})?")
IDENTITY = "store-id"
ARRIVING = "arriving"
"""The folder, inside a store that is a folder, for files that are still being copied."""
DAY_SECONDS = 24 * 3_600.0
MAX_THREADS = 8

T = TypeVar("T")


class Place(Protocol):
    """What a store has to do; blocking. Raises FileNotFoundError, OSError and whatever its library raises."""

    def put(self, path: Path, key: str) -> None:
        """Move ``path`` there: it is there as a whole or not at all."""

    def fetch(self, key: str, path: Path) -> None: ...

    def local(self, key: str) -> Path | None:
        """The file itself, where it lies on a disk of this machine."""

    def delete(self, key: str) -> None: ...

    def read(self, name: str) -> bytes: ...

    def write_new(self, name: str, data: bytes) -> None:
        """Raises FileExistsError."""

    def names(self, before: float) -> list[str]:
        """All keys that were last written before this time."""

    def sweep(self) -> None: ...


class MediaStore:
    """Keeps recordings by key. Empty ``url``: the folder ``media`` in ``data_dir``."""

    def __init__(self, url: str, data_dir: Path, *, mark: str = "") -> None:
        """``mark``: 8 hexadecimal digits that tell our database from others that use the same store."""
        self.url, self._mark = url, mark
        self.temporary = data_dir / "tmp"
        self._data_dir = data_dir
        self._place: Place | None = None
        self._threads = anyio.CapacityLimiter(MAX_THREADS)

    @property
    def is_folder(self) -> bool:
        """It may be on this machine only; nodes compare ``identity()``."""
        return not self.url or "://" not in self.url or self.url.startswith("file://")

    async def save(self, path: Path, *, task_id: str, suffix: str = "") -> str:
        """Take ``path`` over, which is gone then, and say its key. Raises NoSpace, Unavailable."""
        assert _ID.fullmatch(task_id), "ids of tasks are made by us"
        marked = f"{task_id}-{self._mark}" if self._mark else task_id
        key = f"{task_id[-2:]}/{marked}-{secrets.token_hex(8)}{disk.plain_suffix(suffix)}"
        await self._do(lambda place: place.put(path, key))
        return key

    @asynccontextmanager
    async def local(self, key: str) -> AsyncGenerator[Path, None]:
        """A file to read, which is nobody's to change. Raises NotFound, NoSpace, Unavailable."""
        _check(key)
        path = await self._do(lambda place: place.local(key), reads=True)
        if path is not None:
            yield path
            return
        copy = disk.temporary(self.temporary, "media", PurePosixPath(key).suffix)
        try:
            await self._do(partial(_fetch, key=key, path=copy), reads=True)
            yield copy
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(disk.remove, copy)

    async def delete(self, key: str) -> None:
        """Does nothing when it is not there. Raises Unavailable."""
        _check(key)
        try:
            await self._do(lambda place: place.delete(key), reads=True)
        except NotFound:
            pass

    async def keys(self, *, older_than_seconds: float = 0.0) -> list[str]:
        """Everything that is there for so long. Raises Unavailable."""
        return sorted(await self._found(older_than_seconds))

    async def own_keys(self, *, older_than_seconds: float) -> dict[str, str]:
        """What was saved with our mark, and the id of the task it was saved for. Raises Unavailable."""
        found = await self._found(older_than_seconds)
        return {key: match["task"] for key, match in found.items() if self._mark and match["mark"] == self._mark}

    async def check(self) -> None:
        """Write, read and delete. Raises Unavailable, which says what is wrong."""
        name, data = f"check-{secrets.token_hex(8)}", secrets.token_bytes(16)

        def check(place: Place) -> None:
            place.write_new(name, data)
            try:
                if place.read(name) != data:
                    raise self._failed("gives back other data than it took")
            finally:
                place.delete(name)

        await self._do(check)

    async def identity(self) -> str:
        """The same on every node that sees the same store. Raises Unavailable."""

        def identity(place: Place) -> str:
            try:
                return place.read(IDENTITY).decode("ascii")
            except FileNotFoundError:
                pass
            try:
                place.write_new(IDENTITY, secrets.token_hex(16).encode())
            except FileExistsError:
                pass  # another node was faster
            return place.read(IDENTITY).decode("ascii")

        return await self._do(identity)

    async def sweep(self) -> None:
        """Remove temporary files that processes which are gone left behind; for the start."""
        await anyio.to_thread.run_sync(disk.remove_leftovers, self.temporary)
        await self._do(lambda place: place.sweep())

    async def _found(self, older_than_seconds: float) -> dict[str, re.Match[str]]:
        names = await self._do(lambda place: place.names(time.time() - older_than_seconds))
        return {name: match for name in names if (match := _KEY.fullmatch(name))}

    async def _do(self, work: Callable[[Place], T], *, reads: bool = False) -> T:
        """``reads``: what is not found has been deleted; anywhere else the store itself is missing."""
        return await anyio.to_thread.run_sync(self._blocking, work, reads, limiter=self._threads)

    def _blocking(self, work: Callable[[Place], T], reads: bool) -> T:
        with self._clear_errors():
            if self._place is None:
                self._place = _Folder(self._folder()) if self.is_folder else _Objects(self.url)
            try:
                return work(self._place)
            except FileNotFoundError as exc:
                if reads:
                    raise _gone() from exc
                raise

    def _folder(self) -> Path:
        if not self.url:
            return self._data_dir / "media"
        return Path(unquote(urlsplit(self.url).path) if "://" in self.url else self.url).expanduser().absolute()

    @contextmanager
    def _clear_errors(self) -> Generator[None, None, None]:
        try:
            yield
        except KikitoriError:
            raise
        except ImportError as exc:
            raise self._failed(
                "needs a library that is not installed", remedy="Run `pip install 'kikitori[s3]'`."
            ) from exc
        except ValueError as exc:
            raise self._failed(
                "is of no known kind", remedy="KIKITORI_MEDIA_URL is like file:///folder or s3://bucket/folder."
            ) from exc
        except Exception as exc:  # whatever the library of a store raises
            if isinstance(exc, OSError) and exc.errno in disk.FULL:
                raise disk.no_space() from exc
            logger.exception("media store failed", extra={"action": "media_failed"})
            raise self._failed("cannot be used", remedy="The log of the server says why.") from exc

    def _failed(self, what_is_wrong: str, *, remedy: str = "") -> StoreFailed:
        return StoreFailed(f"The media store {self._shown} {what_is_wrong}.", remedy=remedy, what="media store")

    @property
    def _shown(self) -> str:
        """Without a password."""
        if "@" in self.url:
            parts = urlsplit(self.url)
            return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        return self.url or str(self._data_dir / "media")


def _check(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise _gone()


def _gone() -> NotFound:
    return NotFound("The media is not there any more.", remedy="Send it again.")


def _fetch(place: Place, *, key: str, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.fetch(key, path)


class _Folder:
    """Files below a folder, on this machine or a shared disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, path: Path, key: str) -> None:
        target = self._root / key
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_dev == target.parent.stat().st_dev:
            path.replace(target)
            return
        arriving = self._arriving()
        try:
            shutil.copyfile(path, arriving)
            arriving.replace(target)
        finally:
            disk.remove(arriving)
        disk.remove(path)

    def fetch(self, key: str, path: Path) -> None:
        shutil.copyfile(self._root / key, path)

    def local(self, key: str) -> Path | None:
        path = self._root / key
        if not path.is_file():
            raise FileNotFoundError(key)
        return path

    def delete(self, key: str) -> None:
        (self._root / key).unlink()

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def write_new(self, name: str, data: bytes) -> None:
        arriving = self._arriving()
        try:
            arriving.write_bytes(data)
            os.link(arriving, self._root / name)  # unlike a move, it does not replace
        finally:
            disk.remove(arriving)

    def names(self, before: float) -> list[str]:
        return [
            path.relative_to(self._root).as_posix()
            for path in self._root.glob("*/*")
            if path.parent.name != ARRIVING and (changed := _modified(path)) is not None and changed < before
        ]

    def sweep(self) -> None:
        """Another machine may be copying; after a day it is not."""
        for path in (self._root / ARRIVING).glob("*"):
            if (changed := _modified(path)) is not None and changed < time.time() - DAY_SECONDS:
                disk.remove(path)

    def _arriving(self) -> Path:
        path = self._root / ARRIVING / secrets.token_hex(16)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return path


class _Objects:
    """Objects of any store that fsspec knows; an upload is there as a whole or not at all."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if urlsplit(url).scheme == "s3":
            options["config_kwargs"] = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3}}
        self._system, root = url_to_fs(url, **options)
        self._root = str(root).rstrip("/")

    def put(self, path: Path, key: str) -> None:
        self._system.put_file(str(path), self._at(key))
        disk.remove(path)

    def fetch(self, key: str, path: Path) -> None:
        self._system.get_file(self._at(key), str(path))

    def local(self, key: str) -> Path | None:
        return None

    def delete(self, key: str) -> None:
        self._system.rm_file(self._at(key))

    def read(self, name: str) -> bytes:
        return bytes(self._system.cat_file(self._at(name)))

    def write_new(self, name: str, data: bytes) -> None:
        self._system.pipe_file(self._at(name), data, mode="create")

    def names(self, before: float) -> list[str]:
        found: dict[str, Any] = self._system.find(self._root, detail=True)
        return [
            name.removeprefix(f"{self._root}/")
            for name, information in found.items()
            if (changed := _changed(information)) is None or changed < before
        ]

    def sweep(self) -> None:
        """Uploads that broke off are the store's to remove (a lifecycle rule)."""

    def _at(self, key: str) -> str:
        return f"{self._root}/{key}"


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # it was removed meanwhile
        return None


def _changed(information: dict[str, Any]) -> float | None:
    when = information.get("LastModified") or information.get("mtime") or information.get("created")
    return when.timestamp() if isinstance(when, datetime) else when
