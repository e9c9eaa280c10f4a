"""``kikitori tasks``, ``worker`` and ``nodes`` as people run them: processes beside a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.servers import free_port, running_server

if TYPE_CHECKING:
    from tests.conftest import Sample

Samples = Mapping[str, "Sample"]
REPEATS = 2
COMMAND = [sys.executable, "-m", "kikitori"]


class Kikitori:
    """Runs commands that ask one server."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.environment = os.environ | {"KIKITORI_URL": url, "KIKITORI_DATA_DIR": str(data_dir)}
        del self.environment["PYTHONASYNCIODEBUG"]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    @contextmanager
    def running(self, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
        environment = self.environment | {f"KIKITORI_{name.upper()}": value for name, value in settings.items()}
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def long_recording(tmp_path: Path, samples: Samples) -> Path:
    """Some minutes of speech."""
    made = tmp_path / "long.wav"
    with wave.open(str(samples["en_multi_80s"].path)) as source, wave.open(str(made), "wb") as target:
        target.setparams(source.getparams())
        sound = source.readframes(source.getnframes())
        for _ in range(REPEATS):
            target.writeframes(sound)
    return made


@pytest.fixture
def site(tmp_path: Path, samples: Samples) -> Iterator[str]:
    """A site on this machine that has ``talk.wav``."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(samples["en_02"].path, folder / "talk.wav")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}"
    listener.shutdown()
    thread.join()
    listener.server_close()


def test_recordings_and_links_become_texts(tmp_path: Path, mini_model: Path, samples: Samples, site: str) -> None:
    talks = tmp_path / "talks"
    talks.mkdir()
    shutil.copy(samples["en_01"].path, talks / "one.wav")
    (talks / "two.mp3").write_text("a letter, no music")
    with running_server(tmp_path / "data", model=str(mini_model), allowed_addresses="127.0.0.0/8") as server:
        kikitori = Kikitori(server.url, server.data_dir)
        sent = kikitori("tasks", "submit", str(talks), f"{site}/talk.wav", "--tag", "mine", "-l", "en", "--wait")
        assert sent.returncode == 1, sent.stderr
        one, two, link = sent.stdout.split()
        assert re.search(r"^one\.wav: done, 0:02 of audio in .*, en$", sent.stderr, re.MULTILINE)
        assert re.search(r"^kikitori: two\.mp3: .+", sent.stderr, re.MULTILINE)

        listed = kikitori("tasks", "list", "--tag", "mine").stdout.splitlines()
        assert {tuple(line.split("\t")[:2]) for line in listed} == {
            (one, "succeeded"),
            (two, "failed"),
            (link, "succeeded"),
        }
        assert len(kikitori("tasks", "list", "--status", "failed", "--created-after", "1h").stdout.splitlines()) == 1
        assert json.loads(kikitori("tasks", "show", one, "--json").stdout)["options"] == {"language": "en"}

        text = kikitori("tasks", "result", one)
        assert (text.returncode, text.stdout) == (0, f"{samples['en_01'].text}\n")
        written = kikitori("tasks", "result", one, link, "-f", "srt", "-o", str(tmp_path / "out"))
        assert written.returncode == 0, written.stderr
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.srt", "talk.srt"]
        assert kikitori("tasks", "result", two).returncode == 1

        assert kikitori("tasks", "retry", two).returncode == 0
        assert kikitori("tasks", "watch", two, "-q").returncode == 1
        assert kikitori("tasks", "delete", one, two, link).returncode == 0
        assert kikitori("tasks", "list").stdout == ""
        assert [path for path in (server.data_dir / "media").rglob("*.wav")] == []


def test_watching_goes_on_when_the_server_starts_again(tmp_path: Path, mini_model: Path, samples: Samples) -> None:
    port = ["--port", str(free_port())]
    settings = {"model": str(mini_model)}
    with running_server(tmp_path / "data", *port, "--no-worker", **settings) as server:
        kikitori = Kikitori(server.url, server.data_dir)
        sent = kikitori("tasks", "submit", str(samples["en_01"].path))
        watch = kikitori.running("tasks", "watch", sent.stdout.strip())
        process = watch.__enter__()
        assert process.stdout is not None
        assert process.stdout.readline() == "en_01.wav: queued, number 1\n"
    try:
        with running_server(tmp_path / "data", *port, **settings):
            assert process.wait(timeout=120) == 0
            assert "en_01.wav: done" in process.stdout.read()
    finally:
        watch.__exit__(None, None, None)


def test_a_worker_that_is_stopped_gives_its_task_back(
    tmp_path: Path, mini_model: Path, samples: Samples, long_recording: Path
) -> None:
    worker = ["worker", "--model", str(mini_model), "--cpu-threads", "1"]
    with running_server(tmp_path / "data", "--no-worker", model=str(mini_model)) as server:
        kikitori = Kikitori(server.url, server.data_dir)
        task = kikitori("tasks", "submit", str(long_recording)).stdout.strip()
        with kikitori.running(*worker) as first:
            until_running(server.url, task)
            first.send_signal(signal.SIGTERM)
            assert first.wait(timeout=120) == 0
        assert status(kikitori, task) == "queued"
        with kikitori.running(*worker):
            assert kikitori("tasks", "watch", task).returncode == 0
            nodes = json.loads(kikitori("nodes", "--all", "--json").stdout)
            assert sorted((node["state"], node["slots"] > 0) for node in nodes) == [
                ("alive", False),
                ("alive", True),
                ("stopped", True),
            ]
        text = kikitori("tasks", "result", task).stdout
        assert text.count(samples["en_multi_80s"].text.split(".")[0]) >= REPEATS


def until_running(url: str, task: str) -> None:
    deadline = time.monotonic() + 120
    while httpx.get(f"{url}/api/tasks/{task}").json()["status"] != "running":
        assert time.monotonic() < deadline, "nobody works on it"
        time.sleep(0.02)


def status(kikitori: Kikitori, task: str) -> str:
    return str(json.loads(kikitori("tasks", "show", task, "--json").stdout)["status"])


def test_ctrl_c_leaves_the_tasks_alone(tmp_path: Path, mini_model: Path, samples: Samples) -> None:
    with running_server(tmp_path / "data", "--no-worker", model=str(mini_model)) as server:
        kikitori = Kikitori(server.url, server.data_dir)
        with kikitori.running("tasks", "submit", str(samples["en_01"].path), "--wait") as process:
            assert process.stdout is not None
            task = process.stdout.readline().strip()
            while "number 1" not in process.stdout.readline():
                pass
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
            assert process.wait(timeout=120) == 130
        assert "goes on without you" in rest
        assert "Traceback" not in rest
        assert status(kikitori, task) == "queued"


def test_a_key_is_asked_for_and_taken_from_the_environment(tmp_path: Path, mini_model: Path, hello_wav: Path) -> None:
    data_dir = tmp_path / "data"
    secret = Kikitori("", data_dir)("keys", "create").stdout.strip()
    with running_server(data_dir, model=str(mini_model)) as server:
        refused = Kikitori(server.url, data_dir)("tasks", "submit", str(hello_wav))
        assert (refused.returncode, "--api-key or KIKITORI_API_KEY" in refused.stderr) == (2, True)
        kikitori = Kikitori(server.url, data_dir)
        kikitori.environment["KIKITORI_API_KEY"] = secret
        assert kikitori("tasks", "submit", str(hello_wav), "--wait", "-q").returncode == 0
        assert len(kikitori("tasks", "list").stdout.splitlines()) == 1
