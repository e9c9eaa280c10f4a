"""A speech endpoint elsewhere, as a real HTTP server that does what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from tests.chat_server import FakeChatServer, Reply, chat_server, fails

from kikitori.audio.pcm import to_wav_bytes
from kikitori.errors import Busy, InvalidInput, KikitoriError, SpeechFailed
from kikitori.testing import Hold
from kikitori.tts.remote import RemoteSpeaker

PCM = bytes(range(256)) * 100
STEREO = b"RIFF....WAVEfmt \x10\0\0\0\1\0\2\0" + bytes(20) + b"data...."


def sends(*steps: bytes | Hold, kind: str = "audio/pcm") -> Reply:
    return Reply(steps=steps, headers={"content-type": kind})


@asynccontextmanager
async def remote(*script: Reply, **facts: Any) -> AsyncGenerator[tuple[RemoteSpeaker, FakeChatServer], None]:
    async with chat_server(*script) as server:
        speaker = RemoteSpeaker(server.url, **facts)
        yield speaker, server
        await speaker.close()


async def spoken(speaker: RemoteSpeaker, text: str = "Hello", **asked: Any) -> bytes:
    async with aclosing(speaker.speak(text, **asked)) as sounds:
        return b"".join([sound.pcm async for sound in sounds])


async def test_it_asks_as_openais_clients_do() -> None:
    async with remote(sends(PCM), api_key="sk-1", model="kokoro", voice="af_sky") as (speaker, server):
        assert await spoken(speaker, speed=1.5, instructions="Softly.", language="de") == PCM
        (asked,) = server.requests
    assert asked.path == "/v1/audio/speech"
    assert asked.headers["authorization"] == "Bearer sk-1"
    assert asked.body == {
        "model": "kokoro",
        "input": "Hello",
        "voice": "af_sky",
        "response_format": "pcm",
        "speed": 1.5,
        "instructions": "Softly.",
    }


async def test_without_a_key_and_wishes_it_sends_the_usual() -> None:
    async with remote(sends(PCM)) as (speaker, server):
        await spoken(speaker, voice="nova")
        (asked,) = server.requests
    assert "authorization" not in asked.headers
    assert (asked.body["model"], asked.body["voice"]) == ("tts-1", "nova")
    assert "instructions" not in asked.body


async def test_sound_comes_while_it_is_made_and_in_whole_samples() -> None:
    hold = Hold()
    async with (
        remote(sends(b"\1\2\3", hold, b"\4")) as (speaker, _),
        aclosing(speaker.speak("Hello")) as sounds,
    ):
        first = await anext(sounds)
        assert (first.pcm, first.rate) == (b"\1\2", 24_000)
        hold.release.set()
        assert [sound.pcm async for sound in sounds] == [b"\3\4"]


async def test_a_wav_that_comes_all_the_same_is_read() -> None:
    import numpy as np

    wav = to_wav_bytes(np.zeros(1_000, np.float32) + 0.5, 16_000)
    async with (
        remote(sends(wav[:10], wav[10:50], wav[50:], kind="audio/wav")) as (speaker, _),
        aclosing(speaker.speak("Hello")) as sounds,
    ):
        heard = [sound async for sound in sounds]
    assert {sound.rate for sound in heard} == {16_000}
    assert b"".join(sound.pcm for sound in heard) == wav[44:]


async def test_closing_ends_the_request() -> None:
    async with remote(sends(b"\1\2", Hold())) as (speaker, server):
        async with aclosing(speaker.speak("Hello")) as sounds:
            await anext(sounds)
        async with asyncio.timeout(60):
            await server.requests[0].gone.wait()


async def test_what_passes_is_tried_once_more() -> None:
    async with remote(fails(503), sends(PCM)) as (speaker, server):
        assert await spoken(speaker) == PCM
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (fails(401, "the key sk-secret"), SpeechFailed, "KIKITORI_TTS_API_KEY"),
        (fails(404, "no model"), SpeechFailed, "KIKITORI_TTS_MODEL"),
        (fails(500), SpeechFailed, "failed (500)"),
        (fails(503), SpeechFailed, "failed (503)"),
        (fails(400, "input is too odd"), SpeechFailed, "input is too odd"),
        (fails(400, "there is no voice 'x' for sk-secret"), InvalidInput, "no voice 'x' for [key]"),
        (fails(429, retry_after="7"), Busy, "7 s"),
        (sends(b"<html>", kind="text/html"), SpeechFailed, "text/html"),
        (sends(PCM, kind="audio/mpeg"), SpeechFailed, "audio/mpeg"),
        (sends(), SpeechFailed, "no sound"),
        (sends(STEREO, kind="audio/wav"), SpeechFailed, "mono"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_goes_wrong_is_told(reply: Reply, kind: type[KikitoriError], message: str) -> None:
    async with remote(reply, api_key="sk-secret") as (speaker, _):
        with pytest.raises(kind) as caught:
            await spoken(speaker)
    assert message in str(caught.value)
    assert "sk-secret" not in str(caught.value)


async def test_an_endpoint_that_hangs_is_given_up() -> None:
    async with remote(sends(b"\1\2", Hold()), silence_seconds=0.05) as (speaker, _):
        with pytest.raises(SpeechFailed, match="in time"):
            await spoken(speaker)


async def test_an_endpoint_that_is_not_there() -> None:
    speaker = RemoteSpeaker("http://127.0.0.1:9/v1")
    with pytest.raises(SpeechFailed, match="cannot be reached"):
        await spoken(speaker)
    await speaker.close()


async def test_an_endpoint_that_breaks_off() -> None:
    broken = Reply(steps=(b"\1\2",), headers={"content-type": "audio/pcm", "content-length": "100"})
    async with remote(broken) as (speaker, _):
        with pytest.raises(SpeechFailed, match="broke off"):
            await spoken(speaker)


@pytest.mark.parametrize("url", ["", "host/v1", "ftp://host", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SpeechFailed, match="no address"):
        RemoteSpeaker(url)


async def test_the_whole_address_is_taken_as_it_is() -> None:
    async with chat_server(sends(PCM)) as server:
        speaker = RemoteSpeaker(f"{server.url}/audio/speech")
        await spoken(speaker)
        assert server.requests[0].path == "/v1/audio/speech"
        await speaker.close()


async def test_the_default_voice_comes_first() -> None:
    speaker = RemoteSpeaker("http://127.0.0.1:9", voice="af_sky")
    assert [voice.name for voice in await speaker.voices()][:2] == ["af_sky", "alloy"]
    await speaker.close()
