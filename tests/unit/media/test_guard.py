from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
import trustme
from tests.unit.media.conftest import Site, body, endless, names, redirect, running, stalled, status

from kikitori.errors import ForbiddenAddress, InvalidInput, KikitoriError, LinkFailed, TooLarge
from kikitori.media import guard as guard_module
from kikitori.media.guard import Guard, guarded_client, link_errors, resolve
from kikitori.testing import until


async def get(guard: Guard, url: str, **options: object) -> httpx.Response:
    async with guarded_client(guard, follow_redirects=True, **options) as client:  # type: ignore[arg-type]
        with link_errors(httpx.URL(url).host):
            return await client.get(url)


# Where a link may lead -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
async def test_loopback_is_refused_in_all_its_spellings(site: Site, host: str) -> None:
    with pytest.raises(ForbiddenAddress) as caught:
        await get(Guard(), site.url(host=host))
    assert site.asked == []
    assert "KIKITORI_ALLOWED_ADDRESSES" in caught.value.remedy


async def test_allowed_networks_are_reached(site: Site, near: Guard) -> None:
    site.pages["/"] = body(b"hello")
    assert (await get(near, site.url())).content == b"hello"


async def test_the_error_names_the_field_and_not_the_address() -> None:
    guard = Guard(resolve=names(intern_example="10.7.7.7"))
    async with guarded_client(guard, param="callback_url") as client:
        with pytest.raises(ForbiddenAddress) as caught:
            await client.get("http://intern.example/")
    assert caught.value.param == "callback_url"
    assert "callback_url" in str(caught.value) and "intern.example" in str(caught.value)
    assert "10.7" not in str(caught.value)


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    guard = Guard(resolve=names(both_example=["93.184.216.34", "192.168.0.1"]))
    with pytest.raises(ForbiddenAddress):
        await get(guard, "http://both.example/")


async def test_a_name_is_resolved_once_so_it_cannot_change_before_the_connection(site: Site) -> None:
    """The first answer is allowed, all later ones are not: the connection goes where the check looked."""
    site.pages["/"] = body(b"first")
    answers = iter(["127.0.0.1", "127.0.0.2", "127.0.0.2"])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return [next(answers)]

    guard = Guard(Guard.allowing(["127.0.0.1/32"]).networks, rebinding)
    assert (await get(guard, site.url(host="evil.example"))).content == b"first"
    assert next(answers) == "127.0.0.2"
    with pytest.raises(ForbiddenAddress):  # the next connection asks and checks anew
        await get(guard, site.url(host="evil.example"))


async def test_the_name_goes_out_in_the_host_header(site: Site) -> None:
    site.pages["/"] = body(b"")
    guard = Guard(Guard.allowing(["127.0.0.1"]).networks, names(media_example="127.0.0.1"))
    await get(guard, site.url(host="media.example"))
    assert site.asked[0].headers["host"] == f"media.example:{site.port}"


async def test_a_dead_address_is_passed_over(site: Site, near: Guard) -> None:
    site.pages["/"] = body(b"second")
    guard = Guard(near.networks, names(two_example=["127.0.0.9", "127.0.0.1"]))
    assert (await get(guard, site.url(host="two.example"))).content == b"second"


async def test_tls_checks_the_name_though_the_connection_goes_to_an_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, near: Guard
) -> None:
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("media.example").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    guard_module._ssl_context.cache_clear()
    try:
        guard = Guard(near.networks, names(media_example="127.0.0.1", other_example="127.0.0.1"))
        async with running(Site(pages={"/": body(b"secret")}), context) as site:
            assert (await get(guard, site.url(host="media.example"))).content == b"secret"
            with pytest.raises(LinkFailed, match="certificate"):
                await get(guard, site.url(host="other.example"))
    finally:
        guard_module._ssl_context.cache_clear()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://media.example/a.wav",
        "file:///etc/passwd",
        "gopher://media.example/",
        "/etc/passwd",
        "http://",
        "media.example/a.wav",
        "",
        "http://[::1/",
        "http://media.example:99999/",
        "http://user:secret@media.example/a.wav",
        "http://user@media.example/",
        "http://a\x00b/",
        "http://example.com/" + "a" * 9_000,
    ],
)
def test_what_is_no_plain_web_link_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Guard().check_link(url, param="callback_url")
    assert caught.value.param == "callback_url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("http://10.0.0.1/", "https://[fd00::1]/", "http://169.254.169.254/latest/meta-data"),
        *("http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://127.1/", "http://2130706433/"),
        "http://0x7f.1/",
    ],
)
def test_a_private_address_in_the_link_itself_is_refused_before_any_connection(url: str) -> None:
    with pytest.raises(ForbiddenAddress):
        Guard().check_link(url)


@pytest.mark.parametrize("url", ["http://localhost/", "http://127.1/", "http://[::ffff:127.0.0.1]/"])
def test_an_allowed_address_in_the_link_is_let_through(near: Guard, url: str) -> None:
    assert str(near.check_link(url)) == url


@pytest.mark.parametrize("host", ["example.com", "0.example", "cafe.de", "1.2.3.example", "8.8.8.8"])
def test_public_hosts_are_let_through(host: str) -> None:
    assert Guard().check_link(f"https://{host}/a.mp3").host == host


# Redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://[fe80::1]/"])
async def test_a_redirect_to_a_private_address_is_refused(site: Site, near: Guard, target: str) -> None:
    site.pages["/"] = redirect(target)
    with pytest.raises(ForbiddenAddress):
        await get(near, site.url())


