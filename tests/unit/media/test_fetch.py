from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.media.conftest import Answer, Site, body, endless, names, redirect, running, stalled, status

from kikitori.errors import ForbiddenAddress, InvalidInput, InvalidMedia, LinkFailed, NoSpace, TooLarge
from kikitori.media import disk
from kikitori.media.fetch import Fetched, Fetcher
from kikitori.media.guard import Guard
from kikitori.media.sites import OnProgress, Playlist, Sites, UnknownSite

RIFF = b"RIFF\x24\x00\x00\x00WAVE" + bytes(range(256)) * 40


class FakeSites(Sites):
    """Remembers which pages it was asked for."""

    def __init__(self) -> None:
        super().__init__(Guard())
        self.pages: list[tuple[str, bool]] = []
        self.known = False
        self.through_proxy = False

    @property
    def proxied(self) -> bool:
        return self.through_proxy

    async def fetch(
        self,
        url: str,
        folder: Path,
        *,
        on_progress: OnProgress | None = None,
        known_only: bool = False,
        param: str = "url",
    ) -> Fetched | Playlist:
        self.pages.append((url, known_only))
        if known_only and not self.known:
            raise UnknownSite
        return Playlist(details={"title": "a list"}, entries=())


@pytest.fixture
def sites() -> FakeSites:
    return FakeSites()


@pytest.fixture
def fetcher(near: Guard, sites: FakeSites) -> Fetcher:
    return Fetcher(near, sites, max_bytes=1_000_000, pause_seconds=0.0)


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    """What a fetch leaves behind is what it returned, or nothing."""
    made = tmp_path / "tmp"
    yield made
    assert set(names_in(made)) == _kept
    _kept.clear()


_kept: set[str] = set()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.exists() else []


async def fetch(fetcher: Fetcher, url: str, folder: Path, on_progress: OnProgress | None = None) -> Fetched:
    found = await fetcher.fetch(url, folder, on_progress=on_progress)
    assert isinstance(found, Fetched)
    _kept.add(found.path.name)
    return found


# What works ------------------------------------------------------------------------------------------------------


async def test_a_direct_link_becomes_a_file_with_a_name(site: Site, fetcher: Fetcher, folder: Path) -> None:
    site.pages["/talks/monday.wav"] = body(RIFF)
    told: list[tuple[int, int | None]] = []
    found = await fetch(fetcher, site.url("/talks/monday.wav?token=1"), folder, lambda *facts: told.append(facts))
    assert found.path.read_bytes() == RIFF
    assert (found.file_name, found.size_bytes, found.path.suffix) == ("monday.wav", len(RIFF), ".wav")
    assert told[-1] == (len(RIFF), len(RIFF))
    assert found.path.parent == folder and found.path.stat().st_mode & 0o077 == 0


async def test_a_link_in_a_share_text_is_fetched(site: Site, fetcher: Fetcher, folder: Path) -> None:
    site.pages["/a.wav"] = body(RIFF)
    found = await fetch(fetcher, f"看看这个 {site.url('/a.wav')} ，复制", folder)
    assert found.size_bytes == len(RIFF)


async def test_names_of_servers_never_become_paths(site: Site, fetcher: Fetcher, folder: Path) -> None:
    site.pages["/"] = body(RIFF, content_disposition='attachment; filename="../../../evil/../x.s/h"')
    found = await fetch(fetcher, site.url(), folder)
    assert found.path.parent == folder and found.file_name == "h"


async def test_a_page_is_left_to_the_sites(site: Site, fetcher: Fetcher, sites: FakeSites, folder: Path) -> None:
    site.pages |= {
        "/html": body(b"<!doctype html><title>x</title>", "text/html; charset=utf-8"),
        "/unlabelled": body(b"\n <html>", "application/octet-stream"),
        "/stream.m3u8": body(b"#EXTM3U\n", "application/vnd.apple.mpegurl"),
    }
    for path in site.pages:
        assert isinstance(await fetcher.fetch(site.url(path), folder), Playlist)
    assert sites.pages == [(site.url(path), False) for path in site.pages]


async def test_media_that_is_called_html_is_media(site: Site, fetcher: Fetcher, folder: Path) -> None:
    site.pages["/"] = body(RIFF, "text/html")
    assert (await fetch(fetcher, site.url(), folder)).size_bytes == len(RIFF)


