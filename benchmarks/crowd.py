"""Live sessions in unkind company: 500 that say nothing, one that floods, 100 that are killed."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks import machine, servers
from benchmarks.audio import SAMPLES
from benchmarks.report import Table
from benchmarks.setup import Setup
from kikitori.audio.pcm import Encoding, from_float
from kikitori.cli.bench.metrics import percentile, score
from kikitori.cli.bench.replay import Target, replay_all
from kikitori.cli.bench.truth import Sentence, compose, read_sentences
from kikitori.types import SAMPLE_RATE

COMMAND = "python -m benchmarks crowd"
MEBIBYTE = 1024**2
IDLE_SESSIONS = 500
SETTLE_SECONDS = 5.0
LOOK_SECONDS = 20.0
POLITE = 2
"""Clients that speak while another one floods."""
TALK_SECONDS = 40.0
FLOOD_SECONDS = 600.0
"""Audio that the flooding client has, and sends as fast as the socket takes it."""
SPEAKERS, SPEAKER_PROCESSES = 100, 5
GONE_SECONDS = 60.0
FRAME_BYTES = SAMPLE_RATE // 25 * 2
"""40 ms."""


def measure(setup: Setup) -> list[Table]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [_idle(setup, folder / "idle"), _flood(setup, folder / "flood"), _killed(setup, folder / "killed")]


@contextmanager
def _server(setup: Setup, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    with servers.of_its_own(setup.model, setup.device, folder) as server:
        yield server


# Sessions that say nothing ---------------------------------------------------------------------------------------


def _idle(setup: Setup, folder: Path) -> Table:
    with _server(setup, folder) as (address, process):
        before, after, share = asyncio.run(_hold(address, process))
    each = (after - before) / IDLE_SESSIONS / 1024
    return Table(
        name="live-idle",
        title="Idle live sessions",
        command=COMMAND,
        machine=machine.describe(setup.model_name, setup.device),
        columns=("what", "measured"),
        rows=[
            ("sessions that were started and send nothing", str(IDLE_SESSIONS)),
            ("memory of the server for each", f"{each:.0f} KiB"),
            ("CPU of the server", f"{share:.1f} % of one core"),
        ],
        notes=[f"Over {LOOK_SECONDS:.0f} s, after {SETTLE_SECONDS:.0f} s to settle."],
    )


async def _hold(address: str, process: psutil.Process) -> tuple[int, int, float]:
    """Memory before and with all sessions, and the server's share of a core meanwhile."""
    async with AsyncExitStack() as sockets:
        await sockets.enter_async_context(await _started(address))  # what the first one loads is no session's
        await asyncio.sleep(SETTLE_SECONDS)
        before = process.memory_info().rss
        for _ in range(IDLE_SESSIONS):
            await sockets.enter_async_context(await _started(address))
        await asyncio.sleep(SETTLE_SECONDS)
        process.cpu_percent()
        await asyncio.sleep(LOOK_SECONDS)
        return before, process.memory_info().rss, process.cpu_percent()


async def _started(address: str) -> ClientConnection:
    socket = await connect(f"{address.replace('http', 'ws', 1)}/stt/websocket", proxy=None, open_timeout=60)
    await socket.send(json.dumps({"type": "start", "lang": "en"}))
    answer = json.loads(await socket.recv())
    if answer["type"] != "system":
        raise RuntimeError(f"The server refused a session: {answer}")
    return socket


# One that floods -------------------------------------------------------------------------------------------------


def _flood(setup: Setup, folder: Path) -> Table:
    sentences = read_sentences(SAMPLES / "samples.json", "en")
    alone, beside = [], []
    with _server(setup, folder) as (address, _):
        for _ in range(setup.rounds):
            alone += asyncio.run(_talk(address, sentences, flooded=False))
            beside += asyncio.run(_talk(address, sentences, flooded=True))
    quiet, flooded = percentile(alone, 95), percentile(beside, 95)
    return Table(
        name="live-flood",
        title="A client that floods",
        command=COMMAND,
        machine=machine.describe(setup.model_name, setup.device),
        columns=("final after speech", "p50", "p95"),
        rows=[
            (f"{POLITE} clients alone", f"{percentile(alone, 50):.2f} s", f"{quiet:.2f} s"),
            ("the same beside one that floods", f"{percentile(beside, 50):.2f} s", f"{flooded:.2f} s"),
            ("change", "", f"{(flooded / quiet - 1) * 100:+.0f} %"),
        ],
        notes=[
            f"{setup.rounds} rounds of each, in turns, {TALK_SECONDS:.0f} s long. The flooding client sends speech "
            "without a pause, as fast as the socket takes it."
        ],
    )


