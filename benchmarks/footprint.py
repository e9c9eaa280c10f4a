"""Start-up time, memory and the wait for the first words, of a server as users start it."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from benchmarks import machine, servers
from benchmarks.audio import write_wav
from benchmarks.report import Table
from benchmarks.setup import Setup

MEBIBYTE = 1024**2
LENGTHS = {"1 minute": 60.0, "1 hour": 3_600.0, "3 hours": 10_800.0}
STARTS = 3
FIRST_WORDS_SECONDS = 600.0


def measure(setup: Setup) -> list[Table]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [_start_up(setup, folder), _memory(setup, folder)]


def _start_up(setup: Setup, folder: Path) -> Table:
    starts, idle, first = [], [], []
    recording = write_wav(folder / "ten-minutes.wav", FIRST_WORDS_SECONDS)
    for number in range(STARTS):
        started = time.perf_counter()
        with servers.of_its_own(setup.model, setup.device, folder / f"start-{number}") as (address, process):
            starts.append(time.perf_counter() - started)
            idle.append(process.memory_info().rss / MEBIBYTE)
            first.append(_first_words(address, recording))
    return Table(
        name="startup",
        title="Start-up and first words",
        command="python -m benchmarks footprint",
        machine=machine.describe(setup.model_name, setup.device),
        columns=("what", "median"),
        rows=[
            ("start of the process to `/health/ready` 200", f"{statistics.median(starts):.2f} s"),
            ("memory of the idle server", f"{statistics.median(idle):.0f} MiB"),
            ("first segment of a 10-minute file, upload included", f"{statistics.median(first):.2f} s"),
        ],
        notes=[f"Median of {STARTS} starts."],
    )


def _first_words(address: str, recording: Path) -> float:
    """Seconds from the request to the first segment of a streamed answer."""
    started = time.perf_counter()
    with (
        recording.open("rb") as file,
        httpx.stream(
            "POST", f"{address}/v1/audio/transcriptions", files={"file": file}, data={"stream": "true"}, timeout=600
        ) as answer,
    ):
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("data: {") and json.loads(line[6:])["type"] == "transcript.text.delta":
                return time.perf_counter() - started
    raise AssertionError("The stream had no words.")


def _memory(setup: Setup, folder: Path) -> Table:
    rows = []
    for name, seconds in LENGTHS.items():
        recording = write_wav(folder / "long.wav", seconds)
        with servers.of_its_own(setup.model, setup.device, folder / name.replace(" ", "-")) as (address, process):
            idle = process.memory_info().rss
            started = time.perf_counter()
            _transcribe(address, recording)
            wall = time.perf_counter() - started
            peak = _peak(process)
        rows.append(
            (
                name,
                f"{idle / MEBIBYTE:.0f} MiB",
                f"{peak / MEBIBYTE:.0f} MiB",
                f"{(peak - idle) / MEBIBYTE:.0f} MiB",
                f"{wall:.1f} s",
                f"{seconds / wall:.0f}×",
            )
        )
        recording.unlink()
    return Table(
        name="memory",
        title="Memory of long files",
        command="python -m benchmarks footprint",
        machine=machine.describe(setup.model_name, setup.device),
        columns=("file", "idle", "peak", "above idle", "wall", "real time"),
        rows=rows,
        notes=["Peak: the high-water mark of the server's resident memory (VmHWM), a fresh server for each file."],
    )


def _transcribe(address: str, recording: Path) -> None:
    with recording.open("rb") as file:
        answer = httpx.post(f"{address}/v1/audio/transcriptions", files={"file": file}, timeout=3_600)
    answer.raise_for_status()


def _peak(process: psutil.Process) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("This system does not tell the peak memory of a process.")
