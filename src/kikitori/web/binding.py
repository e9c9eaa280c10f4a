"""Where the server listens: addresses, sockets, and the rule that keeps it private."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence

from kikitori.errors import InvalidInput, InvalidOption, Unavailable

BACKLOG = 2_048


def resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """The addresses that ``host`` stands for; raises InvalidOption when it stands for none."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as exc:
        raise InvalidOption("host", host, "an address or name of this machine") from exc
    addresses = [(family, (str(where[0]), int(where[1]))) for family, _, _, _, where in found]
    return list(dict.fromkeys(addresses))


def is_loopback(host: str) -> bool:
    """Only this machine can reach a server that listens on ``host``."""
    return all(ipaddress.ip_address(where[0].partition("%")[0]).is_loopback for _, where in resolve(host, 0))


def is_this_machine(name: str) -> bool:
    """``name``, as a client wrote it, can only mean the machine itself. Never asks the network."""
    name = name.lower().strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address of ``host``, on one port; 0 finds a free one.

    Raises Unavailable when the port is taken or not allowed.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, (address, wanted) in resolve(host, port):
            try:
                sockets.append(_listening(family, address, sockets[0].getsockname()[1] if sockets else wanted))
            except OSError as exc:
                if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise _unusable(address, wanted, exc) from exc
                missing = exc  # a name such as localhost may have an IPv6 address although the machine has no IPv6
        if not sockets:
            raise _unusable(host, port, missing or OSError("no address"))
    except BaseException:  # whatever it is, no port stays taken
        for each in sockets:
            each.close()
        raise
    return sockets


def require_private(host: str, *, has_keys: bool, insecure: bool) -> None:
    """Raise InvalidInput rather than let a network use a server without keys."""
    if has_keys or insecure or is_loopback(host):
        return
    raise InvalidInput(
        f"Listening on {host or 'all addresses'} without an API key would open the server to the network.",
        remedy="Make a key with `kikitori keys create`, listen on 127.0.0.1, or pass --insecure on a closed network.",
        param="host",
    )


def shown_url(sockets: Sequence[socket.socket], *, tls: bool) -> str:
    """The address to open in a browser."""
    address, port = sockets[0].getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        address = "127.0.0.1" if sockets[0].family == socket.AF_INET else "::1"
    host = f"[{address}]" if ":" in address else address
    return f"{'https' if tls else 'http'}://{host}:{port}"


def _listening(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # there, it would let two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)  # now: two servers that start at once must not both believe they have the port
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _unusable(host: str, port: int, exc: OSError) -> Unavailable:
    return Unavailable(
        f"Port {port} of {host or 'this machine'} cannot be used: {(exc.strerror or str(exc)).lower()}.",
        remedy="Choose another with --port; 0 finds a free one.",
    )
