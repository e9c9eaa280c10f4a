"""``kikitori console``: what is checked before anything starts."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from kikitori.cli.root import app
from kikitori.console import launch
from kikitori.console.launch import Place
from kikitori.console.target import Target
from kikitori.errors import Unavailable


class FakeConsole:
    """A console that ends by itself."""

    opened: list[Place]

    def __init__(self, place: Place) -> None:
        self.opened.append(place)

    def wait_until_ready(self, give_up: Callable[[], bool] = lambda: False) -> None: ...

    def wait(self) -> int:
        return 0

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    FakeConsole.opened = []
    monkeypatch.setattr(launch, "Console", FakeConsole)
    return FakeConsole.opened


def console(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["console", *words])
    return result.exit_code, result.output


def test_it_listens_on_this_machine_for_the_usual_server(opened: list[Place]) -> None:
    code, said = console("--port", "0")
    assert code == 0
    [place] = opened
    assert (place.host, place.target) == ("127.0.0.1", Target(url="http://127.0.0.1:8000"))
    assert f"The console is at http://127.0.0.1:{place.port}" in said


def test_the_server_may_have_two_addresses_and_the_console_a_proxy(opened: list[Place]) -> None:
    flags = ("--url", "10.0.0.5:8000", "--public-url", "https://s.example/", "--origin", "https://c.example")
    assert console("--port", "0", *flags)[0] == 0
    assert opened[0].target == Target(url="http://10.0.0.5:8000", public_url="https://s.example")
    assert opened[0].origins == ("https://c.example",)


def test_a_taken_port_is_told_before_anything_starts(opened: list[Place]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = console("--port", str(port))
    assert code == 3
    assert f"Port {port} of 127.0.0.1 cannot be used" in said and "--port" in said
    assert not opened


@pytest.mark.parametrize(
    ("flags", "may"), [((), True), (("--host", "0.0.0.0"), False), (("--host", "0.0.0.0", "--insecure"), True)]
)
def test_a_network_does_not_get_a_server_without_keys(opened: list[Place], flags: tuple[str, ...], may: bool) -> None:
    assert console("--port", "0", *flags)[0] == 0
    assert opened[0].target.open is may


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--url", "ftp://host"), "--url is 'ftp://host'"),
        (("--public-url", "nothing at all"), "--public-url is 'nothing at all'"),
        (("--tls-cert", "cert.pem"), "HTTPS needs both --tls-cert and --tls-key"),
        (("--server-cert", "nowhere.pem"), "--server-cert is 'nowhere.pem'. Allowed: a PEM file."),
    ],
)
def test_wrong_flags_are_named(opened: list[Place], flags: tuple[str, ...], told: str) -> None:
    code, said = console("--port", "0", *flags)
    assert (code, told in said) == (2, True)
    assert not opened


def test_one_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FakeConsole) -> None:
        raise Unavailable("The console did not start on http://127.0.0.1:1.")

    monkeypatch.setattr(FakeConsole, "wait_until_ready", fail)
    code, said = console("--port", "0")
    assert (code, "did not start" in said) == (3, True)