async def test_a_share_text_of_a_large_site_goes_to_its_extractor_at_once(
    fetcher: Fetcher, sites: FakeSites, folder: Path
) -> None:
    await fetcher.fetch("7.43 复制打开抖音 https://v.douyin.com/iRNBho6u/ 01/12", folder)
    assert sites.pages == [("https://v.douyin.com/iRNBho6u/", False)]


async def test_a_redirect_to_a_large_site_is_taken_for_that_site(
    site: Site, sites: FakeSites, near: Guard, folder: Path
) -> None:
    fetcher = Fetcher(Guard(near.networks, names(short_example="127.0.0.1", www_tiktok_com="127.0.0.1")), sites)
    video = site.url("/@ann/video/1", host="www.tiktok.com")
    site.pages |= {"/x": redirect(video), "/@ann/video/1": body(b"<html>", "text/html")}
    await fetcher.fetch(site.url("/x", host="short.example"), folder)
    assert sites.pages == [(video, False)]


async def test_a_site_that_turns_us_away_is_asked_through_its_extractor(
    site: Site, fetcher: Fetcher, sites: FakeSites, folder: Path
) -> None:
    sites.known = True
    site.pages["/video/1"] = status(403, b"<html>no</html>", **{"content-type": "text/html"})
    assert isinstance(await fetcher.fetch(site.url("/video/1"), folder), Playlist)
    assert sites.pages == [(site.url("/video/1"), True)]


async def test_what_this_machine_cannot_reach_is_tried_through_the_proxy_of_the_sites(
    fetcher: Fetcher, sites: FakeSites, folder: Path
) -> None:
    async with running(Site()) as closed:
        pass
    sites.known = sites.through_proxy = True
    assert isinstance(await fetcher.fetch(closed.url("/video/1"), folder), Playlist)
    assert sites.pages == [(closed.url("/video/1"), True)]


async def test_a_download_that_breaks_off_goes_on_where_it_was(site: Site, fetcher: Fetcher, folder: Path) -> None:
    attempts: list[str] = []

    async def breaking(writer: asyncio.StreamWriter) -> None:
        start = int(site.asked[-1].headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        attempts.append(site.asked[-1].headers.get("if-range", ""))
        line = "206 Partial Content" if start else "200 OK"
        head = f'HTTP/1.1 {line}\r\ncontent-length: {len(RIFF) - start}\r\netag: "v1"\r\n\r\n'
        writer.write(head.encode() + RIFF[start : start + 4_000])

    site.pages["/a.wav"] = breaking
    found = await fetch(fetcher, site.url("/a.wav"), folder)
    assert found.path.read_bytes() == RIFF
    assert attempts == ["", '"v1"', '"v1"']


async def test_a_download_that_cannot_go_on_begins_again(site: Site, fetcher: Fetcher, folder: Path) -> None:
    async def once_broken(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(RIFF)}\r\n\r\n".encode()
        writer.write(head + (RIFF[:4_000] if len(site.asked) == 1 else RIFF))

    site.pages["/a.wav"] = once_broken
    assert (await fetch(fetcher, site.url("/a.wav"), folder)).path.read_bytes() == RIFF


async def test_a_server_in_trouble_is_asked_again(site: Site, fetcher: Fetcher, folder: Path) -> None:
    async def busy_once(writer: asyncio.StreamWriter) -> None:
        await (status(503) if len(site.asked) < 3 else body(RIFF))(writer)

    site.pages["/a.wav"] = busy_once
    assert (await fetch(fetcher, site.url("/a.wav"), folder)).size_bytes == len(RIFF)


# What does not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (status(404, b"gone"), "404: it is not there"),
        (status(410), "410: it is not there"),
        (status(403), "403: it is not given out"),
        (status(418), "answers 418"),
        (status(503), "answers 503"),
        (body(b""), "empty file"),
        (body(b"packed", content_encoding="gzip"), "packed"),
        (status(200, RIFF[:100], **{"content-length": "1000"}), "broke off"),
    ],
)
async def test_a_link_that_brings_nothing_says_why(
    site: Site, fetcher: Fetcher, folder: Path, answer: Answer, message: str
) -> None:
    site.pages["/"] = answer
    with pytest.raises(LinkFailed, match=message) as caught:
        await fetcher.fetch(site.url(), folder)
    assert caught.value.param == "url"


