"""A server of our own to measure."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from kikitori.errors import Unavailable

READY_SECONDS = 120.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.05


@contextmanager
def own_server(settings: Mapping[str, str]) -> Iterator[str]:
    """``kikitori serve`` with a data folder of its own; yields its address when it is ready. Raises Unavailable."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        command = [sys.executable, "-m", "kikitori", "serve", "--port", str(port), "--data-dir", folder]
        environment = os.environ | {f"KIKITORI_{name.upper()}": value for name, value in settings.items()}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield _ready(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(timeout=STOP_SECONDS)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _ready(address: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.get(f"{address}/health/ready").status_code == httpx.codes.OK:
                    return address
            except httpx.TransportError:
                pass
            time.sleep(LOOK_SECONDS)
    raise Unavailable("The server to measure did not start.", remedy="Start one with kikitori serve, and give --url.")
