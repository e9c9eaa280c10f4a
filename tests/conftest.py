"""What all tests share: the mini model and its samples, recorded speech where there is some, and no network.

Nothing here or below leaves this machine: connecting anywhere but to loopback fails the test that did it, and the model
hub is an address where nobody answers. What the person at the keyboard has set or stored is not seen.
"""

from __future__ import annotations

import atexit
import ipaddress
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
MINI = DATA / "whisper-mini"


def _isolate() -> None:
    """Before any of our modules is imported; child processes inherit it."""
    for name in [name for name in os.environ if name.startswith("KIKITORI_") and not name.startswith("KIKITORI_TEST_")]:
        del os.environ[name]
    home = tempfile.mkdtemp(prefix="kikitori-tests-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["XDG_DATA_HOME"] = f"{home}/data"
    os.environ["HF_HOME"] = f"{home}/hub"
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # the discard port: refused at once
    os.environ["PYTHONASYNCIODEBUG"] = "1"
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        os.environ.pop(proxy, None)
        os.environ.pop(proxy.lower(), None)


_isolate()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "service: needs PostgreSQL or MariaDB beside it; must run where CI=true")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI=true, a skipped test of a service is a failure: CI has every service."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and item.get_closest_marker("service"):
        report.outcome = "failed"
        report.longrepr = f"A service is missing, and CI=true: {report.longrepr}"
    return report


# A machine without a network -------------------------------------------------------------------------------------


class OutsideConnection(ConnectionRefusedError):
    """Looks to the code under test like a machine that is offline."""


_outside: list[str] = []


def _is_near(address: object) -> bool:
    """Unix sockets and loopback addresses."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0])
    if host in ("", "localhost"):
        return True
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return number.is_loopback or number.is_unspecified


def _guarded(connect: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if not _is_near(address):
            _outside.append(str(address))
            raise OutsideConnection(f"Tests stay on this machine; {address} is not on it.")
        return connect(self, address)

    return guarded


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(socket.socket, "connect", _guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", _guarded(socket.socket.connect_ex))
    _outside.clear()
    yield
    if _outside:
        pytest.fail(f"This test tried to leave the machine: {', '.join(_outside)}")


# Recordings ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A recording made for the mini model, and the truth about it (samples.json has more in ``facts``)."""

    path: Path
    language: str
    duration: float
    text: str
    facts: Mapping[str, Any]


@pytest.fixture(scope="session")
def mini_model() -> Path:
    """The folder of a Whisper model that knows a few sentences of English, Japanese and Korean."""
    return MINI / "model"


@pytest.fixture(scope="session")
def samples() -> Mapping[str, Sample]:
    """The recordings of the mini model by name: ``samples["en_01"]``."""
    facts = json.loads((MINI / "samples" / "samples.json").read_text(encoding="utf-8"))
    return {
        fact["file"].removesuffix(".wav"): Sample(
            path=MINI / "samples" / fact["file"],
            language=fact["language"],
            duration=fact["duration"],
            text=fact["text"],
            facts=fact,
        )
        for fact in facts
    }


@pytest.fixture(scope="session")
def hello_wav() -> Path:
    """1.5 s in which a voice says: Hello and welcome."""
    return DATA / "hello_flite.wav"


@pytest.fixture(scope="session")
def speech_dir() -> Path:
    """A folder of recorded speech, outside of the project: KIKITORI_TEST_SPEECH."""
    folder = Path(os.environ.get("KIKITORI_TEST_SPEECH", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no recorded speech here; KIKITORI_TEST_SPEECH names a folder of it")
    return folder
