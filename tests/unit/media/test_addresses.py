from __future__ import annotations

import pytest

from kikitori.media.addresses import is_allowed, parse_address, parse_networks


def allowed(text: str, *networks: str) -> bool:
    address = parse_address(text)
    assert address is not None
    return is_allowed(address, parse_networks(networks))


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses_are_allowed(text: str) -> None:
    assert allowed(text)


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_of_the_inside_are_not_allowed(text: str) -> None:
    assert not allowed(text)


@pytest.mark.parametrize("text", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203"])
def test_a_private_network_can_be_allowed_in_all_its_spellings(text: str) -> None:
    assert allowed(text, "10.1.0.0/16")
    assert not allowed(text, "10.2.0.0/16", "fd00::/8")


def test_a_name_is_no_address() -> None:
    assert parse_address("example.com") is None
    assert parse_address("2130706433") is None
