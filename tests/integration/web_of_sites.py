"""Video sites in their own shape, behind a proxy on loopback that opens their TLS with a certificate of its own."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import trustme

NUMBER = "7310000000000000001"
HOSTS = (
    *("www.tiktok.com", "vm.tiktok.com", "v16-webapp.tiktokcdn.example", "music.tiktokcdn.example"),
    *("www.douyin.com", "v.douyin.com", "www.iesdouyin.com", "v3-web.douyinvod.example", "evil.example"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    host: str
    path: str
    headers: dict[str, str]

    @property
    def cookies(self) -> str:
        return self.headers.get("cookie", "")


@dataclass(frozen=True, slots=True)
class Told:
    content: bytes
    kind: str = "text/html; charset=utf-8"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


Page = Callable[[Asked], Told]


@dataclass(slots=True)
class Web:
    """What answers for each host, and who was asked what."""

    proxy: str = ""
    authority: Path = Path()
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)

    def cookies_at(self, host: str) -> set[str]:
        return {asked.cookies for asked in self.asked if asked.host == host}


def moved(target: str) -> Told:
    return Told(b"", status=302, headers=(("location", target),))


def tiktok_page(video: dict[str, object] | None, *, status: int = 0, live: bool = False) -> Told:
    """A video's page: a script holds everything."""
    detail: dict[str, object] = {"statusCode": status}
    if video:
        detail["itemInfo"] = {"itemStruct": video}
    data = json.dumps({"__DEFAULT_SCOPE__": {"webapp.video-detail": detail}})
    script = f'<script id="__UNIVERSAL_DATA_FOR_REHYDRATION__" type="application/json">{data}</script>'
    return Told(f"<html><head><title>TikTok</title></head><body>{script}</body></html>".encode())


def tiktok_video() -> dict[str, object]:
    return {
        "id": NUMBER,
        "desc": "What Ann said #talk",
        "createTime": 1_700_000_000,
        "author": {"uniqueId": "ann", "nickname": "Ann", "id": "1", "secUid": "MS4w"},
        "video": {
            "duration": 2,
            "width": 576,
            "height": 1024,
            "playAddr": "https://v16-webapp.tiktokcdn.example/video/tos/abc/?mime_type=video_mp4",
        },
        "music": {
            "title": "Loud song",
            "authorName": "A band",
            "playUrl": "https://music.tiktokcdn.example/obj/song.mp3?mime_type=audio_mpeg",
        },
    }


def douyin_detail(asked: Asked, play: str = "https://v3-web.douyinvod.example/abc/video.mp4") -> Told:
    """The API answers with nothing to whoever has no fresh cookie."""
    if parse_qs(urlsplit(asked.path).query).get("aweme_id") != [NUMBER] or "s_v_web_id=" not in asked.cookies:
        return Told(b"", "application/json")
    addresses = {"url_list": [play], "width": 576, "height": 1024, "url_key": "v0300f_h264_540p_1000"}
    detail = {
        "aweme_id": NUMBER,
        "desc": "小明说的话 #日常",
        "create_time": 1_700_000_000,
        "author": {"unique_id": "xiaoming", "nickname": "小明", "uid": "2", "sec_uid": "MS4w"},
        "video": {"duration": 2_000, "width": 576, "height": 1024, "play_addr": addresses},
        "music": {"title": "原声", "author": "小明"},
        "statistics": {},
    }
    return Told(json.dumps({"aweme_detail": detail}).encode(), "application/json")


@asynccontextmanager
async def running_web(folder: Path) -> AsyncIterator[Web]:
    """``web.proxy`` takes CONNECT for any address and answers for the host that TLS names."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(context)
    web = Web(authority=folder / "authority.pem")
    authority.cert_pem.write_to_path(str(web.authority))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            web.tunnels.append(head.split(" ")[1])
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await writer.drain()
            await writer.start_tls(context)
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                await _answer(web, lines, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    web.proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield web
    finally:
        server.close()


async def _answer(web: Web, lines: Sequence[str], writer: asyncio.StreamWriter) -> None:
    method, path, _ = lines[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    asked = Asked(headers["host"], path, headers)
    web.asked.append(asked)
    page = web.pages.get(f"{asked.host}{urlsplit(path).path}")
    told = page(asked) if page else Told(b"nothing here", status=404)
    head = [f"HTTP/1.1 {told.status} Because", f"content-length: {len(told.content)}", f"content-type: {told.kind}"]
    head += [f"{name}: {value}" for name, value in told.headers]
    writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + (told.content if method != "HEAD" else b""))
    await writer.drain()
