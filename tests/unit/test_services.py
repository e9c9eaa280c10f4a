import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.idle import idle_parts

from kikitori.errors import InvalidOption, ModelLoadFailed, Unavailable
from kikitori.inference.models import ModelSpec
from kikitori.inference.status import ModelState, ModelStatus
from kikitori.metrics import Metrics
from kikitori.options import DecodeOptions
from kikitori.services import opening, parts, preparation
from kikitori.services.opening import open_services
from kikitori.services.parts import Services
from kikitori.settings import Settings
from kikitori.store.keys import KeyStore
from kikitori.testing import FakeTranscriber, until
from kikitori.types import Priority


@pytest.fixture
def settings(tmp_path: Path, mini_model: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", model=str(mini_model), device="cpu", offline=True)


async def test_everything_is_built_and_works(settings: Settings, hello_wav: Path) -> None:
    async with open_services(settings) as built:
        await built.pool.load("")  # joins the load under way
        assert built.problem() == ""
        assert isinstance(built.keys, KeyStore)
        assert not await built.keys.any()
        transcript = await built.transcriber.transcribe(hello_wav, DecodeOptions())
        assert transcript.engine == "whisper"
        metrics = built.metrics.render()[0].decode()
        assert "kikitori_loaded_models 1.0" in metrics
        assert 'kikitori_queue_depth{priority="normal"} 0.0' in metrics
        assert f'kikitori_audio_seconds_total{{model="{transcript.model}"}}' in metrics
        assert 'kikitori_batch_size_count{kind="' in metrics
        built.draining = True
        assert built.problem() == "The server is shutting down."
    assert built.pool.loaded() == []
    assert {path.name for path in settings.data_dir.iterdir()} >= {"kikitori.db"}


async def test_a_model_that_is_not_here_is_said_and_ends_nothing(settings: Settings) -> None:
    wanted = settings.model_copy(update={"model": "small"})
    async with open_services(wanted) as built:
        assert not built.pool.ready
        assert built.problem()
        assert not await built.keys.any()


async def test_a_setting_that_cannot_be_stops_the_start(settings: Settings) -> None:
    with pytest.raises(InvalidOption):
        async with open_services(settings.model_copy(update={"compute_type": "int3"})):
            raise AssertionError("opened")


async def test_a_database_out_of_reach_stops_the_start(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wrong = settings.model_copy(update={"database_url": f"sqlite+aiosqlite:///{tmp_path}/file/kikitori.db"})
    with pytest.raises(Unavailable):
        async with open_services(wrong):
            raise AssertionError("opened")


@pytest.mark.parametrize("with_key", [False, True])
async def test_whether_there_are_keys_is_told_before_devices_and_models(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, with_key: bool
) -> None:
    async with open_services(settings) as built:
        assert isinstance(built.keys, KeyStore)
        if with_key:
            await built.keys.create("a", "me")
    monkeypatch.setattr(opening, "find_device", lambda settings: pytest.fail("a device was looked for"))
    monkeypatch.setattr(opening, "make_pool", lambda *arguments, **values: pytest.fail("a pool was made"))

    def refuse(has_keys: bool) -> None:
        raise RuntimeError(f"keys: {has_keys}")

    with pytest.raises(RuntimeError, match=f"keys: {with_key}"):
        async with open_services(settings, refuse):
            raise AssertionError("opened")


async def test_looking_for_speech_stops_with_its_caller(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = threading.Event()

    def endless(*arguments: object, check: Callable[[], None]) -> None:
        while True:
            entered.set()
            check()

    monkeypatch.setattr(parts, "file_speech_spans", endless)
    task = asyncio.create_task(bare(settings).speech_spans("a.wav", DecodeOptions()))
    await asyncio.to_thread(entered.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Preparing models


class Loads:
    """A catalog and a pool in one: fetches with progress, and fails as often as it is told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = [*failures]
        self.ready = False
        self.pinned: list[str] = []
        self.reasons: list[str] = []
        self.done = asyncio.Event()
        self.failed = asyncio.Event()
        self.services: Services

    def default_spec(self, on_progress: Callable[[int, int], None], notice: object, *, device: str) -> ModelSpec:
        self.reasons.append(self.services.problem())
        on_progress(30, 120)
        self.reasons.append(self.services.problem())
        return ModelSpec(id="fake", engine="fake")

    def pull(self, name: str, on_progress: Callable[[int, int], None]) -> ModelSpec:
        on_progress(0, 0)
        return ModelSpec(id=name, engine="fake")

    async def load(self, name: str, *, pin: bool = False) -> ModelStatus:
        self.reasons.append(self.services.problem())
        if self.failures:
            self.failed.set()
            raise self.failures.pop(0)
        self.pinned.append(name)
        self.ready = self.ready or not name
        if len(self.pinned) == 1 + len(self.services.settings.preload):
            self.done.set()
        return ModelStatus(
            model=name, engine="fake", state=ModelState.READY, pinned=pin, requests=0, memory_bytes=0,
            idle_seconds=0.0, replicas=(),
        )  # fmt: skip

    def loaded(self) -> list[ModelStatus]:
        return []

    def waiting(self) -> Mapping[Priority, int]:
        return {}

    async def unload(self, name: str) -> None: ...

    def resolve(self, name: str) -> ModelSpec:
        return ModelSpec(id=name or "fake", engine="fake")

    def installed(self) -> list[ModelSpec]:
        return []


def bare(settings: Settings, loads: Any = None) -> Services:
    return Services(
        settings=settings, metrics=Metrics(), keys=KeyStore(None), catalog=loads, pool=loads,  # type: ignore[arg-type]
        transcriber=FakeTranscriber([]), **idle_parts(settings.data_dir),
    )  # fmt: skip


def prepared(settings: Settings, loads: Loads) -> Any:
    loads.services = bare(settings, loads)
    return preparation.prepared(loads.services, loads, "cpu")  # type: ignore[arg-type]


async def test_models_are_fetched_and_kept(settings: Settings) -> None:
    loads = Loads()
    async with prepared(settings.model_copy(update={"preload": ["other"]}), loads):
        await loads.done.wait()
        assert loads.pinned == ["", "other"]
        assert loads.services.problem() == ""
    assert loads.reasons[:3] == [
        "The default model is being looked for.",
        "The default model is being downloaded: 25%.",
        "The default model is being loaded.",
    ]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (ModelLoadFailed("It is broken.", remedy="Mend it."), "It is broken. Mend it."),
        (RuntimeError("secret"), "The model cannot be loaded (RuntimeError); the log says more."),
    ],
)
async def test_what_failed_is_said_once_and_tried_again(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    said: str,
) -> None:
    monkeypatch.setattr(preparation, "RETRY_SECONDS", 0)
    loads = Loads(*[failure] * 5)
    async with prepared(settings, loads):
        await loads.done.wait()
    assert loads.pinned == [""]
    assert loads.services.problem() == ""
    errors = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
    assert [(record["action"], record["reason"]) for record in errors] == [("model_not_ready", said)]


async def test_a_failure_is_the_reason_why_the_server_is_not_ready(settings: Settings) -> None:
    loads = Loads(ModelLoadFailed("It is broken."))
    async with prepared(settings, loads):
        await loads.failed.wait()
        await asyncio.sleep(0)
        assert loads.services.problem() == "It is broken."


@pytest.mark.parametrize("broken", [False, True], ids=["missing", "broken"])
async def test_a_model_of_the_settings_that_cannot_be_loaded_tells_its_place_to_the_log_alone(
    settings: Settings, caplog: pytest.LogCaptureFixture, hello_wav: Path, tmp_path: Path, broken: bool
) -> None:
    folder = tmp_path / "my-model"
    if broken:
        folder.mkdir()
        (folder / "config.json").write_text('{"alignment_heads": []}')
        (folder / "model.bin").write_bytes(b"no weights")
    async with open_services(settings.model_copy(update={"model": str(folder)})) as built:
        with pytest.raises(ModelLoadFailed) as caught:
            await built.transcriber.transcribe(hello_wav, DecodeOptions())
        await until(lambda: "my-model" in built.problem())
        shown = [caught.value.public, built.problem(), *(status.error for status in built.pool.loaded())]
    assert all("my-model" in text and str(tmp_path) not in text for text in shown)
    (logged,) = [vars(record) for record in caplog.records if vars(record).get("action") == "model_not_ready"]
    assert str(folder) in logged["reason"]


async def test_closing_ends_a_download(settings: Settings) -> None:
    loads = Loads()
    started = threading.Event()

    def endless(on_progress: Callable[[int, int], None], notice: object, *, device: str) -> ModelSpec:
        while True:
            started.set()
            on_progress(1, 2)

    loads.default_spec = endless  # type: ignore[method-assign]
    async with prepared(settings, loads):
        await asyncio.to_thread(started.wait)
    assert loads.pinned == []
