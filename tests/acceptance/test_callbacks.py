"""Callbacks of a real server to a real receiver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from tests.conftest import Sample
from tests.servers import Server, running_server


@dataclass(slots=True)
class Receiver:
    url: str = ""
    status: int = 204
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)
    """While it is set, nothing is answered."""

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.received]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.received.append((dict(self.headers), body))
            if made.silent.is_set():
                over.wait()
                return
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}/hook?token=hunter2"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def serving(data_dir: Path, model: Path, *, timeout: float = 60.0) -> Iterator[Server]:
    with running_server(
        data_dir,
        model=str(model),
        allowed_addresses="127.0.0.0/8",
        callback_timeout_seconds=str(timeout),
    ) as server:
        yield server


def wait(condition: Callable[[], object], *, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def submit(server: Server, sample: Sample, receiver: Receiver) -> str:
    files = {"file": (sample.path.name, sample.path.read_bytes())}
    answer = httpx.post(f"{server.url}/api/tasks", files=files, data={"callback_url": receiver.url})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def callback(server: Server, task: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = httpx.get(f"{server.url}/api/tasks/{task}/callbacks").json()["callbacks"]
    return found[0] if found else {"status": "none yet", "attempts": []}


def test_a_finished_task_is_told_and_told_again_on_request(
    tmp_path: Path, mini_model: Path, samples: dict[str, Sample], receiver: Receiver
) -> None:
    sample = samples["en_01"]
    with serving(tmp_path / "data", mini_model) as server:
        secret = httpx.get(f"{server.url}/api/callbacks/secret").json()["secret"]
        task = submit(server, sample, receiver)
        wait(lambda: callback(server, task)["status"] == "delivered")
        [(headers, body)] = receiver.received
        told = Webhook(secret).verify(body, headers)
        assert (told["type"], told["data"]["status"]) == ("task.succeeded", "succeeded")
        assert told["data"]["result"] == httpx.get(f"{server.url}/api/tasks/{task}/result").json()
        assert told["data"]["result"]["text"] == sample.text
        again = httpx.post(f"{server.url}/api/tasks/{task}/callbacks/resend")
        assert (again.status_code, again.json()["id"]) == (202, headers["webhook-id"])
        wait(lambda: len(callback(server, task)["attempts"]) == 2)
        assert receiver.ids() == [headers["webhook-id"]] * 2
        log = server.log.read_text()
    assert "callback delivered" in log
    assert "hunter2" not in log


def test_a_callback_survives_the_death_of_the_server_under_its_id(
    tmp_path: Path, mini_model: Path, samples: dict[str, Sample], receiver: Receiver
) -> None:
    receiver.silent.set()
    with serving(tmp_path / "data", mini_model, timeout=1.0) as server:
        task = submit(server, samples["en_01"], receiver)
        wait(lambda: receiver.received)
        server.process.kill()
        server.process.wait()
    receiver.silent.clear()
    with serving(tmp_path / "data", mini_model, timeout=1.0) as server:
        wait(lambda: callback(server, task)["status"] == "delivered")
        secret = httpx.get(f"{server.url}/api/callbacks/secret").json()["secret"]
    assert len(receiver.ids()) >= 2
    assert len(set(receiver.ids())) == 1
    for headers, body in receiver.received:  # the secret is the same after the restart
        assert Webhook(secret).verify(body, headers)["data"]["id"] == task
