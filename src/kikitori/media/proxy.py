"""A proxy on loopback that lets one child process reach what the guard allows, and no more."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from types import TracebackType
from urllib.parse import unquote, urlsplit

import httpx

from kikitori.errors import InvalidInput, InvalidOption, KikitoriError
from kikitori.media.guard import ADDRESS_SECONDS, CONNECT_SECONDS, Guard

logger = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 * 1024
IDLE_SECONDS = 120.0
BLOCK_BYTES = 64 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class GuardingProxy:
    """``async with GuardingProxy(guard) as proxy``: ``proxy.url`` is for the child, with a password of its own.

    ``upstream`` is a proxy of the operator that connections go through; it gets checked addresses too.
    """

    def __init__(self, guard: Guard, *, upstream: str = "", max_bytes: int | None = None) -> None:
        self.refused: list[str] = []
        """Hosts that the guard did not allow."""
        self.unreached: list[str] = []
        """Hosts that did not answer."""
        self.overflowed = False
        """More came in than ``max_bytes``."""
        self._guard = guard
        self._upstream = upstream
        self._left = max_bytes
        self._password = secrets.token_urlsafe(24)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server
        return f"http://kikitori:{self._password}@127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> GuardingProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: read the head, connect, carry both ways."""
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            answer = await self._carry(head, (reader, writer))
            if answer:
                writer.write(f"HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
                await writer.drain()
        except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # either side is gone
        finally:
            writer.close()

    async def _carry(self, head: bytes, child: Streams) -> str:
        """What to answer when there is nothing to carry."""
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        target = rest.rpartition(" ")[0]
        headers = [line for line in lines[1:] if line]
        if not self._knows_password(headers):
            return '407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm="kikitori"'
        try:
            link = self._guard.check_link(f"https://{target}/" if method == "CONNECT" else target)
        except KikitoriError as exc:
            return self._refusal(exc, urlsplit(f"//{target}" if method == "CONNECT" else target).hostname or "")
        if method != "CONNECT" and link.scheme != "http":
            return "400 Bad Request"
        port = link.port or (443 if method == "CONNECT" else 80)
        try:
            outside = await self._connect(link.raw_host.decode("ascii").strip("[]"), port)
        except KikitoriError as exc:
            return self._refusal(exc, link.host)
        except (OSError, EOFError, ValueError) as exc:
            logger.debug("site not reached", extra={"action": "site_unreached", "host": link.host, "reason": str(exc)})
            self.unreached.append(link.host)
            return "502 Bad Gateway"
        try:
            if method == "CONNECT":
                child[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                outside[1].write(_forwarded(method, link, headers))
            await self._relay(child, outside)
        finally:
            outside[1].close()
        return ""

    def _refusal(self, exc: KikitoriError, host: str) -> str:
        if isinstance(exc, InvalidInput):
            self.refused.append(host)
        return "403 Forbidden"

    def _knows_password(self, headers: list[str]) -> bool:
        expected = "Basic " + base64.b64encode(f"kikitori:{self._password}".encode()).decode()
        for line in headers:
            name, _, value = line.partition(":")
            if name.strip().lower() == "proxy-authorization":
                return secrets.compare_digest(value.strip().encode(), expected.encode())
        return False

    async def _connect(self, host: str, port: int) -> Streams:
        """Raises ForbiddenAddress, OSError."""
        async with asyncio.timeout(CONNECT_SECONDS):
            try:
                addresses = await self._guard.addresses(host, port)
            except OSError:
                if not self._upstream:
                    raise
                addresses = [host]  # where only the operator's proxy knows names, it has to check them
            if self._upstream:
                return await connect_through(self._upstream, addresses[0], port)
            for address in addresses[:-1]:
                try:
                    async with asyncio.timeout(ADDRESS_SECONDS):
                        return await asyncio.open_connection(address, port)
                except OSError:
                    pass  # the next one may answer
            return await asyncio.open_connection(addresses[-1], port)

    async def _relay(self, child: Streams, outside: Streams) -> None:
        """Until both sides have said all, or the bound is reached."""
        upwards = asyncio.ensure_future(self._copy(child[0], outside[1], counted=False))
        try:
            await self._copy(outside[0], child[1], counted=True)
        finally:
            upwards.cancel()
            await asyncio.gather(upwards, return_exceptions=True)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, counted: bool) -> None:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                data = await source.read(BLOCK_BYTES)
            if not data:
                break
            if counted and self._left is not None:
                self._left -= len(data)
                if self._left < 0:
                    self.overflowed = True
                    return
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()


def check_proxy(url: str) -> None:
    """Raises InvalidOption for a proxy that cannot be spoken to."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidOption("site_proxy", parts.scheme, "http://[user:password@]host:port")


async def connect_through(proxy: str, host: str, port: int) -> Streams:
    """A tunnel to ``host`` through an HTTP proxy. Raises OSError."""
    parts = urlsplit(proxy)
    assert parts.hostname
    secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if secure else 80), ssl=secure or None, limit=HEAD_BYTES
    )
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if parts.username:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if head.split(b" ", 2)[1:2] != [b"200"]:
            raise OSError("the proxy refuses the connection")
    except BaseException:  # also when cancelled: nobody else knows this connection
        writer.close()
        raise
    return reader, writer


def _forwarded(method: str, link: httpx.URL, headers: list[str]) -> bytes:
    """The head of a plain request as the site expects it; one request for each connection."""
    dropped = ("proxy-authorization", "proxy-connection", "connection", "keep-alive", "host")
    kept = [line for line in headers if line.partition(":")[0].strip().lower() not in dropped]
    host = link.netloc.decode("ascii")
    return "\r\n".join(
        [f"{method} {link.raw_path.decode('ascii')} HTTP/1.1", f"Host: {host}", *kept, "Connection: close", "", ""]
    ).encode("latin-1")
