from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kikitori.cli import checks
from kikitori.cli.checks import Line, State, all_lines, machine, recognition, server, speech
from kikitori.cli.doctor import app
from kikitori.errors import Unavailable
from kikitori.settings import Settings
from kikitori.store.database import Database
from kikitori.store.keys import KeyStore
from kikitori.store.nodes import NodeStore
from kikitori.tasks.cluster import this_node

Make = Callable[..., Settings]
heard_sample = cache(recognition._heard_sample)
"""The embedded engine hears the sample once for all tests: it takes seconds, and no setting changes it."""


@pytest.fixture(autouse=True)
def _heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "_heard_sample", heard_sample)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.chdir(tmp_path)
    return lambda **given: Settings(**{"data_dir": tmp_path / "data", "offline": True, **given})


def only(lines: Iterator[Line]) -> Line:
    (line,) = lines
    return line


def make_database(settings: Settings, *, keys: int = 0) -> None:
    async def work() -> None:
        async with Database(settings.database) as database:
            await database.upgrade()
            for number in range(keys):
                await KeyStore(database).create(f"key {number}", "mika")

    asyncio.run(work())


def put_nodes(settings: Settings, *, slots: int, silent_seconds: float) -> None:
    async def work() -> None:
        async with Database(settings.database) as database:
            node = this_node(slots=slots, media_url="")
            heard = node.heartbeat_at - timedelta(seconds=silent_seconds)
            await NodeStore(database).register(replace(node, heartbeat_at=heard))

    asyncio.run(work())


