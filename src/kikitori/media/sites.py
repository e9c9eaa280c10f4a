"""Video sites, through yt-dlp in a child process that reaches nothing but what the guard allows."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from kikitori.errors import ForbiddenAddress, LinkFailed, LiveStream, SiteFailed, TooLarge
from kikitori.media import disk, site_worker
from kikitori.media.cookies import cookie_file
from kikitori.media.guard import Guard
from kikitori.media.links import PAGES, clean_name, is_short, is_within
from kikitori.media.proxy import GuardingProxy, check_proxy

logger = logging.getLogger(__name__)

LINE_BYTES = 16 * 1024 * 1024
"""Of one line that the child says; a long playlist is one line."""
START_SECONDS = 120.0
"""Without a word from the child before it has found anything."""
TRAFFIC_SLACK_BYTES = 64 * 1024 * 1024
"""Pages and scripts, besides the media."""
FILE_SLACK_BYTES = 1024 * 1024
"""yt-dlp counts too and says it better; the limit of the process is for what it does not count."""
KEPT_VARIABLES = ("SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR", "LANG", "LC_ALL", "TZ")

DETAILS = ("title", "author", "duration", "page", "upload_date", "site", "id")

OnProgress = Callable[[int, int | None], None]
"""Told the bytes that are here, and the bytes there will be where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A recording that has arrived. ``path`` is a temporary file, from now on the caller's."""

    path: Path
    size_bytes: int
    file_name: str
    details: Mapping[str, Any]
    """Of DETAILS, what is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recording of a playlist."""

    url: str
    title: str = ""
    duration: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Playlist:
    """A link to many recordings."""

    details: Mapping[str, Any]
    entries: tuple[Entry, ...]
    more: bool = False
    """There are more than the limit."""


class UnknownSite(Exception):
    """No extractor is made for this link. Only raised where ``known_only`` asks for it."""


class Sites:
    """Fetches from video sites, each link in a process of its own."""

    def __init__(
        self,
        guard: Guard,
        *,
        cookies: Mapping[str, str] | None = None,
        proxy: str = "",
        max_bytes: int = 2 * 1024**3,
        max_audio_seconds: float = 24 * 3_600.0,
        max_entries: int = 100,
    ) -> None:
        """``cookies`` by host, as cookie_file() takes them; ``proxy`` an HTTP proxy. Raises InvalidOption."""
        if proxy:
            check_proxy(proxy)
        self._guard = guard
        self._cookies = dict(cookies or {})
        cookie_file(self._cookies)  # a mistake in the settings is told at the start
        self._proxy = proxy
        self._max_bytes = max_bytes
        self._max_audio_seconds, self._max_entries = max_audio_seconds, max_entries

    @property
    def proxied(self) -> bool:
        """Sites may be reached that this machine does not reach by itself."""
        return bool(self._proxy)

    async def fetch(
        self,
        url: str,
        folder: Path,
        *,
        on_progress: OnProgress | None = None,
        known_only: bool = False,
        param: str = "url",
    ) -> Fetched | Playlist:
        """What is on the page ``url``, as a new file in ``folder``.

        There is no limit on its time: wrap it in asyncio.timeout(). Cancelling kills the child.

        Raises SiteFailed, LiveStream, LinkFailed, ForbiddenAddress, TooLarge, NoSpace, and UnknownSite.
        """
        self._guard.check_link(url, param=param)
        desk = disk.temporary(folder, "site")
        with disk.disk_errors():
            desk.mkdir(mode=0o700, parents=True)
        try:
            most = self._max_bytes + TRAFFIC_SLACK_BYTES
            async with GuardingProxy(self._guard, upstream=self._proxy, max_bytes=most) as proxy:
                job = {
                    "url": url,
                    "short": is_short(url),
                    "pages": PAGES,
                    "folder": str(desk),
                    "proxy": proxy.url,
                    "cookies": cookie_file(self._cookies),
                    "known_only": known_only,
                    "max_bytes": self._max_bytes,
                    "max_file_bytes": self._max_bytes + FILE_SLACK_BYTES,
                    "max_seconds": self._max_audio_seconds,
                    "max_entries": self._max_entries,
                    "runtimes": _runtimes(),
                }
                last = await _run(job, desk, on_progress)
                if last["event"] == "error" or proxy.overflowed:
                    raise self._error(last, proxy, url, param)
            return _result(last, desk, folder)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(disk.remove, desk)

    def _error(self, last: Mapping[str, Any], proxy: GuardingProxy, url: str, param: str) -> Exception:
        code, message = last.get("code", "too_large"), last.get("message", "")
        host = self._guard.check_link(url).host
        reason = message if code == "broken" else ""  # what a site says may name the recording
        logger.info("site failed", extra={"action": "site_failed", "host": host, "code": code, "reason": reason})
        if code == "unknown_site":
            return UnknownSite()
        if proxy.overflowed or code == "too_large":
            return TooLarge(
                f"The recording is larger than {self._max_bytes / 1e6:,.0f} MB.",
                remedy="Ask the operator for a higher limit.",
                param=param,
            )
        if code == "too_long":
            return TooLarge(
                f"The recording is longer than {self._max_audio_seconds:g} seconds.",
                remedy="Send it in parts, or ask the operator for a higher limit.",
                param=param,
            )
        if code == "no_space":
            return disk.no_space()
        if code == "live_stream":
            return LiveStream("This is a live stream.", remedy="Send the link again when it has ended.", param=param)
        if proxy.refused:
            return ForbiddenAddress(proxy.refused[0], param=param)
        if code == "nothing_there":
            return LinkFailed(
                "There is no recording on this page.", remedy="Send a link to one recording.", param=param
            )
        if code == "unreachable":
            return LinkFailed(f"{(proxy.unreached or [host])[0]} cannot be reached.", param=param)
        if code == "broken":
            return SiteFailed("The page cannot be read.", remedy="A newer yt-dlp may be able to.", param=param)
        return SiteFailed(f"{host} says: {message}", remedy=self._remedy(message, host), param=param)

    def _remedy(self, message: str, host: str) -> str:
        lower = message.lower()
        if any(word in lower for word in ("cookie", "log in", "login", "logged", "sign in", "private", "permission")):
            has_some = any(is_within(host, site) for site in self._cookies)
            what = "renew" if has_some else "set"
            return f"If it needs an account, the operator can {what} its cookies in KIKITORI_SITE_COOKIES."
        return "Open the page in a browser: is it still there, and public?"


