"""Downloads beside everything else, from a hub on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.inference.hub_server import FILES, FakeHub, running

from kikitori.errors import Busy, Conflict, ModelNotFound, NotFound
from kikitori.inference.downloads import BROKEN, MOST_AT_ONCE, MOST_REMEMBERED, Download, Downloads, DownloadState
from kikitori.inference.hub import OnProgress
from kikitori.inference.models import ModelCatalog, ModelSpec

SIZE = sum(len(content) for name, content in FILES.items() if name != "README.md")


class Scripted:
    """Pulls nothing: each download waits until it is let go, and reports what it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.pulled: list[str] = []
        self.fails: Exception | None = None

    def pull(self, name: str, on_progress: OnProgress | None = None) -> ModelSpec:
        self.pulled.append(name)
        assert on_progress is not None
        on_progress(10, 100)
        assert self.go.wait(60)
        on_progress(60, 100)
        if self.fails:
            raise self.fails
        return ModelSpec(id=name, engine="whisper", size_bytes=100)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state_of(downloads: Downloads, model: str) -> DownloadState:
    return next(each.state for each in downloads.all() if each.model == model)


@pytest.fixture
def source() -> Scripted:
    return Scripted()


@pytest.fixture
def downloads(source: Scripted) -> Iterator[Downloads]:
    made = Downloads(source)
    yield made
    source.go.set()
    made.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with running(FakeHub(models={"our/mini": FILES})) as server:
        yield server


@pytest.fixture
def from_hub(hub: FakeHub, tmp_path: Path) -> Iterator[Downloads]:
    catalog = ModelCatalog(models_dir=tmp_path / "models", cache_dir=tmp_path / "cache", endpoint=hub.url)
    made = Downloads(catalog)
    yield made
    made.close()


def test_a_model_arrives_while_nobody_waits(from_hub: Downloads, tmp_path: Path) -> None:
    begun = from_hub.begin("our/mini")
    assert (begun.model, begun.state) == ("our/mini", DownloadState.RUNNING)
    until(lambda: state_of(from_hub, "our/mini") is DownloadState.DONE)
    [done] = from_hub.all()
    assert (done.bytes_done, done.bytes_total, done.error) == (SIZE, SIZE, "")
    assert [path.name for path in (tmp_path / "models").glob("*/model.bin")] == ["model.bin"]


def test_why_a_download_failed_can_be_read_and_it_can_be_begun_again(from_hub: Downloads, hub: FakeHub) -> None:
    hub.refuse = 403
    from_hub.begin("our/mini")
    until(lambda: state_of(from_hub, "our/mini") is DownloadState.FAILED)
    assert "does not give out our/mini" in from_hub.all()[0].error
    hub.refuse = 0
    from_hub.begin("our/mini")
    until(lambda: state_of(from_hub, "our/mini") is DownloadState.DONE)
    assert len(from_hub.all()) == 1


def test_a_download_that_runs_is_not_begun_twice(downloads: Downloads, source: Scripted) -> None:
    downloads.begin("turbo")
    until(lambda: downloads.all()[0].bytes_done == 10)
    again = downloads.begin("large-v3-turbo")
    assert (again.model, again.bytes_total) == ("large-v3-turbo", 100)
    assert source.pulled == ["large-v3-turbo"]


def test_it_stops_when_asked_and_says_so_at_once(downloads: Downloads, source: Scripted) -> None:
    downloads.begin("small")
    until(lambda: downloads.all()[0].bytes_done == 10)
    assert downloads.cancel("small").state is DownloadState.CANCELLED
    with pytest.raises(Busy, match="just being stopped"):
        downloads.begin("small")
    with pytest.raises(Conflict, match="cancelled"):
        downloads.cancel("small")
    source.go.set()
    until(lambda: _begun(downloads, "small"))
    until(lambda: state_of(downloads, "small") is DownloadState.DONE)
    assert source.pulled == ["small", "small"]


def _begun(downloads: Downloads, model: str) -> bool:
    try:
        downloads.begin(model)
    except Busy:
        return False
    return True


def test_what_nobody_foresaw_is_told_without_its_words(
    downloads: Downloads, source: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    source.fails = ValueError("/secret/place")
    source.go.set()
    downloads.begin("small")
    until(lambda: state_of(downloads, "small") is DownloadState.FAILED)
    assert downloads.all()[0].error == BROKEN
    until(lambda: [record for record in caplog.records if getattr(record, "action", "") == "pull_failed"])


def test_only_so_many_at_once(downloads: Downloads) -> None:
    for number in range(MOST_AT_ONCE):
        downloads.begin(f"our/model-{number}")
    with pytest.raises(Busy, match=f"{MOST_AT_ONCE} models"):
        downloads.begin("our/one-more")
    assert [each.model for each in downloads.all()] == [f"our/model-{n}" for n in reversed(range(MOST_AT_ONCE))]


def test_the_last_ones_are_remembered(downloads: Downloads, source: Scripted) -> None:
    source.go.set()
    for number in range(MOST_REMEMBERED + 3):
        until(lambda number=number: _begun(downloads, f"our/model-{number}"))  # type: ignore[misc]
        until(lambda number=number: state_of(downloads, f"our/model-{number}") is DownloadState.DONE)  # type: ignore[misc]
    assert len(downloads.all()) == MOST_REMEMBERED
    assert downloads.all()[0].model == f"our/model-{MOST_REMEMBERED + 2}"


@pytest.mark.parametrize("name", ["no-such-name", "../etc/passwd", "a/b/c", "/abs"])
def test_what_no_hub_can_have_is_refused(downloads: Downloads, source: Scripted, name: str) -> None:
    with pytest.raises(ModelNotFound):
        downloads.begin(name)
    assert (downloads.all(), source.pulled) == ([], [])


def test_what_is_not_downloaded_cannot_be_stopped(downloads: Downloads) -> None:
    with pytest.raises(NotFound):
        downloads.cancel("small")


def _takes_nothing(downloads: Downloads) -> bool:
    try:
        downloads.begin("small")
    except Conflict:
        return True
    return False


def test_closing_stops_all_and_takes_nothing_new(source: Scripted) -> None:
    downloads = Downloads(source)
    downloads.begin("small")
    until(lambda: downloads.all()[0].bytes_done == 10)
    closing = threading.Thread(target=downloads.close)
    closing.start()
    until(lambda: _takes_nothing(downloads))  # else the download may be done before it is stopped
    source.go.set()
    closing.join(60)
    assert not closing.is_alive()
    assert downloads.all()[0] == Download(
        model="small",
        state=DownloadState.CANCELLED,
        bytes_done=10,
        bytes_total=100,
        bytes_per_second=downloads.all()[0].bytes_per_second,
    )
    with pytest.raises(Conflict, match="shutting down"):
        downloads.begin("small")