def test_a_check_that_breaks_is_a_line(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def check_broken_thing(settings: Settings) -> Iterator[Line]:
        yield Line(name="first", state=State.OK, detail="fine")
        raise ImportError("no such library")

    def check_known(settings: Settings) -> Iterator[Line]:
        raise Unavailable("It is off.", remedy="Switch it on.")
        yield

    monkeypatch.setattr(checks, "CHECKS", (check_broken_thing, check_known, machine.check_python))
    first, broken, known, python = all_lines(settings())
    assert first.detail == "fine"
    assert (broken.name, broken.state, broken.detail) == ("broken thing", State.FAIL, "ImportError: no such library")
    assert (known.name, known.detail, known.remedy) == ("known", "It is off.", "Switch it on.")
    assert python.state is State.OK


def test_every_failure_has_a_remedy(settings: Make, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    broken = settings(
        database_url="postgresql://u:s3cret@127.0.0.1:9/d",
        device="cuda",
        compute_type="int3",
        model="nonesuch",
        tls_cert=tmp_path / "none.pem",
    )
    lines = list(all_lines(broken))
    failed = {line.name for line in lines if line.state is State.FAIL}
    assert failed >= {"data folder", "database", "default model", "tls"}
    assert [line.name for line in lines if line.state in (State.FAIL, State.WARN) and not line.remedy] == []
    assert "s3cret" not in str(lines)


def test_packages_are_named_with_their_versions(settings: Make) -> None:
    line = only(machine.check_packages(settings()))
    assert line.state is State.OK
    assert "ctranslate2 4." in line.detail


def test_a_missing_package_fails(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("av", "not-a-package-of-ours"))
    found, missing = machine.check_packages(settings())
    assert (found.state, missing.state) == (State.OK, State.FAIL)
    assert missing.detail == "Missing: not-a-package-of-ours."


def test_the_embedded_engine_hears_the_sample(settings: Make) -> None:
    lines = {line.name: line for line in recognition.check_engines(settings())}
    assert lines["engine whisper"].state is State.OK
    assert lines["engine pocketsphinx"].state is State.OK
    assert "Heard the bundled sample" in lines["engine pocketsphinx"].detail
    assert lines["engine openai_whisper"].state in (State.OK, State.OFF)


def test_the_default_model_is_found_or_said_to_be_missing(settings: Make, mini_model: Path) -> None:
    assert only(recognition.check_default_model(settings(model=str(mini_model)))).state is State.OK
    auto = only(recognition.check_default_model(settings()))
    assert (auto.state, "kikitori models pull base" in auto.remedy) == (State.WARN, True)
    absent = only(recognition.check_default_model(settings(model="small")))
    assert (absent.state, absent.remedy) == (State.FAIL, "Get it: kikitori models pull small")
    later = only(recognition.check_default_model(settings(model="small", offline=False)))
    assert (later.state, "first start downloads it" in later.detail) == (State.WARN, True)


def test_loading_hears_the_sample_with_the_default_model(settings: Make, mini_model: Path) -> None:
    line = only(recognition.check_loading(settings(model=str(mini_model))))
    assert (line.name, line.state) == ("loading", State.OK)


def test_the_data_folder_is_writable_or_not(settings: Make, tmp_path: Path) -> None:
    line = only(server.check_data_folder(settings()))
    assert (line.state, "will be made" in line.detail) == (State.OK, True)
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir()
    assert only(server.check_data_folder(settings())).state is State.OK
    assert list((tmp_path / "data").iterdir()) == []
    (tmp_path / "file").touch()
    assert only(server.check_data_folder(settings(data_dir=tmp_path / "file" / "deep"))).state is State.FAIL


def test_little_space_is_said(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LITTLE_SPACE_BYTES", 2**80)
    assert only(server.check_data_folder(settings())).state is State.WARN
    monkeypatch.setattr(server, "NO_SPACE_BYTES", 2**80)
    assert only(server.check_data_folder(settings())).state is State.FAIL


def test_looking_at_the_database_makes_none(settings: Make, tmp_path: Path) -> None:
    assert "will be made" in only(server.check_database(settings())).detail
    assert only(server.check_keys(settings())).state is State.OK
    assert not (tmp_path / "data").exists()


def test_the_state_of_the_database_is_said(settings: Make, tmp_path: Path) -> None:
    make_database(settings())
    assert only(server.check_database(settings())).detail.endswith("answers")
    file = tmp_path / "data" / "kikitori.db"
    for revision, state, words in (("9999", State.FAIL, "newer Kikitori"), ("0000", State.OK, "will be upgraded")):
        connection = sqlite3.connect(file)
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()
        connection.close()
        line = only(server.check_database(settings()))
        assert (line.state, words in line.detail) == (state, True)


def test_the_media_store_is_tried(settings: Make, tmp_path: Path) -> None:
    assert "will be made" in only(server.check_media_store(settings())).detail
    assert not (tmp_path / "data").exists()
    (tmp_path / "data" / "media").mkdir(parents=True)
    assert "can be written" in only(server.check_media_store(settings())).detail
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        list(server.check_media_store(settings(media_url=f"file://{tmp_path}/file/media")))


def test_the_nodes_of_the_database_are_counted(settings: Make) -> None:
    assert list(server.check_nodes(settings())) == []
    make_database(settings())
    assert only(server.check_nodes(settings())).state is State.OFF
    put_nodes(settings(), slots=0, silent_seconds=0)
    waiting = only(server.check_nodes(settings()))
    assert (waiting.state, "kikitori worker" in waiting.remedy) == (State.WARN, True)
    put_nodes(settings(), slots=2, silent_seconds=0)
    line = only(server.check_nodes(settings()))
    assert (line.state, line.detail) == (State.OK, "2 alive, with places for 2 tasks")
    put_nodes(settings(), slots=2, silent_seconds=100)
    line = only(server.check_nodes(settings()))
    assert (line.state, line.detail) == (State.WARN, "2 alive, with places for 2 tasks; 1 silent")


@pytest.mark.parametrize(
    ("keys", "given", "state"),
    [
        (0, {}, State.OK),
        (0, {"host": "0.0.0.0"}, State.FAIL),
        (0, {"host": "0.0.0.0", "insecure": True}, State.WARN),
        (2, {"host": "0.0.0.0"}, State.OK),
    ],
)
def test_an_open_address_needs_a_key(settings: Make, keys: int, given: dict[str, object], state: State) -> None:
    make_database(settings(), keys=keys)
    assert only(server.check_keys(settings(**given))).state is state


def test_a_free_port_and_a_taken_one(settings: Make) -> None:
    assert only(server.check_address(settings(port=0))).state is State.OK
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(0)
        line = only(server.check_address(settings(port=taken.getsockname()[1])))
    assert (line.state, "--port" in line.remedy) == (State.FAIL, True)


def test_certificates_are_read(settings: Make, tmp_path: Path) -> None:
    assert list(server.check_tls(settings())) == []
    (tmp_path / "cert.pem").write_text("not a certificate")
    lines = [
        only(server.check_tls(settings(tls_cert=tmp_path / "cert.pem"))),
        only(server.check_tls(settings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "cert.pem"))),
    ]
    assert [line.state for line in lines] == [State.FAIL, State.FAIL]


def test_the_hub_is_asked_unless_offline(settings: Make) -> None:
    assert only(recognition.check_model_hub(settings())).state is State.OFF
    assert only(recognition.check_model_hub(settings(offline=False))).state is State.WARN


def test_a_hub_that_answers_and_one_that_says_nothing(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as hub:
        answering = threading.Thread(target=hub.handle_request)
        answering.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        assert only(recognition.check_model_hub(settings(offline=False))).state is State.OK
        answering.join()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        line = only(recognition.check_model_hub(settings(offline=False, hub_connect_timeout_seconds=0.1)))
    assert (line.state, "cannot be reached" in line.detail) == (State.WARN, True)


def test_the_command_prints_lines_and_says_by_its_code_whether_something_failed(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["--offline", "--port", "0", "--data-dir", str(tmp_path / "d")])
    assert shown.exit_code == 0, shown.stdout
    assert "ok    python " in shown.stdout
    assert "ok    engine pocketsphinx    Heard the bundled sample" in shown.stdout


def test_the_command_prints_json(monkeypatch: pytest.MonkeyPatch, settings: Make, mini_model: Path) -> None:
    monkeypatch.setattr(checks, "CHECKS", (recognition.check_devices,))
    done = CliRunner().invoke(app, ["--json", "--device", "cuda", "--load", "--model", str(mini_model)])
    assert done.exit_code == 1
    lines = json.loads(done.stdout)
    assert {"name", "state", "detail", "remedy"} == set(lines[0])
    assert [line["state"] for line in lines if line["name"] == "device"] == ["fail"]
    assert lines[-1]["name"] == "loading"


def test_what_speaks_says_a_word(settings: Make) -> None:
    line = only(speech.check_speech(settings()))
    assert (line.name, line.state) == ("speech", State.OK)
    assert "eSpeak NG" in line.detail


def test_speech_that_is_set_up_elsewhere_is_not_asked(settings: Make) -> None:
    line = only(speech.check_speech(settings(tts_url="http://127.0.0.1:9/v1")))
    assert (line.state, line.detail) == (State.OK, "Through KIKITORI_TTS_URL; not asked.")


def test_speech_that_nobody_wants_is_off(settings: Make) -> None:
    line = only(speech.check_speech(settings(tts_engine="none")))
    assert (line.state, line.remedy) == (State.OFF, "")


def test_speech_that_does_not_work_says_what_to_do(settings: Make) -> None:
    line = only(speech.check_speech(settings(tts_engine="piper")))
    assert line.state is State.FAIL
    assert "KIKITORI_TTS_PIPER_VOICES" in line.remedy