async def test_a_redirect_to_localhost_is_refused(site: Site) -> None:
    site.pages["/start"] = redirect(site.url("/secret", host="localhost"))
    only_one = Guard(Guard.allowing(["127.0.0.7/32"]).networks, names(out_example="127.0.0.7", localhost="127.0.0.1"))
    server = await asyncio.start_server(site.serve, "127.0.0.7", site.port)
    async with server:
        with pytest.raises(ForbiddenAddress):
            await get(only_one, site.url("/start", host="out.example"))
    assert site.paths == ["/start"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://media.example/", "http://user:secret@media.example/"])
async def test_a_redirect_to_anything_but_a_web_link_is_refused(site: Site, near: Guard, target: str) -> None:
    site.pages["/"] = redirect(target)
    with pytest.raises(KikitoriError):
        await get(near, site.url())


async def test_five_redirects_are_followed_and_six_are_not(site: Site, near: Guard) -> None:
    for number in range(1, 7):
        site.pages[f"/{number}"] = redirect(f"/{number - 1}")
    site.pages["/0"] = body(b"end")
    assert (await get(near, site.url("/5"))).content == b"end"
    with pytest.raises(LinkFailed, match="redirects more than 5 times"):
        await get(near, site.url("/6"))


async def test_the_body_of_a_redirect_is_not_read(site: Site, near: Guard) -> None:
    async def endless_redirect(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: /0\r\n\r\n")
        while True:
            writer.write(b"\0" * 65_536)
            await writer.drain()

    site.pages |= {"/": endless_redirect, "/0": body(b"end")}
    async with asyncio.timeout(60):
        assert (await get(near, site.url())).content == b"end"
        await site.gone.wait()


# Size and time ---------------------------------------------------------------------------------------------------


async def test_an_announced_size_over_the_bound_is_refused_at_once(site: Site, near: Guard) -> None:
    site.pages["/"] = status(200, b"", **{"content-length": str(100 * 10**9)})
    with pytest.raises(TooLarge) as caught:
        await get(near, site.url(), max_bytes=1_000_000)
    assert caught.value.param == "url"


async def test_an_endless_body_is_cut_at_the_bound(site: Site, near: Guard) -> None:
    site.pages["/"] = endless()
    async with asyncio.timeout(60):
        with pytest.raises(TooLarge):
            await get(near, site.url(), max_bytes=1_000_000)
        await site.gone.wait()


async def test_a_server_that_stops_answering_is_left(site: Site, near: Guard) -> None:
    site.pages["/"] = stalled(b"abc")
    with pytest.raises(LinkFailed, match="stopped answering"):
        await get(near, site.url(), timeout=httpx.Timeout(5, read=0.1))
    async with asyncio.timeout(60):
        await site.gone.wait()


async def test_a_slow_name_server_is_part_of_the_time_to_connect() -> None:
    async def slow(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(LinkFailed, match="cannot be reached in time"):
        await get(Guard(resolve=slow), "http://slow.example/", timeout=httpx.Timeout(5, connect=0.05))


async def test_nothing_is_decompressed(site: Site, near: Guard) -> None:
    import gzip

    packed = gzip.compress(b"\0" * 1_000_000)
    site.pages["/"] = body(packed, content_encoding="gzip")
    answer = await get(near, site.url())
    assert answer.content == packed
    assert answer.extensions["content_encoding"] == "gzip"
    assert site.asked[0].headers["accept-encoding"] == "identity"


# Failures --------------------------------------------------------------------------------------------------------


async def test_failures_are_sentences_without_internals(near: Guard) -> None:
    async with running(Site()) as closed:
        pass
    with pytest.raises(LinkFailed, match="nobody answers there") as caught:
        await get(near, closed.url())
    assert "Errno" not in str(caught.value)
    with pytest.raises(LinkFailed, match="there is no such host"):
        await get(Guard(resolve=names()), "http://nowhere.example/")


async def test_an_answer_that_breaks_off_is_told(site: Site, near: Guard) -> None:
    site.pages["/"] = status(200, b"abc", **{"content-length": "1000"})
    with pytest.raises(LinkFailed, match="broke off"):
        await get(near, site.url())


async def test_a_proxy_of_the_environment_is_not_used(site: Site, near: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    site.pages["/"] = body(b"direct")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert os.environ["HTTP_PROXY"]
    assert (await get(near, site.url())).content == b"direct"


async def test_cookies_of_one_answer_are_not_sent_with_the_next_request(site: Site, near: Guard) -> None:
    site.pages["/"] = body(b"", **{"set-cookie": "who=ann"})
    async with guarded_client(near) as client:
        await client.get(site.url())
        await client.get(site.url())
    assert [asked.headers.get("cookie") for asked in site.asked] == [None, None]


async def test_ten_requests_at_a_time_share_a_client(site: Site, near: Guard) -> None:
    site.pages["/"] = body(b"hello")
    async with guarded_client(near) as client:
        answers = await asyncio.gather(*(client.get(site.url()) for _ in range(10)))
    assert {answer.content for answer in answers} == {b"hello"}


async def test_a_name_server_that_does_not_answer_keeps_nobody_from_the_threads_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, asked = threading.Event(), []

    def getaddrinfo(host: str, *arguments: object, **options: object) -> list[object]:
        asked.append(host)
        answered.wait(60)
        raise OSError("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    waiting = [asyncio.create_task(resolve(f"slow{number}.example", 80)) for number in range(40)]
    try:
        await until(lambda: len(asked) == 40)
        async with asyncio.timeout(60):
            assert await asyncio.to_thread(lambda: 1) == 1
            waiting[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting[0]
    finally:
        answered.set()
        await asyncio.gather(*waiting, return_exceptions=True)
