from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
from tests.unit.media.conftest import Site, body, endless, names, running

from kikitori.errors import InvalidOption
from kikitori.media.guard import Guard
from kikitori.media.proxy import GuardingProxy, check_proxy


async def get(proxy: GuardingProxy, url: str) -> httpx.Response:
    async with httpx.AsyncClient(proxy=proxy.url, trust_env=False) as client:
        return await client.get(url)


async def say(proxy: GuardingProxy, head: str, *, password: bool = True) -> str:
    """The first line of the answer."""
    link = httpx.URL(proxy.url)
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    secret = base64.b64encode(link.userinfo).decode()
    writer.write(f"{head}\r\n{f'Proxy-Authorization: Basic {secret}' if password else 'X: y'}\r\n\r\n".encode())
    answer = (await reader.readline()).decode().strip()
    writer.close()
    return answer


async def test_plain_requests_are_forwarded_without_what_is_for_the_proxy(site: Site, near: Guard) -> None:
    site.pages["/a"] = body(b"hello")
    async with GuardingProxy(near) as proxy:
        assert (await get(proxy, site.url("/a?b=c"))).content == b"hello"
    assert site.paths == ["/a?b=c"]
    assert "proxy-authorization" not in site.asked[0].headers
    assert site.asked[0].headers["host"] == f"127.0.0.1:{site.port}"


async def test_tunnels_are_opened_to_what_the_guard_allows(site: Site, near: Guard) -> None:
    async with GuardingProxy(near) as proxy:
        assert await say(proxy, f"CONNECT 127.0.0.1:{site.port} HTTP/1.1") == "HTTP/1.1 200 Connection established"


@pytest.mark.parametrize(
    "head",
    [
        "CONNECT 127.0.0.1:80 HTTP/1.1",
        "CONNECT [::1]:80 HTTP/1.1",
        "CONNECT localhost:80 HTTP/1.1",
        "CONNECT 169.254.169.254:443 HTTP/1.1",
        "CONNECT 2130706433:443 HTTP/1.1",
        "GET http://127.0.0.1/ HTTP/1.1",
        "GET http://user:password@10.0.0.1/ HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
        "GET / HTTP/1.1",
        "CONNECT nonsense HTTP/1.1",
    ],
)
async def test_the_rest_is_refused(head: str) -> None:
    async with GuardingProxy(Guard()) as proxy:
        assert await say(proxy, head) in ("HTTP/1.1 403 Forbidden", "HTTP/1.1 502 Bad Gateway")
        assert proxy.refused or proxy.unreached


async def test_others_on_this_machine_cannot_use_it(site: Site, near: Guard) -> None:
    async with GuardingProxy(near) as proxy:
        answer = await say(proxy, f"GET {site.url()} HTTP/1.1", password=False)
    assert answer == "HTTP/1.1 407 Proxy Authentication Required"
    assert site.asked == []


async def test_a_name_is_resolved_once_for_each_connection(site: Site, near: Guard) -> None:
    site.pages["/"] = body(b"first")
    answers = iter(["127.0.0.1", "10.0.0.1"])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return [next(answers)]

    async with GuardingProxy(Guard(near.networks, rebinding)) as proxy:
        assert (await get(proxy, site.url(host="evil.example"))).content == b"first"
        assert (await get(proxy, site.url(host="evil.example"))).status_code == 403
        assert proxy.refused == ["evil.example"]


async def test_hosts_that_do_not_answer_are_remembered(near: Guard) -> None:
    async with running(Site()) as closed:
        pass
    async with GuardingProxy(Guard(near.networks, names(dead_example="127.0.0.1"))) as proxy:
        assert (await get(proxy, closed.url(host="dead.example"))).status_code == 502
        assert (await get(proxy, closed.url(host="nowhere.example"))).status_code == 502
        assert proxy.unreached == ["dead.example", "nowhere.example"]


async def test_more_than_the_bound_does_not_come_through(site: Site, near: Guard) -> None:
    site.pages["/"] = endless()
    async with asyncio.timeout(60), GuardingProxy(near, max_bytes=1_000_000) as proxy:
        await get(proxy, site.url())  # it has no length, so its end looks like one
        assert proxy.overflowed
        await site.gone.wait()


async def test_closing_it_ends_what_runs(site: Site, near: Guard) -> None:
    site.pages["/"] = endless()
    async with asyncio.timeout(60):
        async with GuardingProxy(near) as proxy:
            await say(proxy, f"GET {site.url()} HTTP/1.1")
        await site.gone.wait()


# Behind another proxy --------------------------------------------------------------------------------------------


@asynccontextmanager
async def upstream(answer: str, heads: list[str]) -> AsyncIterator[str]:
    """A proxy of a company; behind it, everything says hello."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(f"HTTP/1.1 {answer}\r\n\r\n".encode())
        if answer.startswith("200"):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://ann:p%40ss@127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_connections_go_through_the_operators_proxy_to_checked_addresses() -> None:
    heads: list[str] = []
    guard = Guard(resolve=names(media_example="93.184.216.34", inside_example="10.0.0.1"))
    async with upstream("200 OK", heads) as other, GuardingProxy(guard, upstream=other) as proxy:
        assert (await get(proxy, "http://media.example/a")).content == b"hello"
        assert (await get(proxy, "http://inside.example/a")).status_code == 403
        assert (await get(proxy, "http://unknown.example/a")).content == b"hello"
    assert [head.split("\r\n")[0] for head in heads] == [
        "CONNECT 93.184.216.34:80 HTTP/1.1",
        "CONNECT unknown.example:80 HTTP/1.1",
    ]
    assert base64.b64encode(b"ann:p@ss").decode() in heads[0]


async def test_a_proxy_that_refuses_is_told_as_a_host_that_does_not_answer() -> None:
    guard = Guard(resolve=names(media_example="93.184.216.34"))
    async with upstream("407 No", []) as other, GuardingProxy(guard, upstream=other) as proxy:
        assert (await get(proxy, "http://media.example/")).status_code == 502
        assert proxy.unreached == ["media.example"]


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "127.0.0.1:8080", "http://"])
def test_a_proxy_that_cannot_be_spoken_to_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(InvalidOption, match="site_proxy"):
        check_proxy(url)
