import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kikitori.engines.base import Calls, Decoding, EngineConfig, EngineInfo, Language
from kikitori.errors import Busy, Conflict, DecodingCancelled, ModelLoadFailed, ModelNotFound, NotFound
from kikitori.inference.loaded import LoadedModel
from kikitori.inference.models import ModelSpec
from kikitori.inference.placement import Hardware
from kikitori.inference.pool import ModelPool
from kikitori.inference.status import ModelState
from kikitori.options import DecodeOptions
from kikitori.testing import FakeCatalog, FakeClock, FakeEngine, fake_info, until
from kikitori.types import SAMPLE_RATE, Audio, Priority, Segment

THREE_SECONDS = np.zeros(3 * 16_000, dtype=np.float32)


class Engines:
    """Loads fake engines and remembers them; ``broken`` holds messages of loads that fail."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.loaded: list[FakeEngine] = []
        self.broken: list[str] = []

    def load(self, name: str, config: EngineConfig) -> FakeEngine:
        if self.broken:
            raise RuntimeError(self.broken.pop(0))
        self.loaded.append(FakeEngine(config, **self.arguments))
        return self.loaded[-1]


@asynccontextmanager
async def open_pool(engines: Engines, catalog: FakeCatalog | None = None, **arguments: Any) -> AsyncIterator[ModelPool]:
    async with ModelPool(
        catalog or FakeCatalog(),
        load_engine=engines.load,
        engine_info=lambda name: fake_info(engines.arguments.get("max_batch_size", 8)),
        **arguments,
    ) as pool:
        yield pool


def specs(*names: str, size_bytes: int = 100) -> FakeCatalog:
    return FakeCatalog([ModelSpec(id=name, engine="fake", size_bytes=size_bytes) for name in names])


def silence(seconds: float) -> Audio:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


async def texts(model: LoadedModel, **arguments: Any) -> list[str]:
    audio = arguments.pop("audio", THREE_SECONDS)
    async with aclosing(model.decode(audio, DecodeOptions(), **arguments)) as results:
        return [result.text for result in [r async for r in results] if isinstance(result, Segment)]


async def test_a_model_is_loaded_once_for_all_who_ask_together() -> None:
    engines = Engines()
    async with open_pool(engines) as pool:

        async def request() -> list[str]:
            async with pool.use() as model:
                return await texts(model)

        results = await asyncio.gather(*(request() for _ in range(10)))
    assert results == [[" second 0", " second 1", " second 2"]] * 10
    assert len(engines.loaded) == 1


async def test_a_decoding_gives_its_language_first() -> None:
    async with open_pool(Engines()) as pool, pool.use() as model:
        async with aclosing(model.decode(THREE_SECONDS, DecodeOptions())) as results:
            assert isinstance(await anext(results), Language)
        assert (await model.detect_language(THREE_SECONDS, DecodeOptions())).code == "en"


async def test_closing_a_decoding_frees_the_engine_for_the_next() -> None:
    engines = Engines(max_batch_size=1)
    async with open_pool(engines, hardware=Hardware(cpu_threads=1)) as pool, pool.use() as model:
        for _ in range(len(model.replicas) + 1):
            async with aclosing(model.decode(THREE_SECONDS, DecodeOptions())) as results:
                await anext(results)
        assert await texts(model) == [" second 0", " second 1", " second 2"]
        assert all(replica.jobs == 0 for replica in model.replicas)


async def test_cancelling_the_caller_ends_a_decoding_that_waits_for_its_batch() -> None:
    engines = Engines()
    async with open_pool(engines) as pool, pool.use() as model:
        (engine,) = engines.loaded
        engine.gate.clear()
        engine.started.clear()
        request = asyncio.create_task(texts(model))
        await asyncio.to_thread(engine.started.wait)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert model.replicas[0].jobs == 0  # free although its batch still runs
        engine.gate.set()


async def test_an_engine_error_reaches_its_caller_and_only_that() -> None:
    engines = Engines()
    async with open_pool(engines) as pool, pool.use() as model:
        engines.loaded[0].fails = lambda payload: ValueError("broken") if payload == " second 1" else None
        with pytest.raises(ValueError, match="broken"):
            await texts(model)
        engines.loaded[0].fails = lambda payload: None
        assert len(await texts(model)) == 3


async def test_more_requests_than_allowed_are_told_to_come_back() -> None:
    async with open_pool(Engines(), max_requests=1) as pool, pool.use():
        with pytest.raises(Busy) as told:
            async with pool.use():
                pass
        assert 1 <= told.value.retry_after <= 60
    async with open_pool(Engines(), max_requests=1) as pool:
        for _ in range(3):
            async with pool.use():
                pass


async def test_an_unknown_model_is_not_found() -> None:
    async with open_pool(Engines()) as pool:
        with pytest.raises(ModelNotFound):
            async with pool.use("nope"):
                pass


async def test_a_failed_load_is_reported_and_tried_again() -> None:
    engines = Engines()
    engines.broken = ["weights are damaged"]
    async with open_pool(engines) as pool:
        with pytest.raises(ModelLoadFailed, match="weights are damaged"):
            async with pool.use():
                pass
        (status,) = pool.loaded()
        assert status.state is ModelState.FAILED
        assert "weights are damaged" in status.error
        assert status.replicas == ()
        assert not pool.ready
        async with pool.use():
            pass
        assert pool.ready
        assert pool.loaded()[0].error == ""


async def test_a_model_that_fails_its_warm_up_is_not_ready() -> None:
    engines = Engines(fails=lambda payload: RuntimeError("illegal instruction"))
    async with open_pool(engines) as pool:
        with pytest.raises(RuntimeError, match="illegal instruction"):
            async with pool.use():
                pass
        assert pool.loaded()[0].state is ModelState.FAILED
        assert engines.loaded[0].closed


async def test_a_caller_that_goes_away_does_not_take_the_load_from_the_others() -> None:
    engines = Engines()
    async with open_pool(engines) as pool:

        async def request() -> None:
            async with pool.use():
                pass

        gone, stays = asyncio.create_task(request()), asyncio.create_task(request())
        await asyncio.sleep(0)
        gone.cancel()
        await stays
    assert len(engines.loaded) == 1


async def test_an_idle_model_is_unloaded_after_its_time_and_pinned_ones_stay() -> None:
    engines, clock = Engines(), FakeClock()
    async with open_pool(engines, specs("default", "other"), clock=clock, idle_seconds=60) as pool:
        await pool.load("default", pin=True)
        async with pool.use("other"):
            clock.advance(100)
            await pool.unload_idle()
            assert {status.model for status in pool.loaded()} == {"default", "other"}
        clock.advance(59)
        await pool.unload_idle()
        assert {status.model for status in pool.loaded()} == {"default", "other"}
        clock.advance(1)
        await pool.unload_idle()
        assert {status.model for status in pool.loaded()} == {"default"}
        assert [engine.closed for engine in engines.loaded] == [False, True]


async def test_unloading_a_model_in_use_changes_nothing() -> None:
    engines = Engines()
    async with open_pool(engines) as pool:
        async with pool.use() as model:
            with pytest.raises(Conflict):
                await pool.unload("fake")
            assert len(await texts(model)) == 3
        async with pool.use():
            pass
        assert len(engines.loaded) == 1  # never a second copy
        await pool.unload("fake")
        assert pool.loaded() == []
        assert engines.loaded[0].closed
        with pytest.raises(NotFound):
            await pool.unload("fake")


async def test_the_least_recently_used_model_makes_room() -> None:
    engines, clock = Engines(), FakeClock()
    async with open_pool(engines, specs("a", "b", "c"), clock=clock, memory_budget_bytes=200) as pool:
        for name in ("a", "b", "a", "c"):
            clock.advance(1)
            async with pool.use(name):
                pass
        assert {status.model for status in pool.loaded()} == {"a", "c"}


async def test_without_room_and_nothing_idle_the_caller_is_told_to_come_back() -> None:
    async with open_pool(Engines(), specs("a", "b"), memory_budget_bytes=150) as pool, pool.use("a"):
        with pytest.raises(Busy):
            async with pool.use("b"):
                pass


async def test_a_model_larger_than_the_budget_says_so() -> None:
    async with open_pool(Engines(), specs("a"), memory_budget_bytes=50) as pool:
        with pytest.raises(ModelLoadFailed, match="larger than the memory budget"):
            async with pool.use("a"):
                pass


async def test_a_gpu_without_room_is_skipped() -> None:
    engines = Engines()
    engines.broken = ["CUDA failed with error out of memory"]
    hardware = Hardware(device="cuda", device_index=(0, 1))
    async with (
        ModelPool(
            FakeCatalog(),
            load_engine=engines.load,
            engine_info=lambda name: _on_gpu(),
            hardware=hardware,
        ) as pool,
        pool.use() as model,
    ):
        assert [replica.status().device_index for replica in model.replicas] == [1]
        assert len(await texts(model)) == 3


async def test_work_spreads_over_the_replicas() -> None:
    engines = Engines()
    hardware = Hardware(device="cuda", device_index=(0, 1))
    async with (
        ModelPool(
            FakeCatalog(), load_engine=engines.load, engine_info=lambda name: _on_gpu(), hardware=hardware
        ) as pool,
        pool.use() as model,
    ):
        before = [len(engine.batches) for engine in engines.loaded]
        for engine in engines.loaded:
            engine.gate.clear()
        requests = [asyncio.create_task(texts(model)) for _ in range(4)]
        await until(lambda: sum(replica.jobs for replica in model.replicas) == 4)
        assert [replica.jobs for replica in model.replicas] == [2, 2]
        for engine in engines.loaded:
            engine.gate.set()
        await asyncio.gather(*requests)
        assert all(len(engine.batches) > count for engine, count in zip(engines.loaded, before, strict=True))


async def test_a_live_decoding_does_not_wait_for_a_place_behind_files() -> None:
    engines = Engines(max_batch_size=2)
    async with open_pool(engines) as pool, pool.use() as model:
        (engine,) = engines.loaded
        engine.gate.clear()
        files = [asyncio.create_task(texts(model)) for _ in range(50)]
        await asyncio.to_thread(engine.started.wait)
        live = asyncio.create_task(texts(model, priority=Priority.LIVE_FINAL))
        await until(lambda: pool.waiting()[Priority.LIVE_FINAL])
        engine.gate.set()
        assert len(await live) == 3
        await asyncio.gather(*files)


@pytest.mark.parametrize(("seconds", "priority"), [(1.0, Priority.NORMAL), (40.0, Priority.HIGH), (1.0, Priority.HIGH)])
async def test_long_stretches_keep_no_place_from_windows_and_urgent_files(seconds: float, priority: Priority) -> None:
    engines = Engines(max_batch_size=2)
    async with open_pool(engines) as pool, pool.use() as model:
        (engine,) = engines.loaded
        engine.gate.clear()
        long = [asyncio.create_task(texts(model, audio=silence(40.0))) for _ in range(50)]
        (replica,) = model.replicas
        await until(lambda: replica.status().running + replica.status().waiting == model.decodings_at_once)
        other = asyncio.create_task(texts(model, audio=silence(seconds), priority=priority))
        await until(lambda: replica.status().running + replica.status().waiting == model.decodings_at_once + 1)
        engine.gate.set()
        await asyncio.gather(other, *long)


def _on_gpu() -> EngineInfo:
    return replace(fake_info(), devices=frozenset({"cpu", "cuda"}))


@asynccontextmanager
async def on_gpus(engines: Engines, *indexes: int, **arguments: Any) -> AsyncIterator[ModelPool]:
    async with ModelPool(
        arguments.pop("catalog", FakeCatalog()),
        load_engine=engines.load,
        engine_info=lambda name: _on_gpu(),
        hardware=Hardware(device="cuda", device_index=indexes),
        **arguments,
    ) as pool:
        yield pool


async def test_results_nobody_reads_keep_no_place_from_others() -> None:
    async with open_pool(Engines(max_batch_size=1), hardware=Hardware(cpu_threads=1)) as pool, pool.use() as model:
        unread = [model.decode(THREE_SECONDS, DecodeOptions()) for _ in model.replicas]
        for results in unread:
            await anext(results)
        async with asyncio.timeout(60):
            assert len(await texts(model)) == 3
        for results in unread:
            assert len([result async for result in results]) == 3
        assert [replica.jobs for replica in model.replicas] == [0] * len(model.replicas)


async def test_a_gpu_that_fails_its_warm_up_is_skipped() -> None:
    engines = Engines()
    load = engines.load

    def second_is_full(name: str, config: EngineConfig) -> FakeEngine:
        engine = load(name, config)
        if config.device_index == 1:
            engine.fails = lambda payload: RuntimeError("CUDA failed with error out of memory")
        return engine

    engines.load = second_is_full  # type: ignore[method-assign]
    async with on_gpus(engines, 0, 1) as pool, pool.use() as model:
        assert [replica.status().device_index for replica in model.replicas] == [0]
        assert engines.loaded[1].closed
        assert pool.loaded()[0].memory_bytes == 100


async def test_a_gpu_on_which_everything_fails_does_not_draw_all_work() -> None:
    engines = Engines()
    async with on_gpus(engines, 0, 1) as pool, pool.use() as model:
        engines.loaded[0].fails = lambda payload: RuntimeError("unspecified launch failure")
        for _ in range(3):
            with pytest.raises(RuntimeError, match="launch"):
                await texts(model)
        engines.loaded[1].gate.clear()
        requests = [asyncio.create_task(texts(model)) for _ in range(4)]
        await until(lambda: sum(replica.jobs for replica in model.replicas) == 4)
        engines.loaded[1].gate.set()
        assert [len(heard) for heard in await asyncio.gather(*requests)] == [3] * 4


async def test_the_budget_counts_every_replica_before_it_is_loaded() -> None:
    async with on_gpus(Engines(), 0, 1, 2, catalog=specs("a", "b"), memory_budget_bytes=450) as pool:
        await pool.load("a")
        await pool.load("b")
        assert [(status.model, status.memory_bytes) for status in pool.loaded()] == [("b", 300)]


async def test_the_budget_counts_loads_under_way() -> None:
    engines = Engines()
    async with open_pool(engines, specs("a", "b"), memory_budget_bytes=150) as pool:
        results = await asyncio.gather(pool.load("a"), pool.load("b"), return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["ModelStatus", "Busy"]
        assert len(engines.loaded) == 1
        await pool.load("b")
        assert [status.model for status in pool.loaded() if status.memory_bytes] == ["b"]


async def test_a_model_that_never_fits_unloads_none_in_vain() -> None:
    async with open_pool(Engines(), specs("a", "b"), memory_budget_bytes=250) as pool:
        await pool.load("a", pin=True)
        await pool.load("b")
        pool._catalog = FakeCatalog([ModelSpec(id="c", engine="fake", size_bytes=200)])
        with pytest.raises(ModelLoadFailed, match="beside the models that always stay"):
            await pool.load("c")
        assert {status.model for status in pool.loaded() if status.state is ModelState.READY} == {"a", "b"}


async def test_a_load_waits_for_models_that_go() -> None:
    engines = Engines()
    async with open_pool(engines, idle_seconds=0) as pool:
        await pool.load("")
        closing = asyncio.create_task(pool.unload(""))
        await until(lambda: not pool.loaded())
        await pool.load("")
        assert engines.loaded[0].closed
        await closing


class SlowSerial(FakeEngine):
    """Decodes inside ``transcribe``, and does not end until it is told to."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config, max_batch_size=1)
        self.decoding = False
        self.closed_while_decoding = False

    def transcribe(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Decoding:
        return Decoding(Language(code="en"), self._work(calls) if len(audio) > SAMPLE_RATE else iter(()))

    def _work(self, calls: Calls) -> Iterator[Segment]:
        self.decoding = True
        try:
            yield Segment(id=0, start=0.0, end=1.0, text=" word")
            while True:
                calls.check()
        finally:
            self.decoding = False

    def close(self) -> None:
        self.closed_while_decoding = self.decoding
        super().close()


async def test_an_engine_is_not_closed_under_a_decoding() -> None:
    engines: list[SlowSerial] = []

    def load(name: str, config: EngineConfig) -> SlowSerial:
        engines.append(SlowSerial(config))
        return engines[-1]

    async with ModelPool(FakeCatalog(), load_engine=load, engine_info=lambda name: fake_info(1)) as pool:
        async with pool.use() as model:
            results = model.decode(THREE_SECONDS, DecodeOptions())
            await anext(results)
            await model.close()
            with pytest.raises(DecodingCancelled):
                await texts(model)
            await results.aclose()
    assert [(engine.closed, engine.closed_while_decoding) for engine in engines] == [(True, False)] * len(engines)
