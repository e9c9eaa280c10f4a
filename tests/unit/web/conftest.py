"""A real application on fakes of the engine's side, reached in process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from tests.unit.idle import idle_parts

from kikitori.engines.base import EngineInfo
from kikitori.errors import Conflict, ModelNotFound, NotFound
from kikitori.inference.models import ModelSpec
from kikitori.inference.status import ModelState, ModelStatus, ReplicaStatus
from kikitori.metrics import Metrics
from kikitori.services.parts import Keys, Services
from kikitori.settings import Settings
from kikitori.store.keys import ApiKey
from kikitori.testing import FakeTranscriber, Step, fake_info, fake_transcript, script_of
from kikitori.types import Priority
from kikitori.web.app import create_app

TEXTS = (" The birch canoe", " slid on", " the smooth planks.")
CLIENT = ("203.0.113.7", 4711)


class FakeCatalog:
    """Two models, one of them with a slash in its name; ``whisper-1`` is the first."""

    specs = (
        ModelSpec(id="fake", engine="fake", created=1_700_000_000),
        ModelSpec(id="hub/fine-tuned", engine="fake", created=1_700_000_001),
    )

    def installed(self) -> list[ModelSpec]:
        return [*self.specs]

    def resolve(self, name: str) -> ModelSpec:
        wanted = "fake" if name in ("", "whisper-1") else name
        for spec in self.specs:
            if spec.id == wanted:
                return spec
        raise ModelNotFound(name)

    def remove(self, name: str) -> ModelSpec:
        raise Conflict(f"The model {self.resolve(name).id} lies elsewhere.")


class NoKeys:
    async def any(self) -> bool:
        return False

    async def verify(self, secret: str) -> ApiKey | None:
        return None


class FakePool:
    """Loading is remembering; ``busy`` models cannot be unloaded."""

    def __init__(self) -> None:
        self.ready = True
        self.pinned: dict[str, bool] = {"fake": True}
        self.busy: set[str] = set()

    def info(self, name: str = "") -> EngineInfo:
        FakeCatalog().resolve(name)
        return fake_info()

    def loaded(self) -> list[ModelStatus]:
        return [self._status(name) for name in self.pinned]

    def waiting(self) -> Mapping[Priority, int]:
        return {Priority.NORMAL: 3, Priority.LIVE_FINAL: 0}

    async def load(self, name: str, *, pin: bool = False) -> ModelStatus:
        model = FakeCatalog().resolve(name).id
        self.pinned[model] = pin
        return self._status(model)

    async def unload(self, name: str) -> None:
        model = FakeCatalog().resolve(name).id
        if model in self.busy:
            raise Conflict(f"The model {model} is in use.")
        if self.pinned.pop(model, None) is None:
            raise NotFound(f"The model {model} is not loaded.")

    def _status(self, model: str) -> ModelStatus:
        replica = ReplicaStatus(
            device="cpu",
            device_index=0,
            compute_type="int8",
            waiting=0,
            running=0,
            batches=4,
            mean_batch_size=2.5,
            batch_fill=0.3,
        )
        return ModelStatus(
            model=model,
            engine="fake",
            state=ModelState.READY,
            pinned=self.pinned[model],
            requests=0,
            memory_bytes=1_000,
            idle_seconds=0.0,
            replicas=(replica,),
        )


class Running:
    """An application, what is in it, and a client of it."""

    def __init__(self, services: Services, client: httpx.AsyncClient) -> None:
        self.services = services
        self.client = client

    @property
    def transcriber(self) -> FakeTranscriber:
        assert isinstance(self.services.transcriber, FakeTranscriber)
        return self.services.transcriber

    @property
    def pool(self) -> FakePool:
        assert isinstance(self.services.pool, FakePool)
        return self.services.pool

    def leftovers(self) -> list[Path]:
        """Uploads that are still on disk."""
        folder = self.services.settings.data_dir / "tmp"
        return list(folder.iterdir()) if folder.exists() else []

    async def transcribe(self, content: bytes = b"RIFF", **fields: str) -> httpx.Response:
        return await self.send(fields, content)

    async def send(self, fields: Mapping[str, str], content: bytes = b"RIFF") -> httpx.Response:
        return await self.client.post("/v1/audio/transcriptions", files={"file": ("a.wav", content)}, data=dict(fields))


Start: TypeAlias = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


@pytest.fixture
def make_services(tmp_path: Path) -> Callable[..., Services]:
    def make(
        *script: Step, keys: Keys | None = None, parts: Mapping[str, Any] | None = None, **settings: Any
    ) -> Services:
        steps = script or tuple(script_of(fake_transcript(*TEXTS)))
        data_dir = tmp_path / "data"
        return Services(
            settings=Settings(data_dir=data_dir, **settings),
            metrics=Metrics(),
            keys=keys or NoKeys(),
            catalog=FakeCatalog(),
            pool=FakePool(),
            transcriber=FakeTranscriber(steps),
            **{**idle_parts(data_dir), **(parts or {})},
        )

    return make


@pytest.fixture
def start(make_services: Callable[..., Services]) -> Start:
    """``async with start(script, **settings) as app``."""

    @asynccontextmanager
    async def started(*script: Step, **settings: Any) -> AsyncGenerator[Running, None]:
        services = make_services(*script, **settings)
        transport = httpx.ASGITransport(app=create_app(services), client=CLIENT)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Running(services, client)

    return started