async def test_a_link_that_stops_answering_is_left(site: Site, near: Guard, sites: FakeSites, folder: Path) -> None:
    """With the patience of a moment: any other test here could take longer on a busy machine."""
    site.pages["/"] = stalled(RIFF)
    with pytest.raises(LinkFailed, match="stopped answering") as caught:
        await Fetcher(near, sites, read_timeout=0.2, pause_seconds=0.0).fetch(site.url(), folder)
    assert caught.value.param == "url"


@pytest.mark.parametrize("kind", ["application/json", "image/png"])
async def test_what_is_clearly_no_recording_is_refused(site: Site, fetcher: Fetcher, folder: Path, kind: str) -> None:
    site.pages["/"] = body(b'{"a": 1}', kind)
    with pytest.raises(InvalidMedia, match=kind):
        await fetcher.fetch(site.url(), folder)


async def test_an_announced_size_of_100_gb_is_refused_at_once(site: Site, fetcher: Fetcher, folder: Path) -> None:
    site.pages["/"] = status(200, RIFF, **{"content-length": str(100 * 10**9)})
    with pytest.raises(TooLarge):
        await fetcher.fetch(site.url(), folder)
    assert len(site.asked) == 1 and names_in(folder) == []


async def test_an_endless_link_is_cut_at_the_bound(site: Site, fetcher: Fetcher, folder: Path) -> None:
    site.pages["/"] = endless()
    async with asyncio.timeout(60):
        with pytest.raises(TooLarge):
            await fetcher.fetch(site.url(), folder)
        await site.gone.wait()


async def test_an_endless_trickle_is_cut_by_the_time(site: Site, near: Guard, sites: FakeSites, folder: Path) -> None:
    site.pages["/"] = endless(pause=0.02)
    fetcher = Fetcher(near, sites, max_bytes=10**12, max_seconds=0.3)
    with pytest.raises(LinkFailed, match="took longer") as caught:
        await fetcher.fetch(site.url(), folder)
    assert "KIKITORI_MAX_FETCH_SECONDS" in caught.value.remedy
    async with asyncio.timeout(60):
        await site.gone.wait()


async def test_cancelling_half_way_closes_the_connection_and_removes_the_file(
    site: Site, near: Guard, sites: FakeSites, folder: Path
) -> None:
    site.pages["/"] = stalled(RIFF * 200, length=10_000_000)
    half = asyncio.Event()
    fetcher = Fetcher(near, sites)
    work = asyncio.create_task(fetcher.fetch(site.url(), folder, on_progress=lambda done, total: half.set()))
    async with asyncio.timeout(60):
        await half.wait()
        assert len(names_in(folder)) == 1
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await site.gone.wait()
    assert names_in(folder) == []


async def test_a_full_disk_is_told_and_nothing_stays(
    site: Site, fetcher: Fetcher, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk, "write_all", full)
    site.pages["/"] = body(RIFF)
    with pytest.raises(NoSpace) as caught:
        await fetcher.fetch(site.url(), folder)
    assert caught.value.code == "no_space"
    assert names_in(folder) == []


async def test_a_file_that_does_not_fit_is_refused_before_it_comes(
    site: Site, fetcher: Fetcher, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    site.pages["/"] = body(RIFF)
    with pytest.raises(NoSpace):
        await fetcher.fetch(site.url(), folder)


async def test_redirects_to_the_inside_are_refused(site: Site, fetcher: Fetcher, folder: Path) -> None:
    site.pages["/"] = redirect("http://169.254.169.254/latest/meta-data")
    with pytest.raises(ForbiddenAddress):
        await fetcher.fetch(site.url(), folder)


def test_a_bad_link_is_refused_when_a_task_is_made(fetcher: Fetcher) -> None:
    for text in ("nothing", "file:///etc/passwd", "http://10.0.0.1/", "http://user:pw@media.example/"):
        with pytest.raises(InvalidInput):
            fetcher.check(text)
    assert fetcher.check("看看 https://media.example/a.mp3 。") == "https://media.example/a.mp3"
