"""A server whose language model answers at once, always the same: what is measured with it is ours."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import servers
from benchmarks.setup import Setup

COLUMNS = ("p50 ms", "p90 ms", "most ms")


def delays(seconds: Sequence[float]) -> list[str]:
    """The cells of ``COLUMNS``."""
    late = [1_000 * each for each in seconds]
    return [f"{value:.0f}" for value in (statistics.median(late), np.percentile(late, 90), max(late))]


@asynccontextmanager
async def talking_server(setup: Setup, folder: Path, answer: str) -> AsyncGenerator[str, None]:
    """A real one, ready; yields its address."""
    async with instant_model(answer) as url:
        serving = servers.of_its_own(setup.model, setup.device, folder, llm_base_url=url, llm_model="instant")
        address, _ = await asyncio.to_thread(serving.__enter__)
        try:
            yield address
        finally:
            await asyncio.to_thread(serving.__exit__, None, None, None)


@asynccontextmanager
async def instant_model(answer: str) -> AsyncGenerator[str, None]:
    """A chat endpoint; yields its base URL."""
    chunks = [*map(_chunk, answer.split(" "))]
    server = await asyncio.start_server(partial(_answer, chunks=chunks), "127.0.0.1", 0)
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
