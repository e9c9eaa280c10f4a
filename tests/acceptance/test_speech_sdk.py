"""Text to speech with OpenAI's SDK, from a real server with the embedded engine, heard by our own decoder."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import wave
from collections.abc import Callable

import httpx
import numpy as np
import openai
import pytest
from tests.realtime_sdk import sdk
from tests.servers import Server
from tests.voice import voices_at_work

from kikitori.audio.decode import decode
from kikitori.audio.pcm import Encoding, Resampler, to_float
from kikitori.tts.espeak import SPARES
from kikitori.types import Audio

SENTENCE = "Good morning. How are you today?"
SECONDS = (1.2, 4.0)
"""That a sane voice takes for it."""


def heard(data: bytes, format: str) -> Audio:
    """At 16 kHz."""
    if format == "pcm":
        return Resampler(24_000).push(to_float(data, Encoding.S16LE))
    whole: Audio = np.concatenate([*decode(io.BytesIO(data))], axis=1)[0]
    return whole


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
async def test_every_format_is_speech(server: Server, format: str) -> None:
    async with sdk(server.url) as client:
        answer = await client.audio.speech.create(
            model="tts-1",
            voice="alloy",
            input=SENTENCE,
            response_format=format,  # type: ignore[arg-type]
        )
    audio = heard(answer.content, format)
    assert SECONDS[0] < len(audio) / 16_000 < SECONDS[1]
    assert np.sqrt(np.mean(audio**2)) > 0.01


async def test_speech_comes_while_it_is_spoken(server: Server) -> None:
    async with (
        sdk(server.url) as client,
        client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", voice="nova", input=SENTENCE * 20, response_format="wav"
        ) as answer,
    ):
        assert answer.headers["content-type"] == "audio/wav"
        parts = [part async for part in answer.iter_bytes(4_096)]
    with wave.open(io.BytesIO(b"".join(parts))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
    assert len(parts) > 10


async def test_events_bring_the_same_file(server: Server) -> None:
    asked = {"model": "tts-1", "voice": "alloy", "input": SENTENCE, "response_format": "pcm"}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        whole = (await client.post("/v1/audio/speech", json=asked)).content
        told = await client.post("/v1/audio/speech", json={**asked, "stream_format": "sse"})
    events = [json.loads(line.removeprefix("data: ")) for line in told.text.splitlines() if line]
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == whole
    assert events[-1]["type"] == "speech.audio.done"


@pytest.mark.parametrize(
    ("wrong", "param"), [({"voice": "bogus"}, "voice"), ({"input": "x" * 5_000}, "input"), ({"speed": 9.0}, "speed")]
)
async def test_the_sdk_is_told_which_field_is_wrong(server: Server, wrong: dict[str, object], param: str) -> None:
    async with sdk(server.url) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.audio.speech.create(**{"model": "tts-1", "voice": "alloy", "input": SENTENCE, **wrong})  # type: ignore[arg-type]
    assert caught.value.param == param


async def test_who_goes_away_stops_the_voice(server: Server, eventually: Callable[[Callable[[], bool]], None]) -> None:
    asked = {"model": "tts-1", "voice": "alloy", "input": "a long word " * 300, "speed": 0.25, "response_format": "wav"}
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=60) as client,
        client.stream("POST", "/v1/audio/speech", json=asked) as answer,
    ):
        parts = answer.aiter_bytes(1_000)
        assert await anext(parts)
        await asyncio.to_thread(eventually, lambda: voices_at_work(server) == SPARES + 1)
    await asyncio.to_thread(eventually, lambda: voices_at_work(server) == SPARES)
