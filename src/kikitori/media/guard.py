"""One guarded HTTP client for every link that comes from outside: media, callbacks, endpoints.

A name is resolved once; every address it has is checked, and the connection goes to a checked address, while TLS and
the Host header keep the name. So a name that changes its address between check and connection gains nothing, and
redirects are checked like the first link. Proxies and credentials of the environment are not used.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from http.cookiejar import Cookie, DefaultCookiePolicy
from ssl import SSLContext
from urllib.request import Request

import anyio
import anyio.to_thread
import httpcore
import httpx

from kikitori.errors import ForbiddenAddress, InvalidInput, KikitoriError, LinkFailed, TooLarge
from kikitori.media.addresses import Network, address_meant, is_allowed, parse_address, parse_networks

logger = logging.getLogger(__name__)

MAX_REDIRECTS = 5
MAX_LINK_CHARACTERS = 8_192
CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
ADDRESS_SECONDS = 4.0
"""For one of several addresses; a dead one must not use up the time of the others."""
MAX_ADDRESSES = 8

MAX_RESOLVERS = 100
_resolvers = anyio.CapacityLimiter(MAX_RESOLVERS)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host. Raises OSError."""


async def resolve(host: str, port: int) -> Sequence[str]:
    # On threads of their own, and left behind when nobody waits any more: a name server that never answers holds a
    # thread for half a minute, and the loop's own threads are few and needed for other things.
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=_resolvers)
    return [str(sockaddr[0]) for *_, sockaddr in found]


@dataclass(frozen=True, slots=True)
class Guard:
    """Decides where links may lead."""

    networks: tuple[Network, ...] = ()
    """Private ones that are allowed all the same."""
    resolve: Resolve = resolve

    @classmethod
    def allowing(cls, addresses: Iterable[str] = ()) -> Guard:
        """``addresses``: networks in CIDR notation, as in the setting ``allowed_addresses``."""
        return cls(parse_networks(list(addresses)))

    def check_link(self, url: str, *, param: str = "url") -> httpx.URL:
        """What can be checked without asking the network; for the moment a link is handed in.

        Raises InvalidInput, ForbiddenAddress.
        """
        if len(url) > MAX_LINK_CHARACTERS:
            raise InvalidInput(
                f"{param} is too long.", remedy=f"At most {MAX_LINK_CHARACTERS} characters.", param=param
            )
        try:
            link = httpx.URL(url)
        except (httpx.InvalidURL, UnicodeError) as exc:
            raise _no_link(param) from exc
        _check_form(link, param)
        if (address := address_meant(link.host.lower().rstrip("."))) and not is_allowed(address, self.networks):
            raise self._refused(link.host, param)
        return link

    async def addresses(self, host: str, port: int, *, param: str = "url") -> list[str]:
        """Where a connection to ``host`` may go. Raises ForbiddenAddress when one of its addresses is not allowed,
        and OSError when it has none."""
        literal = parse_address(host)
        try:
            found = [host] if literal else list(dict.fromkeys(await self.resolve(host, port)))
        except UnicodeError as exc:
            raise OSError("not a host name") from exc
        if not found:
            raise OSError("no address")
        for text in found:
            address = parse_address(text)
            if address is None or not is_allowed(address, self.networks):
                logger.warning("link refused", extra={"action": "link_refused", "host": host, "address": text})
                raise self._refused(host, param)
        return found[:MAX_ADDRESSES]

    def _refused(self, host: str, param: str) -> ForbiddenAddress:
        return ForbiddenAddress(host, param=param)


def guarded_client(
    guard: Guard,
    *,
    param: str = "url",
    timeout: httpx.Timeout | None = None,
    max_bytes: int | None = None,
    follow_redirects: bool = False,
    keep_cookies: bool = False,
    max_connections: int = 100,
) -> httpx.AsyncClient:
    """A client whose every connection passes the guard.

    It raises what httpx raises, and besides ForbiddenAddress and InvalidInput (naming ``param``) and, for a body of
    more than ``max_bytes``, TooLarge; link_errors() makes sentences of the first kind. Bodies are not decompressed:
    a server that compresses without being asked is known by ``response.extensions["content_encoding"]``. There is no
    limit on the time of a whole exchange: wrap it in asyncio.timeout().
    """
    client = httpx.AsyncClient(
        transport=_GuardedTransport(guard, param=param, max_bytes=max_bytes, max_connections=max_connections),
        timeout=timeout or httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        follow_redirects=follow_redirects,
        max_redirects=MAX_REDIRECTS,
        headers={"user-agent": "kikitori", "accept-encoding": "identity"},
        trust_env=False,
    )
    if not keep_cookies:
        client.cookies.jar.set_policy(_NoCookies())
    return client


@contextmanager
def link_errors(host: str, *, param: str = "url") -> Generator[None, None, None]:
    """Failures of the network as LinkFailed; ours pass as they are."""
    try:
        yield
    except KikitoriError:
        raise
    except httpx.TooManyRedirects as exc:
        raise LinkFailed(f"{host} redirects more than {MAX_REDIRECTS} times.", param=param) from exc
    except httpx.ConnectTimeout as exc:
        raise LinkFailed(f"{host} cannot be reached in time.", param=param) from exc
    except httpx.TimeoutException as exc:
        raise LinkFailed(f"{host} stopped answering.", param=param) from exc
    except httpx.ConnectError as exc:
        raise LinkFailed(f"{host} cannot be reached: {_reason(exc)}.", param=param) from exc
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as exc:
        raise _no_link(param) from exc
    except httpx.HTTPError as exc:
        raise LinkFailed(f"The connection to {host} broke off.", param=param) from exc


