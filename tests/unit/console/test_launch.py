"""How Streamlit is started."""

from __future__ import annotations

import click
import pytest
from streamlit import config

from kikitori.console.launch import APP, Place, options
from kikitori.console.look import THEMES
from kikitori.console.target import Target

TARGET = Target(url="http://127.0.0.1:8000")


def values(place: Place, name: str) -> list[str]:
    return [value for each, value in options(place) if each == name]


def test_streamlit_knows_every_option() -> None:
    place = Place(target=TARGET, tls_cert="c.pem", tls_key="k.pem", origins=("https://c.example",))
    assert [name for name, _ in options(place) if name not in config.get_config_options()] == []


def test_nothing_is_told_to_anybody_and_nothing_is_opened() -> None:
    place = Place(target=TARGET)
    assert values(place, "browser.gatherUsageStats") == ["false"]
    assert values(place, "server.headless") == ["true"]
    assert values(place, "server.showEmailPrompt") == ["false"]


@pytest.mark.parametrize(
    ("host", "origins", "hosts"),
    [
        ("127.0.0.1", (), ["127.0.0.1", "localhost", "::1"]),
        ("127.0.0.1", ("https://c.example",), ["127.0.0.1", "localhost", "::1", "c.example"]),
        ("0.0.0.0", (), []),
    ],
)
def test_a_console_on_loopback_answers_to_its_own_names_alone(
    host: str, origins: tuple[str, ...], hosts: list[str]
) -> None:
    place = Place(target=TARGET, host=host, origins=origins)
    assert values(place, "server.allowedHosts") == hosts
    assert values(place, "server.corsAllowedOrigins") == list(origins)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8501"),
        ("0.0.0.0", "http://127.0.0.1:8501"),
        ("", "http://127.0.0.1:8501"),
        ("::", "http://[::1]:8501"),
        ("192.0.2.7", "http://192.0.2.7:8501"),
    ],
)
def test_its_address_is_one_to_open(host: str, url: str) -> None:
    assert Place(target=TARGET, host=host).url == url


def test_https_is_served_with_the_certificate() -> None:
    place = Place(target=TARGET, tls_cert="c.pem", tls_key="k.pem")
    assert place.url.startswith("https://")
    assert (values(place, "server.sslCertFile"), values(place, "server.sslKeyFile")) == (["c.pem"], ["k.pem"])


def test_both_themes_say_the_same_things() -> None:
    assert THEMES["light"].keys() == THEMES["dark"].keys()


def test_no_modules_lie_beside_the_script() -> None:
    """Streamlit would take those in a folder ``pages`` for pages of its own, and run them."""
    assert [entry.name for entry in APP.parent.iterdir() if entry.is_dir() and entry.name != "__pycache__"] == []


def test_streamlit_is_click() -> None:
    """Options are given as ``--name=value``, and lists a value at a time."""
    from streamlit.web import cli

    run = cli.main.commands["run"]
    multiple = {param.name for param in run.params if isinstance(param, click.Option) and param.multiple}
    assert {"server_allowedHosts", "server_corsAllowedOrigins"} <= multiple
