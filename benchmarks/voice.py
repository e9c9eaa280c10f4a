"""Spoken conversations over real sockets: how soon after somebody has spoken a reply is heard.

A language model that answers at once takes its place beside the server, so what is measured is ours: the silence that
ends a turn, the final text, the first sentence, the voice.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import machine, servers
from benchmarks.audio import SAMPLES, sample
from benchmarks.report import Table
from benchmarks.setup import Setup
from kikitori.audio.pcm import Encoding, Resampler, from_float
from kikitori.types import SAMPLE_RATE

COUNTS = (1, 10)
TURNS = 6
"""Of each conversation."""
ENDPOINT_MS = 500
RATE = 24_000
FRAME_SECONDS = 0.02
NAMES = ("en_01", "en_02", "en_04")
ANSWER = "Good morning. It is nice to hear from you. How can I help you today?"
WAIT_SECONDS = 60.0
QUIET_SECONDS = 1.0
"""Between a reply and the next turn."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """Something to say, and when it is said; bytes at ``RATE``."""

    pcm: bytes
    seconds: float


def measure(setup: Setup) -> list[Table]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            seconds = asyncio.run(_measure(setup, count, Path(folder) / str(count)))
            late = [1_000 * value - ENDPOINT_MS for value in seconds]
            rows.append(
                [
                    str(count),
                    str(len(late)),
                    f"{statistics.median(late):.0f}",
                    f"{np.percentile(late, 90):.0f}",
                    f"{max(late):.0f}",
                ]
            )
    return [
        Table(
            name="voice",
            title="Spoken conversations: from the end of a turn to the first sound of the reply",
            command="python -m benchmarks voice",
            machine=machine.describe(setup.model_name, setup.device),
            columns=["conversations at once", "turns", "p50 ms", "p90 ms", "most ms"],
            rows=rows,
            notes=[
                f"Milliseconds beyond the {ENDPOINT_MS} ms of silence that end a turn, counted from the last speech; a "
                "language model that answers at once, eSpeak NG as the voice; clients and server share the machine."
            ],
        )
    ]


async def _measure(setup: Setup, count: int, folder: Path) -> list[float]:
    """Seconds from the end of speech to the first sound, of every turn of ``count`` conversations."""
    async with _instant_model() as url:
        serving = servers.of_its_own(setup.model, setup.device, folder, llm_base_url=url, llm_model="instant")
        address, _ = await asyncio.to_thread(serving.__enter__)
        try:
            await _converse(address, 0, turns=1)  # everything is loaded and open
            results = await asyncio.gather(*(_converse(address, number, turns=TURNS) for number in range(count)))
        finally:
            await asyncio.to_thread(serving.__exit__, None, None, None)
    return [seconds for result in results for seconds in result]


async def _converse(address: str, number: int, *, turns: int) -> list[float]:
    said = [_spoken(NAMES[(number + turn) % len(NAMES)]) for turn in range(turns)]
    url = f"{address.replace('http', 'ws')}/v1/realtime?model=gpt-realtime"
    async with connect(url, max_size=None) as socket:
        detection = {"type": "server_vad", "silence_duration_ms": ENDPOINT_MS}
        session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        await asyncio.sleep(number * 0.37)  # people do not speak in step
        return [await _turn(socket, each) for each in said]


async def _turn(socket: ClientConnection, spoken: Spoken) -> float:
    """Speak as people do, at the pace of the audio, and listen to the whole reply."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    heard: asyncio.Future[float] = loop.create_future()
    speaking = asyncio.create_task(_speak(socket, spoken.pcm, begun, heard))
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            async for frame in socket:
                event = json.loads(frame)
                if event["type"] == "response.output_audio.delta" and not heard.done():
                    heard.set_result(loop.time())
                if event["type"] == "response.done":
                    break
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
    await asyncio.sleep(QUIET_SECONDS)
    return heard.result() - begun - spoken.seconds


async def _speak(socket: ClientConnection, pcm: bytes, begun: float, heard: asyncio.Future[float]) -> None:
    """Send ``pcm`` and then silence, until the reply is heard."""
    loop = asyncio.get_running_loop()
    size = 2 * round(FRAME_SECONDS * RATE)
    sent = 0
    while not heard.done():
        frame = pcm[sent : sent + size].ljust(size, b"\0")
        sent += size
        audio = base64.b64encode(frame).decode()
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        await asyncio.sleep(begun + sent / 2 / RATE - loop.time())


def _spoken(name: str) -> Spoken:
    """A sample; its end is where its last words end."""
    facts = {fact["file"]: fact for fact in json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))}
    end = facts[f"{name}.wav"]["segments"][-1]["end"]
    resampler = Resampler(SAMPLE_RATE, RATE)
    audio = np.concatenate([resampler.push(sample(name)[: round(end * SAMPLE_RATE)]), resampler.flush()])
    return Spoken(from_float(audio, Encoding.S16LE), end)


@asynccontextmanager
async def _instant_model() -> AsyncGenerator[str, None]:
    """A chat endpoint that always says the same, at once."""
    server = await asyncio.start_server(partial(_answer, chunks=[*map(_chunk, ANSWER.split(" "))]), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, chunks: list[bytes]) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.partition(":")[2]) for line in head.split("\r\n") if line.startswith("content-length"))
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.write(b"".join(chunks) + _chunk("", "stop") + b"data: [DONE]\n\n")
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


def _chunk(word: str, finish: str | None = None) -> bytes:
    delta: dict[str, Any] = {"content": f"{word} "} if word else {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    value = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "instant", "choices": [choice]}
    return f"data: {json.dumps(value)}\n\n".encode()
