"""The console's process: how it is started, watched and ended. Streamlit itself is imported only there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from kikitori.console.api import trust
from kikitori.console.look import theme_options
from kikitori.console.target import LOOPBACK, Target, to_environment
from kikitori.errors import Unavailable

APP = Path(__file__).parent / "script" / "app.py"
DEFAULT_PORT = 8501
UPLOAD_MB = 2_048
"""The console's own bound; the server's is what counts, and its answer says so."""
DISCONNECTED_SECONDS = 120
START_SECONDS = 90.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a console listens, and for which server."""

    target: Target
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tls_cert: str = ""
    tls_key: str = ""
    origins: tuple[str, ...] = field(default=())
    """Addresses of the console behind a reverse proxy: ``https://console.example.org``."""

    @property
    def url(self) -> str:
        """To open in a browser on this machine."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        name = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls_cert else 'http'}://{name}:{self.port}"


def options(place: Place) -> list[tuple[str, str]]:
    """Streamlit's options: name and value; a list is given a value at a time."""
    chosen = {
        "server.address": place.host or "0.0.0.0",
        "server.port": str(place.port),
        "server.headless": "true",  # opens no browser
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        "browser.serverAddress": place.host if place.host in LOOPBACK else "localhost",
        "server.fileWatcherType": "none",
        "server.runOnSave": "false",
        "runner.magicEnabled": "false",
        # Else a click starts a thread beside the run that it interrupts, and parts of the page get lost.
        "runner.fastReruns": "false",
        "server.maxUploadSize": str(UPLOAD_MB),
        "server.disconnectedSessionTTL": str(DISCONNECTED_SECONDS),
        "server.enableXsrfProtection": "true",
        "server.enableCORS": "true",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",  # what goes wrong is for the log
        "logger.level": "warning",
        "logger.hideWelcomeMessage": "true",
    }
    if place.tls_cert:
        chosen |= {"server.sslCertFile": place.tls_cert, "server.sslKeyFile": place.tls_key}
    lists = {"server.corsAllowedOrigins": place.origins, "server.allowedHosts": _hosts(place)}
    return [*(chosen | theme_options()).items(), *((name, value) for name in lists for value in lists[name])]


def _hosts(place: Place) -> tuple[str, ...]:
    """Names that a console on loopback answers to: a foreign one that leads here is DNS rebinding. Empty: all."""
    if place.host not in LOOPBACK:
        return ()
    return *LOOPBACK, *(urlsplit(origin).hostname or "" for origin in place.origins)


class Console:
    """A console in a process of its own. It ends with us, however we end: it reads a pipe that only we hold."""

    def __init__(self, place: Place) -> None:
        self.place = place
        command = [sys.executable, "-m", "kikitori.console.process"]
        self._process = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options(place))],
            env=os.environ | to_environment(place.target),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # its greeting; what is wrong comes on stderr
            process_group=0,  # a Ctrl-C is ours
        )

    def wait_until_ready(self, give_up: Callable[[], bool] = lambda: False) -> None:
        """Return when it answers, or when ``give_up`` says so. Raises Unavailable when it ends, or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        verify = trust(self.place.tls_cert) if self.place.tls_cert else True
        with httpx.Client(trust_env=False, verify=verify, timeout=5.0) as client:
            while self.is_running() and time.monotonic() < deadline and not give_up():
                try:
                    if client.get(f"{self.place.url}/_stcore/health").is_success:
                        return
                except httpx.TransportError:
                    pass  # does not listen yet
                time.sleep(POLL_SECONDS)
        if not give_up():
            raise Unavailable(
                f"The console did not start on {self.place.url}.", remedy="What it said stands above; try another port."
            )

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        return self._process.wait()

    def close(self) -> None:
        """End it, and wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
