"""Servers to measure: one in this process, or a real one of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
import psutil
import uvicorn

from kikitori.services.opening import open_services
from kikitori.settings import Settings
from kikitori.web.app import create_app

READY_SECONDS = 120.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def in_this_process(settings: Settings) -> Iterator[str]:
    """The whole server in a thread of this process; yields its address."""
    stop = threading.Event()

    async def run() -> None:
        async with open_services(settings) as services:
            config = uvicorn.Config(create_app(services), port=settings.port, log_level="warning", lifespan="off")
            server = uvicorn.Server(config)
            async with anyio.create_task_group() as group:
                group.start_soon(server.serve)
                await anyio.to_thread.run_sync(stop.wait)
                server.should_exit = True

    thread = threading.Thread(target=anyio.run, args=(run,), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{settings.port}"
    wait_until_ready(address)
    try:
        yield address
    finally:
        stop.set()
        thread.join()


@contextmanager
def of_its_own(model: str, device: str, data_dir: Path, **settings: str) -> Iterator[tuple[str, psutil.Process]]:
    """``kikitori serve`` as users start it; yields its address and process, ready. ``settings`` are KIKITORI_*."""
    port = free_port()
    command = [sys.executable, "-m", "kikitori", "serve", "--port", str(port), "--data-dir", str(data_dir)]
    environment = os.environ | {"KIKITORI_MODEL": model, "KIKITORI_DEVICE": device}
    environment |= {f"KIKITORI_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(address)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_until_ready(address: str) -> None:
    """Until the server can transcribe."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise TimeoutError(f"{address} did not become ready.")
