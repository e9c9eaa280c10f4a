import socket

import pytest

from kikitori.errors import InvalidInput, InvalidOption, Unavailable
from kikitori.web import binding


def close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def test_port_zero_is_one_free_port_on_every_address() -> None:
    sockets = binding.open_sockets("localhost", 0)
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
        assert binding.shown_url(sockets, tls=False).startswith("http://")
    finally:
        close(sockets)


def test_a_port_in_use_is_said_clearly() -> None:
    first = binding.open_sockets("127.0.0.1", 0)
    port = first[0].getsockname()[1]
    try:
        with pytest.raises(Unavailable, match=f"Port {port} of 127.0.0.1 cannot be used") as caught:
            binding.open_sockets("127.0.0.1", port)
        assert "--port" in str(caught.value)
    finally:
        close(first)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 300, "not a host"])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        binding.open_sockets(host, 0)
    assert caught.value.param == "host"


def test_an_address_of_another_machine() -> None:
    with pytest.raises(Unavailable):
        binding.open_sockets("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "has_keys", "insecure", "allowed"),
    [
        ("127.0.0.1", False, False, True),
        ("localhost", False, False, True),
        ("0.0.0.0", False, False, False),
        ("", False, False, False),
        ("::", False, False, False),
        ("0.0.0.0", True, False, True),
        ("0.0.0.0", False, True, True),
    ],
)
def test_a_network_needs_a_key(host: str, has_keys: bool, insecure: bool, allowed: bool) -> None:
    if allowed:
        binding.require_private(host, has_keys=has_keys, insecure=insecure)
        return
    with pytest.raises(InvalidInput, match="kikitori keys create"):
        binding.require_private(host, has_keys=has_keys, insecure=insecure)


@pytest.mark.parametrize(
    ("host", "tls", "start"),
    [("127.0.0.1", False, "http://127.0.0.1:"), ("0.0.0.0", True, "https://127.0.0.1:")],
)
def test_the_address_to_open(host: str, tls: bool, start: str) -> None:
    sockets = binding.open_sockets(host, 0)
    try:
        assert binding.shown_url(sockets, tls=tls) == f"{start}{sockets[0].getsockname()[1]}"
    finally:
        close(sockets)