def _result(last: Mapping[str, Any], desk: Path, folder: Path) -> Fetched | Playlist:
    details = {name: value for name, value in last.items() if name in DETAILS and value}
    if last["event"] == "playlist":
        entries = tuple(Entry(**entry) for entry in last["entries"])
        return Playlist(details=details, entries=entries, more=last["more"])
    found = desk / Path(last["file"]).name
    path = disk.temporary(folder, "fetch", found.suffix)
    found.replace(path)
    name = clean_name(f"{last['title'] or last['id']}{path.suffix}", default=f"recording{path.suffix}")
    return Fetched(path=path, size_bytes=path.stat().st_size, file_name=name, details=details)


async def _run(job: Mapping[str, Any], folder: Path, on_progress: OnProgress | None) -> dict[str, Any]:
    """The child's last word."""
    async with _child(folder) as child:
        await asyncio.to_thread(child.give, json.dumps(job).encode() + b"\n")
        found = False
        while True:
            try:
                async with asyncio.timeout(None if found else START_SECONDS):
                    line = await child.said.readline()
            except TimeoutError:
                return {"event": "error", "code": "unreachable"}
            if not line:
                break
            said: dict[str, Any] = json.loads(line)
            if said["event"] == "progress":
                if on_progress:
                    on_progress(said["done"], said["total"])
            elif said["event"] == "found":
                found = True
            else:
                return said
        code = await asyncio.to_thread(child.process.wait)
    return {"event": "error", "code": "broken", "message": f"the process ended with {code}"}


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    said: asyncio.StreamReader

    def give(self, data: bytes) -> None:
        """Blocks until the child has read it, or is gone."""
        assert self.process.stdin
        with suppress(OSError):
            self.process.stdin.write(data)
            self.process.stdin.flush()


@asynccontextmanager
async def _child(folder: Path) -> AsyncGenerator[_Child, None]:
    """A worker. Killed at the end, with what it started."""
    with anyio.CancelScope(shield=True):  # a process that was started is known
        process = await anyio.to_thread.run_sync(_spawn, folder)
    said = asyncio.StreamReader(limit=LINE_BYTES)
    reading = asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(said), process.stdout)
    transport: asyncio.ReadTransport | None = None
    try:
        transport, _ = await reading
        yield _Child(process, said)
    finally:
        _kill(process)
        if transport is not None:
            transport.close()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(process.wait)
        if process.stdin:
            with suppress(OSError):
                process.stdin.close()


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    """The worker, by its path and with -P: nothing of this folder, or of the current one, shadows a library.

    Not by the event loop: uvloop forks, and a fork while another thread multiplies matrices may leave that one waiting
    for ever (OpenBLAS stops its threads before a fork). ``subprocess`` spawns.
    """
    environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    environment |= {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "XDG_CACHE_HOME": str(folder),
        "PATH": str(folder / "none"),  # no other program is started but the one that the job names
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "YTDLP_NO_PLUGINS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(site_worker.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The child and what it started."""
    try:
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended by itself


def _runtimes() -> dict[str, dict[str, str]]:
    """Deno, where it is installed: one site's scripts want to be run, and Deno runs them without any rights."""
    deno = shutil.which("deno")
    return {"deno": {"path": deno}} if deno else {}
