"""``make run`` on a machine without any model and without a hub."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from kikitori.data import sample_text

LONGEST_SECONDS = 240.0


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port somebody else uses, until the test is over."""
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@contextmanager
def first_run(data_dir: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """Stopped at the end as Ctrl-C stops it, or when it takes too long."""
    environment = os.environ | {"KIKITORI_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "kikitori.quickstart", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(LONGEST_SECONDS, process.terminate)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)


def test_a_first_run_hears_the_sample_beside_a_taken_port_and_stops(tmp_path: Path, taken_port: int) -> None:
    told = ""
    with first_run(tmp_path / "data", taken_port) as process:
        assert process.stdout
        for line in process.stdout:
            told += line
            if line.startswith("Stop"):
                break
        assert f"Port {taken_port} is taken" in told
        assert sample_text() in told
        (docs,) = re.findall(r"http://\S+/docs", told)
        assert httpx.get(docs).status_code == 200
        (console,) = re.findall(r"In the browser  (http://\S+)", told)
        wait_for_page(console)
    assert process.returncode == 0
    for gone in (docs, console):
        with pytest.raises(httpx.ConnectError):
            httpx.get(gone)


def wait_for_page(url: str) -> None:
    """The console is there a moment after the server."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        try:
            assert httpx.get(url).status_code == 200
        except httpx.ConnectError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"Nobody answers at {url}.")