def _reason(exc: BaseException) -> str:
    """Why there is no connection, without addresses of the inside."""
    text = str(exc).lower()
    if "certificate" in text:
        return "its certificate is not valid"
    if "ssl" in text or "tls" in text:
        return "it does not speak TLS there"
    if "no such host" in text:
        return "there is no such host"
    return "nobody answers there"


def _check_form(link: httpx.URL, param: str) -> None:
    if link.scheme not in ("http", "https") or not link.host or not 0 < (link.port or 80) < 65_536:
        raise _no_link(param)
    if link.userinfo:
        raise InvalidInput(
            f"{param} has a user name or password in it.",
            remedy="Send a link that needs none, such as a signed one.",
            param=param,
        )


def _no_link(param: str) -> InvalidInput:
    return InvalidInput(f"{param} is not a link.", remedy="Allowed: http:// and https:// links.", param=param)


class _NoCookies(DefaultCookiePolicy):
    """What one owner's receiver sets is not sent with another owner's requests."""

    def set_ok(self, cookie: Cookie, request: Request) -> bool:
        return False


class _GuardedTransport(httpx.AsyncBaseTransport):
    """httpx over a connection pool that connects through the guard."""

    def __init__(self, guard: Guard, *, param: str, max_bytes: int | None, max_connections: int) -> None:
        self._param = param
        self._max_bytes = max_bytes
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=max_connections,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_GuardedBackend(guard, param),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        _check_form(request.url, self._param)
        assert isinstance(request.stream, AsyncIterable)
        with _httpx_errors():
            answer = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        headers = httpx.Headers(answer.headers)
        extensions = dict(answer.extensions)
        if coding := headers.pop("content-encoding", ""):  # else httpx inflates a small body to any size
            extensions["content_encoding"] = coding
        # The body of a redirect is of no use, and httpx would read all of it.
        unread = 300 <= answer.status < 400 and "location" in headers
        body = _Body(answer, self._param, self._max_bytes, unread=unread)
        if not unread:
            await body.check_announced(headers.get("content-length", ""), head=request.method == "HEAD")
        return httpx.Response(answer.status, headers=headers, stream=body, extensions=extensions)

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """A body of an answer, up to a size."""

    def __init__(self, answer: httpcore.Response, param: str, max_bytes: int | None, *, unread: bool) -> None:
        self._answer = answer
        self._param = param
        self._max_bytes = max_bytes
        self._unread = unread

    async def check_announced(self, announced: str, *, head: bool) -> None:
        if self._max_bytes is None or head or not (announced.isascii() and announced.isdigit()):
            return
        if int(announced) > self._max_bytes:
            await self.aclose()
            raise self._too_large()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._unread:
            return
        received = 0
        assert isinstance(self._answer.stream, AsyncIterable)
        with _httpx_errors():
            async for data in self._answer.stream:  # aiter_stream() cannot be gone on with; the OpenAI SDK does
                received += len(data)
                if self._max_bytes is not None and received > self._max_bytes:
                    raise self._too_large()
                yield data

    async def aclose(self) -> None:
        with _httpx_errors():
            await self._answer.aclose()

    def _too_large(self) -> TooLarge:
        assert self._max_bytes is not None
        return TooLarge(
            f"What the link leads to is larger than {self._max_bytes / 1e6:,.0f} MB.",
            remedy="Send it in parts, or ask the operator for a higher limit.",
            param=self._param,
        )


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses."""

    def __init__(self, guard: Guard, param: str) -> None:
        self._guard = guard
        self._param = param
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                try:
                    addresses = await self._guard.addresses(host, port, param=self._param)
                except OSError as exc:
                    if isinstance(exc, TimeoutError):
                        raise
                    raise httpcore.ConnectError("no such host") from exc
                return await self._first(addresses, port, local_address, socket_options)
        except TimeoutError as exc:
            raise httpcore.ConnectTimeout from exc

    async def _first(
        self,
        addresses: Sequence[str],
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address that answers."""
        for number, address in enumerate(addresses, start=1):
            is_last = number == len(addresses)
            try:
                return await self._inner.connect_tcp(
                    address, port, None if is_last else ADDRESS_SECONDS, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if is_last:
                    raise
        raise AssertionError("a host without addresses")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


HTTPCORE_ERRORS = (
    *(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError),
    *(httpcore.ProxyError, httpcore.UnsupportedProtocol),
)
"""With their subclasses, all that a connection raises; httpx has each by the same name."""


@contextmanager
def _httpx_errors() -> Generator[None, None, None]:
    """httpcore's exceptions as those of the same name that users of httpx expect."""
    try:
        yield
    except HTTPCORE_ERRORS as exc:
        raise getattr(httpx, type(exc).__name__)(str(exc)) from exc


@cache
def _ssl_context() -> SSLContext:
    """Shared, since reading the certificates takes longer than a request. SSL_CERT_FILE adds a company's own."""
    return httpx.create_ssl_context()
