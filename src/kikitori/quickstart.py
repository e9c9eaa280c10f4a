"""A first run: start a server, let it hear the bundled sample, show what to do next, keep serving.

``make run`` is ``python -m kikitori.quickstart``. Everything goes through the public API, as a client would.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import httpx

from kikitori.data import sample_path

HOST = "127.0.0.1"
PORTS_TRIED = 50
POLL_SECONDS = 0.2
SAMPLE_SECONDS = 300.0
"""What the slowest machine may take for the sample."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m kikitori.quickstart", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="port of the server; taken: the next free one")
    parser.add_argument("--console-port", type=int, default=8501, help="port of the console; taken: the next free one")
    arguments = parser.parse_args()
    port = chosen_port(arguments.port, "server")
    console_port = chosen_port(arguments.console_port + (arguments.console_port == port), "console")
    url = f"http://{HOST}:{port}"
    signal.signal(signal.SIGTERM, _stop)
    try:
        with running_server(port, console_port) as server, httpx.Client(base_url=url, trust_env=False) as client:
            if wait_until_ready(server, client):
                show_sample(client)
                show_next_steps(url, f"http://{HOST}:{console_port}")
            sys.exit(server.wait())
    except KeyboardInterrupt:
        say("Stopped.")


def chosen_port(wanted: int, who: str) -> int:
    """``wanted``, or a free one, and then it is said."""
    port = free_port(wanted)
    if port != wanted:
        say(f"Port {wanted} is taken by another program, so this {who} gets port {port}.")
    return port


def free_port(wanted: int) -> int:
    """``wanted``, or the next port where nobody listens."""
    for port in range(wanted, min(wanted + PORTS_TRIED, 65_536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as exc:
                if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
            else:
                return int(probe.getsockname()[1])
    sys.exit(f"The ports from {wanted} on are taken. Name a free one: make run PORT=9000")


@contextmanager
def running_server(port: int, console_port: int) -> Generator[subprocess.Popen[bytes], None, None]:
    """``kikitori serve --console`` beside us; asked to stop at the end, and waited for."""
    command = [sys.executable, "-m", "kikitori", "serve", "--host", HOST, "--port", str(port)]
    command += ["--console", "--console-port", str(console_port)]
    calm = {"KIKITORI_LOG_LEVEL": "warning", **os.environ}
    # In a group of its own: a Ctrl-C reaches it once, through us.
    server = subprocess.Popen(command, env=calm, process_group=0)
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait()
        except KeyboardInterrupt:  # asked twice: somebody does not want to wait for what still runs
            server.kill()


def wait_until_ready(server: subprocess.Popen[bytes], client: httpx.Client) -> bool:
    """False when the server ended instead; it has said why. A model that is being downloaded may take its time."""
    told = ""
    while server.poll() is None:
        try:
            answer = client.get("/health/ready")
        except httpx.TransportError:  # does not listen yet
            answer = None
        if answer is not None:
            if answer.is_success:
                return True
            reason = answer.json()["reason"]
            if reason != told:
                say(reason)
                told = reason
        time.sleep(POLL_SECONDS)
    return False


def show_sample(client: httpx.Client) -> None:
    key = os.environ.get("KIKITORI_API_KEY")
    started = time.monotonic()
    with sample_path().open("rb") as sample:
        answer = client.post(
            "/v1/audio/transcriptions",
            files={"file": sample},
            data={"model": "whisper-1"},
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=SAMPLE_SECONDS,
        )
    if answer.is_success:
        heard_by = f"{answer.headers['x-kikitori-model']} in {time.monotonic() - started:.1f} s"
        say(f"\nThe bundled sample, heard by {heard_by}:\n\n    {answer.json()['text']}\n")
    else:
        say(f"\nThe bundled sample was not heard: {answer.json()['error']['message']}\n")


def show_next_steps(url: str, console: str) -> None:
    say(
        f"In the browser  {console}\n"
        f"Try your own    curl -F file=@recording.mp3 {url}/v1/audio/transcriptions\n"
        f"Live captions   {url}/live\n"
        f"Documentation   {url}/docs\n"
        "Stop            Ctrl-C"
    )


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
