"""The server's addresses."""

from __future__ import annotations

import pytest

from kikitori.console.target import Target, checked_url, from_environment, to_environment
from kikitori.console.wire import socket_url
from kikitori.errors import InvalidOption


@pytest.mark.parametrize(
    ("target", "opened", "shown"),
    [
        (Target(url="http://127.0.0.1:8000"), "http://127.0.0.1:8501/", "http://127.0.0.1:8000"),
        (Target(url="http://127.0.0.1:8000"), "http://speech.example:8501/file", "http://speech.example:8000"),
        (Target(url="https://127.0.0.1:8443"), "https://[2001:db8::1]:8501/", "https://[2001:db8::1]:8443"),
        (Target(url="http://10.0.0.5:8000"), "http://speech.example:8501/", "http://10.0.0.5:8000"),
        (
            Target(url="http://127.0.0.1:8000", public_url="https://s.example"),
            "https://c.example/",
            "https://s.example",
        ),
        (Target(url="http://127.0.0.1:8000"), "", "http://127.0.0.1:8000"),
    ],
)
def test_the_browser_finds_the_server(target: Target, opened: str, shown: str) -> None:
    assert target.browser_url(opened) == shown


def test_it_goes_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(url="http://10.0.0.5:8000", public_url="https://s.example", certificate="/etc/server.pem")
    for name, value in to_environment(target).items():
        monkeypatch.setenv(name, value)
    assert from_environment() == target


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://host/kikitori/", "https://host/kikitori"),
        ("http://host:8000/v1", "http://host:8000"),
    ],
)
def test_an_address_is_read(typed: str, url: str) -> None:
    assert checked_url(typed, "url") == url


@pytest.mark.parametrize("typed", ["", "ftp://host", "http://", "http://host:99999", "http://k:s@host", "http://h?a=b"])
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(InvalidOption, match="the address of a server"):
        checked_url(typed, "url")


def test_the_socket_lies_beside_the_rest() -> None:
    assert socket_url("https://host/kikitori") == "wss://host/kikitori/ws"
    assert socket_url("http://127.0.0.1:8000") == "ws://127.0.0.1:8000/ws"
