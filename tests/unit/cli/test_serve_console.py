"""``kikitori serve --console``: one command for both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kikitori.cli.root import app
from kikitori.console import watching
from kikitori.console.launch import Place
from kikitori.console.target import Target
from kikitori.settings import Settings
from kikitori.web import server

URL = "http://127.0.0.1:8000"


class FakeWatched:
    """A console that is there at once."""

    places: list[Place]
    closed: int

    def __init__(self, place: Place, *, tell: Callable[[str], None]) -> None:
        self.places.append(place)
        tell(place.url)

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    FakeWatched.places, FakeWatched.closed = [], 0

    def serve(settings: Settings, *, on_ready: Callable[[str], None], **_: Any) -> None:
        on_ready(URL)
        assert not FakeWatched.closed, "the console goes after the server"

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(watching, "Watched", FakeWatched)
    monkeypatch.chdir(tmp_path)


def run(*flags: str) -> Result:
    return CliRunner().invoke(app, ["serve", *flags])


def test_the_console_comes_and_goes_with_the_server() -> None:
    result = run("--console", "--console-port", "9000")
    assert result.exit_code == 0, result.output
    assert "The console for people is at http://127.0.0.1:9000." in result.output
    [place] = FakeWatched.places
    assert (place.host, place.port, place.target) == ("127.0.0.1", 9000, Target(url=URL))
    assert FakeWatched.closed == 1


def test_it_is_not_there_unless_it_is_asked_for() -> None:
    assert "console" not in run().output
    assert not FakeWatched.places


def test_it_listens_where_the_server_listens_under_the_names_of_both() -> None:
    flags = ("--public-url", "https://s.example/", "--console-origins", "https://c.example")
    result = run("--console", "--host", "0.0.0.0", *flags)
    assert result.exit_code == 0, result.output
    [place] = FakeWatched.places
    assert (place.host, place.origins) == ("0.0.0.0", ("https://c.example",))
    assert place.target == Target(url=URL, public_url="https://s.example", open=False)


def test_it_serves_https_with_the_servers_certificate_and_trusts_it() -> None:
    assert run("--console", "--tls-cert", "c.pem", "--tls-key", "k.pem").exit_code == 0
    [place] = FakeWatched.places
    assert (place.tls_cert, place.tls_key, place.target.certificate) == ("c.pem", "k.pem", "c.pem")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--console", "--console-port", "8000"), "--console-port is 8000"),
        (("--console-origins", "https://c.example/path"), "KIKITORI_CONSOLE_ORIGINS"),
        (("--console-origins", "https://c.example; script-src *"), "KIKITORI_CONSOLE_ORIGINS"),
        (("--public-url", "s.example"), "KIKITORI_PUBLIC_URL"),
    ],
)
def test_wrong_settings_are_named(flags: tuple[str, ...], told: str) -> None:
    result = run(*flags)
    assert (result.exit_code, told in result.output) == (2, True)
    assert not FakeWatched.places
