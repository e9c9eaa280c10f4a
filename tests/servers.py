"""Real server processes on real ports."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

PATIENCE_SECONDS = 120.0
"""A server of a busy machine may take that long to start, and to stop."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready, and its process."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    data_dir: Path

    def metric(self, name: str) -> float:
        """The value of one line of /metrics, labels included in ``name``."""
        text = httpx.get(f"{self.url}/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def busy(self) -> int:
        """Requests that use or wait for a model."""
        return sum(int(model["requests"]) for model in httpx.get(f"{self.url}/api/models/loaded").json()["models"])


CHANCE = random.SystemRandom()
"""No seed: two processes of tests shall not find the same port, whatever their tests do with ``random``."""


def free_port() -> int:
    """A port for a server that is stopped and started again: none of those that the system gives to whoever asks."""
    while True:
        port = CHANCE.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def running_server(data_dir: Path, *flags: str, **settings: str) -> Iterator[Server]:
    """``kikitori serve`` as a user starts it; ``settings`` become KIKITORI_* variables."""
    log = data_dir.parent / f"{data_dir.name}.log"
    environment = os.environ | {f"KIKITORI_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "kikitori", "serve", "--port", "0", "--data-dir", str(data_dir), *flags]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)
        try:
            yield Server(_wait_until_ready(process, log), process, log, data_dir)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()  # one that hangs fails this test, and no other


def _wait_until_ready(process: subprocess.Popen[str], log: Path) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"listens on (https?://\S+?)\.\s", log.read_text()):
            url = found[1]
            if httpx.get(f"{url}/health/ready", verify=False).status_code == 200:
                return url
        time.sleep(0.05)
    pytest.fail(f"The server did not become ready:\n{log.read_text()}")
