"""Home Assistant's side: the official client of Wyoming on a real server, hearing and speaking."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.test_live_socket import read
from tests.conftest import MINI
from tests.servers import Server, running_server
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from kikitori.testing import until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "wyoming.md").read_text(encoding="utf-8")
HEARD = "The doctor goes to the bank on Friday."
SECONDS = 60.0
PIECE = 2_048


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("wyoming") / "data"
    with running_server(data, "--model", str(MINI / "model"), "--wyoming-port", "0", tts_engine="espeak") as started:
        yield started


@pytest.fixture(scope="module")
def port(server: Server) -> int:
    found = re.search(r"by Wyoming at 127\.0\.0\.1, port (\d+)", server.log.read_text())
    assert found
    return int(found[1])


class Home:
    """A connection, and what it brought."""

    def __init__(self, client: AsyncTcpClient) -> None:
        self.client = client

    async def say(self, *messages: Any) -> None:
        for message in messages:
            await self.client.write_event(message.event())

    async def until(self, kind: Any) -> list[Event]:
        """Events up to the first of this kind."""
        events: list[Event] = []
        async with asyncio.timeout(SECONDS):
            while not events or not kind.is_type(events[-1].type):
                event = await self.client.read_event()
                assert event is not None, f"The connection ended after {[each.type for each in events]}"
                events.append(event)
        return events

    async def speak(self, audio: bytes, *, rate: int = 16_000, channels: int = 1) -> None:
        facts = {"rate": rate, "width": 2, "channels": channels}
        await self.say(AudioStart(**facts))
        for start in range(0, len(audio), PIECE):
            await self.say(AudioChunk(audio=audio[start : start + PIECE], **facts))
        await self.say(AudioStop())


@asynccontextmanager
async def home(port: int) -> AsyncIterator[Home]:
    async with AsyncTcpClient("127.0.0.1", port) as client:
        yield Home(client)


async def test_it_says_what_it_can_do(port: int) -> None:
    async with home(port) as connection:
        await connection.say(Describe())
        info = Info.from_event((await connection.until(Info))[-1])
        (hears,), (speaks,) = info.asr, info.tts
        assert hears.supports_transcript_streaming and speaks.supports_synthesize_streaming
        assert "ja" in hears.models[0].languages
        assert any("en" in language for voice in speaks.voices for language in voice.languages)
        await connection.say(Ping(text="there?"))
        assert Pong.from_event((await connection.until(Pong))[-1]).text == "there?"


async def test_speech_becomes_text_again_and_again(port: int) -> None:
    speech = read(MINI / "samples" / "en_01.wav")
    async with home(port) as connection:
        for _ in range(2):
            await connection.say(Transcribe(language="en-US"))
            await connection.speak(speech)
            events = await connection.until(TranscriptStop)
            assert TranscriptStart.is_type(events[0].type)
            (whole,) = [Transcript.from_event(event) for event in events if Transcript.is_type(event.type)]
            assert (whole.text, whole.language) == (HEARD, "en")
            chunks = [TranscriptChunk.from_event(event).text for event in events if TranscriptChunk.is_type(event.type)]
            assert "".join(chunks) == HEARD


async def test_two_channels_an_unknown_model_and_silence(port: int) -> None:
    speech = read(MINI / "samples" / "en_01.wav")
    both = b"".join(speech[at : at + 2] * 2 for at in range(0, len(speech), 2))
    async with home(port) as connection:
        await connection.say(Transcribe(name="what the pipeline had before", language="en"))
        await connection.speak(both, channels=2)
        assert Transcript.from_event((await connection.until(Transcript))[-1]).text == HEARD
        await connection.speak(bytes(32_000))
        assert Transcript.from_event((await connection.until(Transcript))[-1]).text == ""
        await connection.say(AudioStart(rate=16_000, width=2, channels=1), AudioStop())
        assert Transcript.from_event((await connection.until(Transcript))[-1]).text == ""


def test_the_program_of_the_documentation_is_understood(port: int, tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    shutil.copy(MINI / "samples" / "en_01.wav", tmp_path / "command.wav")
    command = [sys.executable, "-c", program.replace("10300", str(port))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=2 * SECONDS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [HEARD]


def sound(events: list[Event]) -> bytes:
    """Begins once and ends once."""
    kinds = [event.type for event in events if event.type.startswith("audio-")]
    assert (kinds[0], kinds[-1]) == ("audio-start", "audio-stop")
    assert set(kinds[1:-1]) == {"audio-chunk"}
    return b"".join(event.payload or b"" for event in events)


async def test_text_becomes_speech_at_once_or_as_it_is_written(port: int) -> None:
    async with home(port) as connection:
        await connection.say(Synthesize(text="Good morning. How are you?", voice=SynthesizeVoice(language="en")))
        whole = sound(await connection.until(AudioStop))
        assert len(whole) > 20_000
        await connection.say(SynthesizeStart(), SynthesizeChunk(text="Good mor"), SynthesizeChunk(text="ning. How are"))
        first = await connection.until(AudioChunk)
        assert AudioStart.is_type(first[0].type), "the first sentence is heard before the second is written"
        whole_text = Synthesize(text="Good morning. How are you?")
        await connection.say(SynthesizeChunk(text=" you?"), whole_text, SynthesizeStop())
        pieces = sound([*first, *(await connection.until(SynthesizeStopped))])
        assert len(pieces) > 20_000
        await connection.say(Synthesize(text="…"))
        assert sound_or_none(await connection.until(AudioStop)) == b""


def sound_or_none(events: list[Event]) -> bytes:
    return b"".join(event.payload or b"" for event in events)


@pytest.mark.parametrize(
    "wrong",
    [
        Transcribe(language="klingon-on-and-on").event(),
        Event(type="audio-chunk", data={"rate": 16_000, "width": 7, "channels": 1}, payload=b"12345678"),
        Event(type="audio-chunk", data={"rate": 5, "width": 2, "channels": 1}, payload=b"12"),
        Event(type="audio-chunk", data={"rate": "x"}, payload=b"12"),
        Event(type="audio-chunk", data={"rate": "x", "width": 2, "channels": 1}, payload=b"12"),
        Event(type="audio-chunk", data={"rate": 16_000, "width": [], "channels": 1}, payload=b"12"),
        Event(type="synthesize", data={}),
        Event(type="synthesize", data={"text": 5}),
        Event(type="synthesize", data={"text": "Hello.", "voice": {"name": ["x"]}}),
        Event(type="synthesize", data={"text": "Hello.", "voice": 5}),
        Synthesize(text="Hello.", voice=SynthesizeVoice(name="nobody at all")).event(),
    ],
    ids=lambda event: f"{event.type}-{event.data}",
)
async def test_what_is_wrong_is_told_and_the_connection_goes_on(port: int, wrong: Event) -> None:
    async with home(port) as connection:
        if wrong.type != "synthesize":
            await connection.client.write_event(wrong if wrong.type == "transcribe" else Transcribe().event())
            await connection.say(AudioStart(rate=16_000, width=2, channels=1))
        if wrong.type != "transcribe":
            await connection.client.write_event(wrong)
        assert Error.from_event((await connection.until(Error))[-1]).text
        await connection.say(Ping())
        await connection.until(Pong)


@pytest.mark.parametrize(
    "head",
    [
        b"no json\n",
        b"[]\n",
        b'{"data": {}}\n',
        json.dumps({"type": "audio-chunk", "payload_length": 10**12}).encode() + b"\n",
        json.dumps({"type": "audio-chunk", "data_length": -1}).encode() + b"\n",
        b"x" * 100_000,
    ],
    ids=["text", "list", "type", "payload", "data", "line"],
)
async def test_what_is_no_event_ends_the_connection_with_a_word(port: int, head: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(SECONDS):
        writer.write(head)
        answer = await reader.read()
    assert b'"error"' in answer
    writer.close()
    async with home(port) as connection:
        await connection.say(Ping())
        await connection.until(Pong)


async def test_who_vanishes_leaves_no_session(server: Server, port: int) -> None:
    for _ in range(3):
        async with home(port) as connection:
            await connection.say(Transcribe(language="en"), AudioStart(rate=16_000, width=2, channels=1))
            await connection.say(AudioChunk(rate=16_000, width=2, channels=1, audio=bytes(32_000)))
            await connection.say(Ping())
            await connection.until(Pong)
    await until(lambda: not server.metric("kikitori_live_sessions"), seconds=SECONDS)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'{"type": "audio-chunk", "payload_length": 100}\n1234')
    writer.write_eof()
    async with asyncio.timeout(SECONDS):
        await reader.read()  # until the server closes its side
    writer.close()
    await until(lambda: not server.metric("kikitori_live_sessions"), seconds=SECONDS)
    async with home(port) as connection:
        await connection.say(Ping())
        await connection.until(Pong)


def test_a_port_that_is_taken_stops_the_start(server: Server, port: int, tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="cannot be used for Wyoming"):
        with running_server(tmp_path / "data", "--model", "pocketsphinx", "--wyoming-port", str(port)):
            pytest.fail("It started.")
