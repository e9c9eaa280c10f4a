"""What all tests share: the mini model and its samples, recorded speech where there is some, and no network.

Nothing here or below leaves this machine: connecting anywhere but to loopback fails the test that did it, and the model
hub is an address where nobody answers. What the person at the keyboard has set or stored is not seen.
"""

from __future__ import annotations

import atexit
import ctypes
import inspect
import ipaddress
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

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
    os.environ["OMP_WAIT_POLICY"] = "passive"  # threads of a model that wait take no time from other processes
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        os.environ.pop(proxy, None)
        os.environ.pop(proxy.lower(), None)


PATIENCE_SECONDS = 60.0
"""On a busy machine whatever is waited for may take long, and what comes sooner is not waited for."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""


def _wait_long() -> None:
    """Clients that name no limit of their own have patience; by default it is 5 s for an answer, 10 s for a socket."""
    usual = inspect.signature(httpx.Client).parameters["timeout"].default
    usual.connect = usual.read = usual.write = usual.pool = PATIENCE_SECONDS
    assert connect.__init__.__kwdefaults__ is not None
    connect.__init__.__kwdefaults__ |= {"open_timeout": PATIENCE_SECONDS, "ping_timeout": PATIENCE_SECONDS}


def _keep_memory() -> None:
    """The windows of a model come and go: to ask the system for their memory each time costs a third of all."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**30)


_isolate()


def _hear_ctrl_c() -> None:
    """A shell that starts the tests in the background has it ignored, and so would every process they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_wait_long()
_keep_memory()
_hear_ctrl_c()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "service: needs PostgreSQL, MariaDB or Chromium; must run where CI=true")


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
