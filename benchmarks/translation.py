"""Translations while people speak: how soon after a final the first words of its translation are there.

Real sockets, and a language model that answers at once: what is measured is ours.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import machine
from benchmarks.audio import sample
from benchmarks.instant_model import COLUMNS, delays, talking_server
from benchmarks.report import Table
from benchmarks.setup import Setup
from kikitori.audio.pcm import Encoding, from_float
from kikitori.types import SAMPLE_RATE

COUNTS = (1, 10)
SENTENCES = 8
"""Of each session."""
NAMES = ("en_01", "en_02", "en_04")
ANSWER = "Der Arzt geht am Freitag zur Bank."
FRAME_SECONDS = 0.02
PAUSE_SECONDS = 1.0
"""After each sentence."""
WAIT_SECONDS = 120.0


def measure(setup: Setup) -> list[Table]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            late = asyncio.run(_measure(setup, count, Path(folder) / str(count)))
            rows.append([str(count), str(len(late)), *delays(late)])
    return [
        Table(
            name="translation",
            title="Translations while people speak: from a final to the first words of its translation",
            command="python -m benchmarks translation",
            machine=machine.describe(setup.model_name, setup.device),
            columns=["sessions at once", "finals", *COLUMNS],
            rows=rows,
            notes=["A language model that answers at once; clients and server share the machine."],
        )
    ]


async def _measure(setup: Setup, count: int, folder: Path) -> list[float]:
    """Seconds from each final to the first message with its translation, of ``count`` sessions at once."""
    async with talking_server(setup, folder, ANSWER) as address:
        await _listen(address, 0, sentences=1)  # everything is loaded and open
        results = await asyncio.gather(*(_listen(address, number, sentences=SENTENCES) for number in range(count)))
    return [seconds for result in results for seconds in result]


async def _listen(address: str, number: int, *, sentences: int) -> list[float]:
    names = [NAMES[(number + at) % len(NAMES)] for at in range(sentences)]
    async with connect(f"{address.replace('http', 'ws')}/stt/websocket", max_size=None) as socket:
        await socket.send(json.dumps({"type": "start", "lang": "en", "translate_to": "de"}))
        await asyncio.sleep(number * 0.37)  # people do not speak in step
        speaking = asyncio.create_task(_speak(socket, names))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await _delays(socket)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)


async def _delays(socket: ClientConnection) -> list[float]:
    """Until the round is over."""
    loop = asyncio.get_running_loop()
    decided: dict[int, float] = {}
    late: dict[int, float] = {}
    async for frame in socket:
        message = json.loads(frame)
        if message["type"] == "final" and message["text"]:
            decided[message["utterance"]] = loop.time()
        elif message["type"] == "translation":
            late.setdefault(message["utterance"], loop.time() - decided[message["utterance"]])
        elif message["type"] == "ended":
            break
    return list(late.values())


async def _speak(socket: ClientConnection, names: list[str]) -> None:
    """At the pace of the audio, with pauses between sentences."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    pcm = from_float(np.concatenate([part for name in names for part in (sample(name), pause)]), Encoding.S16LE)
    loop = asyncio.get_running_loop()
    begun, size = loop.time(), 2 * round(FRAME_SECONDS * SAMPLE_RATE)
    for sent in range(0, len(pcm), size):
        await socket.send(pcm[sent : sent + size])
        await asyncio.sleep(begun + (sent + size) / 2 / SAMPLE_RATE - loop.time())
    await socket.send(json.dumps({"type": "end"}))
