"""Spoken conversations over real sockets: how soon after somebody has spoken a reply is heard.

A language model that answers at once takes its place beside the server, so what is measured is ours: the silence that
ends a turn, the final text, the first sentence, the voice.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import machine
from benchmarks.audio import SAMPLES, sample
from benchmarks.instant_model import COLUMNS, delays, talking_server
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
            late = [each - ENDPOINT_MS / 1_000 for each in seconds]
            rows.append([str(count), str(len(late)), *delays(late)])
    return [
        Table(
            name="voice",
            title="Spoken conversations: from the end of a turn to the first sound of the reply",
            command="python -m benchmarks voice",
            machine=machine.describe(setup.model_name, setup.device),
            columns=["conversations at once", "turns", *COLUMNS],
            rows=rows,
            notes=[
                f"Milliseconds beyond the {ENDPOINT_MS} ms of silence that end a turn, counted from the last speech; a "
                "language model that answers at once, eSpeak NG as the voice; clients and server share the machine."
            ],
        )
    ]


async def _measure(setup: Setup, count: int, folder: Path) -> list[float]:
    """Seconds from the end of speech to the first sound, of every turn of ``count`` conversations."""
    async with talking_server(setup, folder, ANSWER) as address:
        await _converse(address, 0, turns=1)  # everything is loaded and open
        results = await asyncio.gather(*(_converse(address, number, turns=TURNS) for number in range(count)))
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
