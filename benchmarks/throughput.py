"""Many files at once: merged decoding against plain threads and against one after the other."""

from __future__ import annotations

import asyncio
import io
import statistics
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from faster_whisper import WhisperModel

from benchmarks import machine
from benchmarks.audio import different_files
from benchmarks.report import Table
from benchmarks.setup import Setup
from benchmarks.timing import alternate, median_ratio
from kikitori.engines.registry import engine_info, load_engine
from kikitori.inference.models import ModelSpec
from kikitori.inference.placement import Hardware
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.pipeline.transcriber import Transcriber
from kikitori.types import SAMPLE_RATE, Audio, DecodeMode

SECONDS = 60.0
BEAMS = (5, 1)
"""Upstream's default, and greedy."""
MODES = (DecodeMode.WINDOWED, DecodeMode.SEQUENTIAL)


@dataclass(slots=True)
class OneModel:
    """A catalog of one."""

    path: str

    def resolve(self, name: str) -> ModelSpec:
        return ModelSpec(id="benchmark", engine="whisper", path=self.path)


def measure(setup: Setup) -> list[Table]:
    return [_measure(setup, count, beam) for count in setup.at_once for beam in BEAMS]


def _measure(setup: Setup, count: int, beam: int) -> Table:
    on_gpu = setup.device != "cpu"
    files = different_files(count, SECONDS)
    library = WhisperModel(setup.model, device=setup.device)
    tuned = WhisperModel(
        setup.model, device=setup.device, cpu_threads=setup.threads, num_workers=1 if on_gpu else setup.workers
    )
    options = {"language": "en", "condition_on_previous_text": False, "beam_size": beam}

    def plain(audio: Audio, model: WhisperModel = library) -> None:
        for _ in model.transcribe(audio, **options)[0]:
            pass

    def one_after_the_other() -> None:
        for audio in files:
            plain(audio)

    def threads(model: WhisperModel) -> None:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(partial(plain, model=model), files))

    tuning = f"num_workers={setup.workers}, cpu_threads={setup.threads}"
    with asyncio.Runner() as runner:
        ours = Merged(setup, runner, beam)
        ways: dict[str, Callable[[], object]] = {
            "plain WhisperModel, one after the other": one_after_the_other,
            f"plain WhisperModel, {count} threads": partial(threads, library),
            **({} if on_gpu else {f"the same, {tuning}": partial(threads, tuned)}),
            **{f"Kikitori, {mode.value}": partial(ours.run, files, mode) for mode in MODES},
        }
        seconds = alternate(ways, rounds=setup.rounds)
        fill = ours.fill
        ours.close()
    after, side_by_side = list(ways)[:2]
    rows = [
        (
            name,
            f"{statistics.median(values):.2f}",
            f"{count * SECONDS / statistics.median(values):.0f}×",
            f"{median_ratio(seconds[side_by_side], values):.2f}",
            f"{median_ratio(seconds[after], values):.2f}",
            fill.get(name, "–"),
        )
        for name, values in seconds.items()
    ]
    return Table(
        name=f"throughput-{setup.device}-{count}-beam-{beam}",
        title=f"{count} files of {SECONDS:.0f} s at once, beam {beam} ({setup.device})",
        command="python -m benchmarks throughput" + ("" if setup.device == "cpu" else f" --device {setup.device}"),
        machine=machine.describe(setup.model_name, setup.device),
        columns=("way", "median seconds", "real time", "throughput to threads", "to one by one", "calls a batch"),
        rows=rows,
        notes=[
            f"Median of {setup.rounds} rounds, the ways in turn; language given, "
            "condition_on_previous_text=false everywhere. Calls a batch: mean over generate calls."
        ],
    )


class Merged:
    """Our pool, kept loaded between rounds."""

    def __init__(self, setup: Setup, runner: asyncio.Runner, beam: int) -> None:
        self._runner, self._beam = runner, beam
        self._batches: dict[str, list[int]] = {}
        self._running = ""
        self._pool = ModelPool(
            OneModel(setup.model),
            load_engine=load_engine,
            engine_info=engine_info,
            hardware=Hardware(device=setup.device),
            listener=self,
        )
        runner.run(self._pool.__aenter__())
        self._transcriber = Transcriber(self._pool)

    @property
    def fill(self) -> dict[str, str]:
        return {name: f"{statistics.mean(sizes):.1f}" for name, sizes in self._batches.items()}

    def run(self, files: Sequence[Audio], mode: DecodeMode) -> None:
        self._running = f"Kikitori, {mode.value}"
        self._runner.run(self._all(files, mode))

    def close(self) -> None:
        self._runner.run(self._pool.__aexit__(None, None, None))

    def batch_ran(self, kind: str, size: int, seconds: float) -> None:
        if kind == "generate" and self._running:
            self._batches.setdefault(self._running, []).append(size)

    def call_waited(self, priority: str, seconds: float) -> None: ...

    async def _all(self, files: Sequence[Audio], mode: DecodeMode) -> None:
        options = DecodeOptions(language="en", mode=mode, condition_on_previous_text=False, beam_size=self._beam)
        await asyncio.gather(*(self._transcriber.transcribe(_wav(audio), options) for audio in files))


def _wav(audio: Audio) -> io.BytesIO:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(audio, -1, 1) * 32_767).astype("<i2").tobytes())
    buffer.seek(0)
    return buffer
