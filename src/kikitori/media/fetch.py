"""A link → a recording on disk: what it leads to is either the media itself or a page of a video site."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from kikitori.errors import KikitoriError, LinkFailed
from kikitori.media.download import Download, LeadsToPage, TurnedAway
from kikitori.media.guard import CONNECT_SECONDS, READ_SECONDS, Guard, guarded_client
from kikitori.media.links import is_site, link_in
from kikitori.media.sites import Entry, Fetched, OnProgress, Playlist, Sites, UnknownSite

__all__ = ["Entry", "Fetched", "Fetcher", "OnProgress", "Playlist"]


class Fetcher:
    """Fetches links within bounds of size and time."""

    def __init__(
        self,
        guard: Guard,
        sites: Sites,
        *,
        max_bytes: int = 2 * 1024**3,
        max_seconds: float = 3_600.0,
        read_timeout: float = READ_SECONDS,
        pause_seconds: float = 1.0,
    ) -> None:
        self._guard = guard
        self._sites = sites
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._timeout = httpx.Timeout(read_timeout, connect=CONNECT_SECONDS)
        self._pause_seconds = pause_seconds

    def check(self, text: str, *, param: str = "url") -> str:
        """The link in ``text``, for the moment a task is made: nothing is fetched. Raises InvalidInput."""
        link = link_in(text, param=param)
        self._guard.check_link(link, param=param)
        return link

    async def fetch(
        self, text: str, folder: Path, *, on_progress: OnProgress | None = None, param: str = "url"
    ) -> Fetched | Playlist:
        """What the link in ``text`` leads to, as a new file in ``folder``; nothing stays there when it fails.

        Cancelling it stops everything that it started. Raises LinkFailed, SiteFailed, LiveStream, ForbiddenAddress,
        InvalidInput, TooLarge, NoSpace, Unavailable.
        """
        url = self.check(text, param=param)
        try:
            async with asyncio.timeout(self._max_seconds):
                return await self._fetch(url, folder, on_progress, param)
        except TimeoutError as exc:
            raise LinkFailed(
                f"{httpx.URL(url).host} took longer than {self._max_seconds:.0f} s.",
                remedy="Try again later, or ask the operator for a higher KIKITORI_MAX_FETCH_SECONDS.",
                param=param,
            ) from exc

    async def _fetch(self, url: str, folder: Path, on_progress: OnProgress | None, param: str) -> Fetched | Playlist:
        if is_site(url):
            return await self._sites.fetch(url, folder, on_progress=on_progress, param=param)
        try:
            return await self._download(url, folder, on_progress, param)
        except LeadsToPage as found:
            page = found.url if is_site(found.url) else url
            return await self._sites.fetch(page, folder, on_progress=on_progress, param=param)
        except TurnedAway as found:  # some sites turn away whoever is no browser, but not their extractor
            error: KikitoriError = found.error
        except LinkFailed as exc:
            if not self._sites.proxied:
                raise
            error = exc
        try:
            return await self._sites.fetch(url, folder, on_progress=on_progress, known_only=True, param=param)
        except UnknownSite:
            raise error from None

    async def _download(self, url: str, folder: Path, on_progress: OnProgress | None, param: str) -> Fetched:
        async with guarded_client(
            self._guard,
            param=param,
            timeout=self._timeout,
            max_bytes=self._max_bytes,
            follow_redirects=True,
            keep_cookies=True,
        ) as client:
            return await Download(
                client,
                url,
                folder,
                max_bytes=self._max_bytes,
                on_progress=on_progress,
                pause_seconds=self._pause_seconds,
                param=param,
            ).run()
