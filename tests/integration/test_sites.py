"""The real yt-dlp, in its child process, against sites on loopback."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from glob import glob
from pathlib import Path

import psutil
import pytest
from tests.integration.web_of_sites import (
    NUMBER,
    Told,
    Web,
    douyin_detail,
    moved,
    running_web,
    tiktok_page,
    tiktok_video,
)
from tests.unit.media.conftest import Site, body, endless, running, stalled, status

from kikitori.errors import ForbiddenAddress, KikitoriError, LinkFailed, LiveStream, NoSpace, SiteFailed, TooLarge
from kikitori.media import site_worker
from kikitori.media.addresses import parse_networks
from kikitori.media.cookies import cookie_file
from kikitori.media.fetch import Fetcher
from kikitori.media.guard import Guard
from kikitori.media.sites import Entry, Fetched, Playlist, Sites
from kikitori.testing import until

NEAR = Guard.allowing(["127.0.0.0/8"])
VIDEO = b"\x00\x00\x00\x18ftypmp42" + b"video" * 1_000
SONG = b"ID3" + b"song" * 1_000
TIKTOK = f"https://www.tiktok.com/@ann/video/{NUMBER}"
DOUYIN = f"https://www.douyin.com/video/{NUMBER}"
COOKIES = {"douyin.com": "s_v_web_id=verify_0123456789; sid_tt=secretsession", "tiktok.com": "sessionid=tiktoksecret"}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running(Site()) as made:
        yield made


@pytest.fixture
async def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Web]:
    async with running_web(tmp_path) as made:
        monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
        made.pages |= {
            f"www.tiktok.com/@ann/video/{NUMBER}": lambda asked: tiktok_page(tiktok_video()),
            "v16-webapp.tiktokcdn.example/video/tos/abc/": lambda asked: Told(VIDEO, "video/mp4"),
            "music.tiktokcdn.example/obj/song.mp3": lambda asked: Told(SONG, "audio/mpeg"),
            "www.douyin.com/aweme/v1/web/aweme/detail/": douyin_detail,
            "v3-web.douyinvod.example/abc/video.mp4": lambda asked: Told(VIDEO, "video/mp4"),
        }
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tmp"


def page(*tags: str) -> bytes:
    return f"<!doctype html><html><head><title>A talk</title></head><body>{''.join(tags)}</body></html>".encode()


async def everywhere(host: str, port: int) -> list[str]:
    """Every name leads to one public address; the proxy of the test never dials it."""
    return ["93.184.216.34"]


def through(web: Web, cookies: Mapping[str, str] = {}) -> Sites:
    return Sites(Guard((), everywhere), proxy=web.proxy, cookies=cookies)


async def fetch(sites: Sites, url: str, folder: Path) -> Fetched:
    found = await sites.fetch(url, folder)
    assert isinstance(found, Fetched)
    assert glob(f"{folder}/*") == [str(found.path)], "the child's folder is gone"
    return found


# Any site --------------------------------------------------------------------------------------------------------


async def test_a_recording_on_a_page_is_fetched(site: Site, folder: Path, hello_wav: Path) -> None:
    sound = hello_wav.read_bytes()  # noqa: ASYNC240
    site.pages |= {"/talk": body(page('<audio src="/talk.wav"></audio>'), "text/html"), "/talk.wav": body(sound)}
    told: list[tuple[int, int | None]] = []
    found = await Fetcher(NEAR, Sites(NEAR)).fetch(
        site.url("/talk"), folder, on_progress=lambda *facts: told.append(facts)
    )
    assert isinstance(found, Fetched)
    assert found.path.read_bytes() == sound
    assert (found.file_name, found.size_bytes, found.path.suffix) == ("A talk.wav", len(sound), ".wav")
    assert found.details["title"] == "A talk" and found.details["page"] == site.url("/talk")
    assert told[-1][0] == len(sound)


async def test_a_page_with_many_recordings_is_a_list_up_to_a_limit(site: Site, folder: Path) -> None:
    items = [
        f"<item><title>Part {number}</title><guid>{number}</guid>"
        f'<enclosure url="https://media.example/{number}.mp3" type="audio/mpeg"/></item>'
        for number in range(1, 8)
    ]
    feed = f'<?xml version="1.0"?><rss version="2.0"><channel><title>Show</title>{"".join(items)}</channel></rss>'
    site.pages["/feed"] = body(feed.encode(), "application/rss+xml")
    found = await Fetcher(NEAR, Sites(NEAR, max_entries=5)).fetch(site.url("/feed"), folder)
    assert isinstance(found, Playlist)
    assert found.details["title"] == "Show" and found.more
    assert found.entries[0] == Entry(url="https://media.example/1.mp3", title="Part 1")
    assert len(found.entries) == 5 and site.paths == ["/feed", "/feed"]
    assert glob(f"{folder}/*") == []


async def test_a_page_without_a_recording_says_so(site: Site, folder: Path) -> None:
    site.pages["/"] = body(page("<p>Only words."), "text/html")
    with pytest.raises(LinkFailed, match="no recording on this page"):
        await Sites(NEAR).fetch(site.url(), folder)
    assert glob(f"{folder}/*") == []


async def test_a_page_that_is_gone_is_told_as_the_server_says(site: Site, folder: Path) -> None:
    site.pages["/gone"] = status(404, page("<p>Gone."), **{"content-type": "text/html"})
    with pytest.raises(LinkFailed, match="404: it is not there"):
        await Fetcher(NEAR, Sites(NEAR)).fetch(site.url("/gone"), folder)


async def test_a_stream_that_has_not_ended_is_refused(site: Site, folder: Path) -> None:
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXTINF:6,\n/piece.ts\n"
    site.pages |= {
        "/a/live.m3u8": body(playlist.format(1200).encode(), "application/vnd.apple.mpegurl"),
        "/piece.ts": body(b"G" * 188, "video/mp2t"),
    }
    with pytest.raises(LiveStream) as caught:
        await Fetcher(NEAR, Sites(NEAR)).fetch(site.url("/a/live.m3u8"), folder)
    assert caught.value.code == "live_stream"


async def test_a_stream_in_pieces_is_put_together(site: Site, folder: Path) -> None:
    pieces = {f"/{number}.ts": bytes([71, number]) * 94 for number in range(3)}
    lines = "".join(f"#EXTINF:6,\n{path}\n" for path in pieces)
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n"
    site.pages |= {path: body(content, "video/mp2t") for path, content in pieces.items()}
    site.pages["/talk.m3u8"] = body(f"{head}{lines}#EXT-X-ENDLIST\n".encode(), "application/vnd.apple.mpegurl")
    found = await Fetcher(NEAR, Sites(NEAR)).fetch(site.url("/talk.m3u8"), folder)
    assert isinstance(found, Fetched) and found.path.read_bytes() == b"".join(pieces.values())


# Bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inside", ["http://169.254.169.254/latest/meta-data.mp4", "http://[::1]:9/x.mp4", "https://10.0.0.1/x.mp4"]
)
async def test_a_page_cannot_lead_inside(site: Site, folder: Path, inside: str) -> None:
    site.pages["/"] = body(page(f'<video src="{inside}"></video>'), "text/html")
    with pytest.raises(ForbiddenAddress):
        await Sites(NEAR).fetch(site.url(), folder)


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "rtmp://127.0.0.1:9/live/x", "data:audio/wav;base64,UklGRg=="]
)
async def test_a_page_cannot_lead_to_anything_but_the_web(site: Site, folder: Path, target: str) -> None:
    site.pages["/"] = body(page(f'<video src="{target}"></video>'), "text/html")
    with pytest.raises(LinkFailed):
        await Sites(NEAR).fetch(site.url(), folder)
    assert glob(f"{folder}/*") == []


async def test_media_that_redirects_inside_is_refused(site: Site, folder: Path) -> None:
    site.pages |= {
        "/": body(page('<video src="/x.mp4"></video>'), "text/html"),
        "/x.mp4": status(302, location="http://10.0.0.1/secret"),
    }
    with pytest.raises(ForbiddenAddress):
        await Sites(NEAR).fetch(site.url(), folder)


async def test_endless_media_is_cut_at_the_bound(site: Site, folder: Path) -> None:
    site.pages |= {"/": body(page('<video src="/x.mp4"></video>'), "text/html"), "/x.mp4": endless("video/mp4")}
    with pytest.raises(TooLarge):
        await Sites(NEAR, max_bytes=1_000_000).fetch(site.url(), folder)
    assert glob(f"{folder}/*") == []


async def test_cancelling_kills_the_child_and_removes_its_folder(site: Site, folder: Path) -> None:
    site.pages |= {"/": body(page('<video src="/x.mp4"></video>'), "text/html"), "/x.mp4": stalled(VIDEO)}
    half = asyncio.Event()
    work = asyncio.create_task(Sites(NEAR).fetch(site.url(), folder, on_progress=lambda done, total: half.set()))
    async with asyncio.timeout(60):
        await half.wait()
        children = [child for child in psutil.Process().children() if "site_worker" in " ".join(child.cmdline())]
        assert len(children) == 1
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await site.gone.wait()
    assert not children[0].is_running()
    assert glob(f"{folder}/*") == []


async def test_a_site_that_takes_too_long_is_left(site: Site, folder: Path) -> None:
    site.pages |= {"/": body(page('<video src="/x.mp4"></video>'), "text/html"), "/x.mp4": stalled(VIDEO)}
    with pytest.raises(LinkFailed, match="took longer"):
        await Fetcher(NEAR, Sites(NEAR), max_seconds=3.0).fetch(site.url(), folder)
    assert glob(f"{folder}/*") == []


async def test_a_full_disk_is_told(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child may write files of a size only that is smaller than the media."""
    from kikitori.media import sites as module

    run = module._run

    async def small(job: Mapping[str, object], *others: object) -> dict[str, object]:
        return await run({**job, "max_file_bytes": 1_000}, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_run", small)
    site.pages |= {"/": body(page('<video src="/x.mp4"></video>'), "text/html"), "/x.mp4": body(VIDEO, "video/mp4")}
    with pytest.raises(NoSpace):
        await Sites(NEAR).fetch(site.url(), folder)
    assert glob(f"{folder}/*") == []


# TikTok and Douyin -----------------------------------------------------------------------------------------------


async def test_tiktok_gives_what_was_said_and_not_the_music(web: Web, folder: Path) -> None:
    found = await fetch(through(web), TIKTOK, folder)
    assert found.path.read_bytes() == VIDEO
    assert found.file_name == "What Ann said #talk.mp4"
    assert {name: found.details[name] for name in ("title", "author", "duration", "page", "site", "upload_date")} == {
        "title": "What Ann said #talk",
        "author": "Ann",
        "duration": 2.0,
        "page": TIKTOK,
        "site": "TikTok",
        "upload_date": "20231114",
    }
    assert set(web.tunnels) == {"93.184.216.34:443"}, "the proxy gets checked addresses"


async def test_a_video_that_promises_to_be_too_long_is_not_fetched(web: Web, folder: Path) -> None:
    sites = Sites(Guard((), everywhere), proxy=web.proxy, max_audio_seconds=1.5)
    with pytest.raises(TooLarge, match=r"longer than 1\.5 seconds"):
        await sites.fetch(TIKTOK, folder)
    assert {asked.host for asked in web.asked} == {"www.tiktok.com"}, "the media was not asked for"
    assert glob(f"{folder}/*") == []


async def test_a_short_link_in_a_share_text_of_tiktok(web: Web, folder: Path) -> None:
    web.pages["vm.tiktok.com/ZMabc123/"] = lambda asked: moved(TIKTOK)
    fetcher = Fetcher(Guard((), everywhere), through(web))
    found = await fetcher.fetch("Check out Ann's video! #TikTok > https://vm.tiktok.com/ZMabc123/", folder)
    assert isinstance(found, Fetched) and found.details["id"] == NUMBER


async def test_a_video_that_is_gone_fails_with_the_sites_reason(web: Web, folder: Path) -> None:
    web.pages[f"www.tiktok.com/@ann/video/{NUMBER}"] = lambda asked: tiktok_page(None, status=10204 - 100)
    with pytest.raises(SiteFailed, match="Video not available, status code 10104") as caught:
        await through(web).fetch(TIKTOK, folder)
    assert caught.value.code == "site_error"
    assert "yt-dlp" not in caught.value.message and "report" not in caught.value.message


async def test_a_private_video_says_what_the_operator_can_do(web: Web, folder: Path) -> None:
    web.pages[f"www.tiktok.com/@ann/video/{NUMBER}"] = lambda asked: tiktok_page(None, status=10216)
    with pytest.raises(SiteFailed, match="do not have permission") as caught:
        await through(web).fetch(TIKTOK, folder)
    assert "KIKITORI_SITE_COOKIES" in caught.value.remedy and "--cookies" not in str(caught.value)


async def test_douyin_needs_cookies_and_says_so(web: Web, folder: Path) -> None:
    with pytest.raises(SiteFailed, match="Fresh cookies") as caught:
        await through(web).fetch(DOUYIN, folder)
    assert "KIKITORI_SITE_COOKIES" in caught.value.remedy


async def test_a_short_link_in_a_share_text_of_douyin(web: Web, folder: Path) -> None:
    shared = f"https://www.iesdouyin.com/share/video/{NUMBER}/?region=JP"
    web.pages["v.douyin.com/iRNBho6u/"] = lambda asked: moved(shared)
    web.pages[f"www.iesdouyin.com/share/video/{NUMBER}/"] = lambda asked: Told(page("<p>Open the app."))
    fetcher = Fetcher(Guard((), everywhere), through(web, COOKIES))
    found = await fetcher.fetch("7.43 复制打开抖音，看看 https://v.douyin.com/iRNBho6u/ 01/12 abc:/", folder)
    assert isinstance(found, Fetched)
    assert found.path.read_bytes() == VIDEO
    assert (found.details["title"], found.details["author"]) == ("小明说的话 #日常", "小明")


async def test_cookies_of_a_site_are_sent_to_that_site_only(web: Web, folder: Path) -> None:
    """Not to where it sends us for the video, and not to where that redirects."""
    web.pages |= {
        "www.douyin.com/aweme/v1/web/aweme/detail/": lambda asked: douyin_detail(
            asked, "https://v3-web.douyinvod.example/abc/video.mp4"
        ),
        "v3-web.douyinvod.example/abc/video.mp4": lambda asked: moved("https://evil.example/video.mp4"),
        "evil.example/video.mp4": lambda asked: Told(VIDEO, "video/mp4"),
    }
    await fetch(through(web, COOKIES), DOUYIN, folder)
    assert all("s_v_web_id=verify_0123456789" in cookies for cookies in web.cookies_at("www.douyin.com"))
    for host in ("v3-web.douyinvod.example", "evil.example"):
        assert web.cookies_at(host) == {""}
    assert "tiktoksecret" not in str(web.asked)


async def test_a_link_of_another_host_gets_no_cookies(web: Web, folder: Path) -> None:
    web.pages["evil.example/www.douyin.com/video/"] = lambda asked: Told(page('<video src="/x.mp4"></video>'))
    web.pages["evil.example/x.mp4"] = lambda asked: Told(VIDEO, "video/mp4")
    await fetch(through(web, COOKIES), "https://evil.example/www.douyin.com/video/", folder)
    assert web.cookies_at("evil.example") == {""}


async def test_a_live_broadcast_of_a_site_is_refused(web: Web, folder: Path) -> None:
    manifest = '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic"><Period/></MPD>'
    web.pages["evil.example/live.mpd"] = lambda asked: Told(manifest.encode(), "application/dash+xml")
    with pytest.raises(LinkFailed):
        await through(web).fetch("https://evil.example/live.mpd", folder)


async def test_an_unknown_certificate_is_not_taken(web: Web, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(KikitoriError) as caught:
        await through(web).fetch(TIKTOK, folder)
    assert web.asked == [] and "127.0.0.1" not in str(caught.value)


async def test_a_private_address_is_refused_though_a_proxy_is_set(web: Web, folder: Path) -> None:
    async def inside(host: str, port: int) -> list[str]:
        return ["10.0.0.7"]

    with pytest.raises(ForbiddenAddress):
        await Sites(Guard(parse_networks(["127.0.0.0/8"]), inside), proxy=web.proxy).fetch(TIKTOK, folder)
    assert web.tunnels == []


async def test_the_child_ends_with_us(tmp_path: Path) -> None:
    """However we end: its standard input is closed then."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-P", site_worker.__file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin
    async with running(Site(pages={"/": stalled()})) as site:
        job = {"url": site.url(), "short": False, "pages": [], "folder": str(tmp_path), "proxy": ""}
        job |= {
            "cookies": cookie_file({}),
            "known_only": False,
            "max_bytes": 10**6,
            "max_file_bytes": 10**6,
            "max_seconds": 60.0,
            "max_entries": 1,
            "runtimes": {},
        }
        child.stdin.write(json.dumps(job).encode() + b"\n")
        async with asyncio.timeout(60):
            await until(lambda: bool(site.asked), seconds=60)
            child.stdin.close()
            assert await child.wait() == 1
            await site.gone.wait()
