import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.inference.hub_server import FILES, FakeHub, running

from kikitori.errors import Forbidden, InvalidInput, ModelNotFound, Unavailable
from kikitori.inference import hub as hub_module
from kikitori.inference.hub import Hub, HubFile, HubModel

SIZE = sum(len(content) for name, content in FILES.items() if name != "README.md")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(hub_module, "PAUSE_SECONDS", 0)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with running(FakeHub(models={"org/model": FILES})) as hub:
        yield hub


def bring(server: FakeHub, folder: Path) -> list[tuple[int, int]]:
    """Download org/model; returns the progress."""
    progress: list[tuple[int, int]] = []
    with Hub(endpoint=server.url) as hub:
        hub.download(hub.describe("org/model"), folder, lambda done, total: progress.append((done, total)))
    return progress


def test_only_the_needed_files_come(server: FakeHub, tmp_path: Path) -> None:
    progress = bring(server, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        name: content for name, content in FILES.items() if name != "README.md"
    }
    assert progress == sorted(progress)
    assert progress[-1] == (SIZE, SIZE)


def test_a_download_goes_on_where_the_connection_broke(server: FakeHub, tmp_path: Path) -> None:
    server.cut_after_bytes = [100_000, 50_000]
    progress = bring(server, tmp_path)
    assert (tmp_path / "model.bin").read_bytes() == FILES["model.bin"]
    assert [asked for path, asked in server.asked if path.endswith("model.bin")] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
    ]
    assert progress[-1] == (SIZE, SIZE)


def test_a_hub_that_ignores_ranges_sends_the_file_again(server: FakeHub, tmp_path: Path) -> None:
    server.cut_after_bytes, server.ignore_ranges = [100_000], True
    bring(server, tmp_path)
    assert (tmp_path / "model.bin").read_bytes() == FILES["model.bin"]


def test_a_passing_fault_of_the_hub_is_passed_over(server: FakeHub, tmp_path: Path) -> None:
    server.statuses = [503, 500]
    bring(server, tmp_path)
    assert (tmp_path / "model.bin").exists()


def test_what_has_arrived_is_kept_for_the_next_attempt(server: FakeHub, tmp_path: Path) -> None:
    server.cut_after_bytes = [100_000, 0, 0, 0]
    with pytest.raises(Unavailable, match="broke off") as caught:
        bring(server, tmp_path)
    assert "kikitori models pull org/model" in caught.value.remedy
    assert not (tmp_path / "model.bin").exists()
    server.cut_after_bytes.clear()
    server.asked.clear()
    bring(server, tmp_path)
    assert [asked for path, asked in server.asked if "/resolve/" in path] == ["bytes=100000-"]
    assert (tmp_path / "model.bin").read_bytes() == FILES["model.bin"]


def test_a_damaged_file_is_thrown_away(server: FakeHub, tmp_path: Path) -> None:
    server.damage = True
    with pytest.raises(Unavailable, match=r"model\.bin of org/model arrived damaged"):
        bring(server, tmp_path)
    assert not list(tmp_path.glob("model.bin*"))


def test_a_partial_file_longer_than_the_whole_is_not_trusted(server: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "model.bin.part").write_bytes(FILES["model.bin"] + b"more")
    bring(server, tmp_path)
    assert (tmp_path / "model.bin").read_bytes() == FILES["model.bin"]


def test_a_file_longer_than_was_promised_is_refused(server: FakeHub, tmp_path: Path) -> None:
    short = HubModel(id="org/model", revision=server.revision, files=(HubFile(name="model.bin", size_bytes=10),))
    with Hub(endpoint=server.url) as hub, pytest.raises(Unavailable, match="broke off"):
        hub.download(short, tmp_path, lambda done, total: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [401, 404])
def test_an_unknown_model(server: FakeHub, status: int) -> None:
    server.refuse = status
    with Hub(endpoint=server.url) as hub, pytest.raises(ModelNotFound, match="HF_TOKEN"):
        hub.describe("org/model")


def test_a_gated_model(server: FakeHub) -> None:
    server.refuse = 403
    with Hub(endpoint=server.url) as hub, pytest.raises(Forbidden, match="Accept its terms"):
        hub.describe("org/model")


@pytest.mark.parametrize("status", [429, 500, 418])
def test_a_hub_in_trouble(server: FakeHub, status: int) -> None:
    server.refuse = status
    with Hub(endpoint=server.url) as hub, pytest.raises(Unavailable, match=f"answers {status}"):
        hub.describe("org/model")


def test_a_model_of_another_kind(server: FakeHub) -> None:
    server.models["org/model"] = {"config.json": b"{}", "model.safetensors": b""}
    with Hub(endpoint=server.url) as hub, pytest.raises(InvalidInput, match="not a CTranslate2 model"):
        hub.describe("org/model")


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"siblings": [{}], "sha": "1"}', b"[]"])
def test_an_answer_that_is_none_of_a_hub(server: FakeHub, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeHub, "description", lambda self, model: body)
    with Hub(endpoint=server.url) as hub, pytest.raises(Unavailable, match="not understood"):
        hub.describe("org/model")


def test_a_revision_cannot_name_a_folder(server: FakeHub) -> None:
    server.revision = "../../elsewhere"
    with Hub(endpoint=server.url) as hub, pytest.raises(Unavailable, match="not understood"):
        hub.describe("org/model")


def test_a_refused_connection_names_the_hub(server: FakeHub, tmp_path: Path) -> None:
    with running(FakeHub()) as gone:
        url = gone.url
    with Hub(endpoint=url) as hub, pytest.raises(Unavailable, match=f"{url} cannot be reached"):
        hub.describe("org/model")


def test_a_silent_hub_is_given_up(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "ANSWER_SECONDS", 0.05)
    server.silent = threading.Event()
    with Hub(endpoint=server.url, connect_timeout=0.05) as hub, pytest.raises(Unavailable, match="no answer in"):
        hub.describe("org/model")


def test_no_room_is_noticed_before_anything_comes(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=SIZE - 1))
    with pytest.raises(Unavailable, match="the disk has"):
        bring(server, tmp_path)
    assert not [path for path, _ in server.asked if "/resolve/" in path]


def test_the_token_goes_to_the_hub(server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    bring(server, tmp_path)
    assert server.tokens == {"Bearer hf_secret"}


def test_the_token_is_never_shown(server: FakeHub, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.refuse = 500
    with caplog.at_level(0), Hub(endpoint=server.url) as hub, pytest.raises(Unavailable) as caught:
        hub.describe("org/model")
    assert "hf_secret" not in caplog.text + str(caught.value)


def test_stopping_by_an_error_keeps_what_has_arrived(server: FakeHub, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 300_000:
            raise Stop

    with Hub(endpoint=server.url) as hub, pytest.raises(Stop):
        hub.download(hub.describe("org/model"), tmp_path, stop)
    assert (tmp_path / "model.bin.part").stat().st_size > 0
    assert not (tmp_path / "model.bin").exists()


def test_the_endpoint_comes_from_the_environment(server: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
    with Hub() as hub:
        assert hub.describe("org/model").size_bytes == SIZE
