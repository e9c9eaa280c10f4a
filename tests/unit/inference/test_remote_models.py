"""Models elsewhere: their names, and how a loaded one is used."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kikitori.engines.base import REMOTE_AT_ONCE, EngineConfig, EngineInfo
from kikitori.errors import Conflict, ModelLoadFailed, ModelNotFound
from kikitori.inference.models import ModelCatalog, ModelSpec
from kikitori.inference.placement import Hardware, configs, load_engines
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.testing import FakeEngine, fake_info
from kikitori.types import SAMPLE_RATE

INFO = replace(fake_info(1), remote=True)
SPEC = ModelSpec(id="openai:m", engine="openai", path="m", owned_by="openai")


def catalog(tmp_path: Path, **facts: object) -> ModelCatalog:
    return ModelCatalog(models_dir=tmp_path, cache_dir=tmp_path / "cache", **facts)  # type: ignore[arg-type]


def test_only_the_operator_names_models_elsewhere(tmp_path: Path) -> None:
    known = catalog(
        tmp_path,
        default="openai:whisper-1",
        aliases={"cloud": "google:long"},
        remote=["openai:listed/with-a-slash"],
        folders=["openai:preloaded"],
    )
    assert known.resolve("") == replace(SPEC, id="openai:whisper-1", path="whisper-1")
    assert (known.resolve("cloud").engine, known.resolve("cloud").path) == ("google", "long")
    assert known.resolve("openai:listed/with-a-slash").path == "listed/with-a-slash"
    assert known.resolve("openai:preloaded").path == "preloaded"
    assert known.default_spec().id == "openai:whisper-1"
    for name in ("openai:other", "openai:", "unknown:m", "google:"):
        with pytest.raises(ModelNotFound):
            known.resolve(name)
    listed = [spec.id for spec in known.installed()]
    assert listed[0] == "openai:whisper-1"
    assert {"google:long", "openai:listed/with-a-slash", "cloud"} <= set(listed)


def test_where_it_lies_is_not_told_as_a_place_on_disk(tmp_path: Path) -> None:
    known = catalog(tmp_path, remote=["openai:long"])
    assert known.resolve("openai:long").place == "elsewhere"
    assert known.pull("openai:long").id == "openai:long"
    with pytest.raises(Conflict, match="lies elsewhere"):
        known.remove("openai:long")

    def fail(name: str, config: EngineConfig) -> FakeEngine:
        raise ValueError("It takes too long.")

    spec = known.resolve("openai:long")
    with pytest.raises(ModelLoadFailed) as raised:
        load_engines(spec, configs(spec, INFO, Hardware()), fail)
    assert "takes too long" in raised.value.public


def test_auto_never_means_a_model_elsewhere(tmp_path: Path) -> None:
    assert catalog(tmp_path, remote=["openai:m"]).resolve("").engine == "pocketsphinx"


def test_one_replica_is_enough_on_any_hardware() -> None:
    (config,) = configs(SPEC, INFO, Hardware(device="cuda", device_index=(0, 1), engine_options={"openai": {"a": 1}}))
    assert (config.model, config.device, config.extra) == ("m", "cpu", {"a": 1})


class Catalog:
    def resolve(self, name: str) -> ModelSpec:
        return SPEC


class RemoteEngine(FakeEngine):
    """Waits in ``transcribe`` until as many are inside as may be."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        super().__init__(config)
        self.info: EngineInfo = INFO


async def test_many_requests_wait_side_by_side_and_none_is_for_practice() -> None:
    engines: list[RemoteEngine] = []

    def load(name: str, config: EngineConfig) -> RemoteEngine:
        engines.append(RemoteEngine(config))
        return engines[-1]

    async def one() -> None:
        audio = np.zeros(SAMPLE_RATE, np.float32)
        async with pool.use("openai:m") as model, aclosing(model.decode(audio, DecodeOptions())) as results:
            assert [result async for result in results]

    async with ModelPool(Catalog(), load_engine=load, engine_info=lambda name: INFO, hardware=Hardware()) as pool:
        await pool.load("openai:m")
        assert engines[0].batches == []
        async with pool.use("openai:m") as model:
            assert model.decodings_at_once == REMOTE_AT_ONCE
        await asyncio.gather(*(one() for _ in range(REMOTE_AT_ONCE + 4)))
        assert len(engines) == 1
