from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kikitori.cli.models import app

pytestmark = pytest.mark.usefixtures("data_dir")


@pytest.fixture
def hub(tmp_path: Path, mini_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A model hub with one model: ``our/mini``."""
    root = tmp_path / "hub"
    files = root / "our" / "mini" / "resolve" / "abc123"
    shutil.copytree(mini_model, files)
    siblings = [_sibling(path) for path in sorted(files.iterdir())]
    listing = root / "api" / "models" / "our" / "mini" / "revision" / "main"
    listing.parent.mkdir(parents=True)
    listing.write_text(json.dumps({"sha": "abc123", "siblings": siblings}))

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def _sibling(path: Path) -> dict[str, object]:
    size, digest = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    return {"rfilename": path.name, "size": size, "lfs": {"size": size, "sha256": digest}}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def test_a_model_is_pulled_listed_shown_and_removed(hub: str, data_dir: Path) -> None:
    pulled = run("pull", "our/mini")
    assert pulled.exit_code == 0, pulled.stderr
    assert pulled.stdout == ""
    assert "our/mini: 100 % of 8 MB" in pulled.stderr
    assert "our/mini is here" in pulled.stderr

    listed = run("list").stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["model", "our/mini", "pocketsphinx"]
    first, *_ = json.loads(run("list", "--json").stdout)
    assert (first["id"], first["engine"], first["removable"]) == ("our/mini", "whisper", True)
    assert Path(first["path"]).is_relative_to(data_dir)

    shown = run("show", "our/mini").stdout
    assert "Whisper (CTranslate2)" in shown
    assert "transcribe, translate" in shown
    assert json.loads(run("show", "default", "--json").stdout)["id"] == "our/mini"

    again = run("pull", "our/mini")
    assert (again.exit_code, "%" in again.stderr) == (0, False)

    removed = run("remove", "our/mini")
    assert (removed.exit_code, removed.stderr) == (0, "our/mini is removed: 8 MB are free again.\n")
    assert [line.split()[0] for line in run("list").stdout.splitlines()] == ["model", "pocketsphinx"]


def test_a_folder_is_shown_and_not_removed(mini_model: Path) -> None:
    shown = json.loads(run("show", str(mini_model), "--json").stdout)
    assert (shown["engine"], shown["path"], shown["removable"]) == ("whisper", str(mini_model), False)
    assert run("remove", str(mini_model)).exit_code != 0
    assert mini_model.is_dir()


def test_what_can_be_downloaded_is_listed_without_a_network() -> None:
    assert "Systran/faster-whisper-small" in run("list", "--known").stdout
    assert "small" in {model["name"] for model in json.loads(run("list", "--known", "--json").stdout)}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "small"), 3, "Get it: kikitori models pull small"),
        (("pull", "small"), 3, "http://127.0.0.1:9 cannot be reached"),
        (("pull", "small", "--offline"), 3, "offline"),
        (("pull", "auto"), 1, "Name one, such as small."),
        (("remove", "pocketsphinx"), 1, "not in our folder"),
        (("remove", "nonesuch"), 1, "kikitori models list"),
        (("show", "../../etc"), 3, "is not a model"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(*arguments)
    assert words in done.stderr
    assert done.exit_code == code
    assert done.stdout == ""
