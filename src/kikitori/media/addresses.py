"""Which addresses of the network a link may lead to: public ones, and those that the operator allows."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CARRIERS = tuple(
    (ipaddress.IPv6Network(network), shift)
    for network, shift in (
        ("::ffff:0:0/96", 0),  # IPv4-mapped
        ("::/96", 0),  # IPv4-compatible, long gone but still understood
        ("64:ff9b::/96", 0),  # NAT64
        ("2002::/16", 80),  # 6to4
    )
)
"""IPv6 networks whose addresses carry an IPv4 address, and how many bits stand to the right of it."""
REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT, and the metadata of one cloud
        "168.63.129.16/32",  # another cloud's own services, though it looks public
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b:1::/48",  # NAT64 of a private network
        "2001::/32",  # Teredo
        "fec0::/10",
    )
)
"""Not public, whatever the standard library of this Python version says."""


def parse_networks(values: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(value, strict=False) for value in values)


def parse_address(text: str) -> Address | None:
    """None when ``text`` is a name. A scope (``%eth0``) does not count."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def address_meant(host: str) -> Address | None:
    """As far as the host alone tells it: an address in any spelling that resolvers take, or this machine's own name."""
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    if address := parse_address(host):
        return address
    if not re.fullmatch(r"[0-9a-fx.]+", host, re.IGNORECASE) or not host[0].isdigit():
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))  # 127.1, 2130706433, 0x7f.1
    except OSError:
        return None


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether a link may reach ``address``: it is public, or in one of ``networks``."""
    meant = _carried(address) or address
    return is_public(meant) or any(each in network for network in networks for each in {meant, address})


def is_public(address: Address) -> bool:
    if any(address in network for network in REFUSED):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )


def _carried(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to in the end. ``::`` and ``::1`` are themselves."""
    if address.version == 4 or int(address) <= 1:
        return None
    for network, shift in CARRIERS:
        if address in network:
            return ipaddress.IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
    return None