async def _talk(address: str, sentences: list[Sentence], *, flooded: bool) -> list[float]:
    """How late the finals of the polite clients were, in seconds."""
    flood = asyncio.create_task(_pour(address, sentences)) if flooded else None
    try:
        speeches = [
            compose(sentences, client=client, seconds=TALK_SECONDS, duty=0.6, language="en") for client in range(POLITE)
        ]
        journals = await replay_all(Target(url=address), speeches)
    finally:
        if flood is not None:
            flood.cancel()
            await asyncio.gather(flood, return_exceptions=True)
    if problems := [journal.problem for journal in journals if journal.problem]:
        raise RuntimeError(f"A polite client failed: {problems}")
    return [latency for journal in journals for latency in score(journal).final]


async def _pour(address: str, sentences: list[Sentence]) -> None:
    speech = compose(sentences, client=5, seconds=FLOOD_SECONDS, duty=1.0, language="en")
    data = from_float(speech.audio, Encoding.S16LE)
    async with await _started(address) as socket:
        reading = asyncio.create_task(_swallow(socket))
        try:
            for begin in range(0, len(data), FRAME_BYTES):
                await socket.send(data[begin : begin + FRAME_BYTES])
            await socket.wait_closed()
        finally:
            reading.cancel()


async def _swallow(socket: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass


# Clients that are killed -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the server holds."""

    threads: int
    descriptors: int
    memory: int


def _killed(setup: Setup, folder: Path) -> Table:
    with _server(setup, folder) as (address, process):
        _kill_speakers(address, SPEAKERS)  # threads and buffers of a first crowd stay for the next one
        before = _held(address, process)
        _kill_speakers(address, SPEAKERS)
        after = _held(address, process)
    return Table(
        name="live-killed",
        title=f"{SPEAKERS} clients, killed while they speak",
        command=COMMAND,
        machine=machine.describe(setup.model_name, setup.device),
        columns=("held by the server", "before", "after"),
        rows=[
            ("live sessions", "0", "0"),
            ("threads", str(before.threads), str(after.threads)),
            ("descriptors", str(before.descriptors), str(after.descriptors)),
            ("memory", f"{before.memory / MEBIBYTE:.0f} MiB", f"{after.memory / MEBIBYTE:.0f} MiB"),
        ],
        notes=[
            "SIGKILL to the clients' processes; counted when the server shows no session any more. Before: after "
            f"{SPEAKERS} earlier ones that were killed too, whose threads and buffers are used again."
        ],
    )


def _kill_speakers(address: str, speakers: int) -> None:
    context = multiprocessing.get_context("spawn")
    speaking = context.Barrier(SPEAKER_PROCESSES + 1)
    share = speakers // SPEAKER_PROCESSES
    processes = [
        context.Process(target=_speak_until_killed, args=(address, share, speaking)) for _ in range(SPEAKER_PROCESSES)
    ]
    for process in processes:
        process.start()
    speaking.wait(GONE_SECONDS)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    _wait_for_none(address)


def _speak_until_killed(address: str, sessions: int, speaking: object) -> None:
    asyncio.run(_speak(address, sessions, speaking))


async def _speak(address: str, sessions: int, speaking: object) -> None:
    sentences = read_sentences(SAMPLES / "samples.json", "en")
    speech = compose(sentences, client=0, seconds=30, duty=0.6, language="en")
    data = from_float(speech.audio, Encoding.S16LE)
    sockets = [await _started(address) for _ in range(sessions)]
    reading = [asyncio.create_task(_swallow(socket)) for socket in sockets]
    for number, begin in enumerate(cycle(range(0, len(data), FRAME_BYTES))):
        for socket in sockets:
            await socket.send(data[begin : begin + FRAME_BYTES])
        if number == 25:
            await asyncio.to_thread(speaking.wait)  # type: ignore[attr-defined]
        await asyncio.sleep(0.04)
    await asyncio.gather(*reading)


def _held(address: str, process: psutil.Process) -> Held:
    time.sleep(SETTLE_SECONDS)
    httpx.get(f"{address}/health/ready")
    return Held(threads=process.num_threads(), descriptors=process.num_fds(), memory=process.memory_info().rss)


def _wait_for_none(address: str) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while time.monotonic() < deadline:
        families = text_string_to_metric_families(httpx.get(f"{address}/metrics").text)
        if all(sample.value == 0 for family in families for sample in family.samples if sample.name == METRIC):
            return
        time.sleep(0.2)
    raise TimeoutError("The server still has sessions of killed clients.")


METRIC = "kikitori_live_sessions"
