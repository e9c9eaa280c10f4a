"""Text to speech over HTTP: what is asked, what is refused, what is let go."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.unit.idle import idle_parts
from tests.unit.web.conftest import FakeCatalog, FakePool, NoKeys

from kikitori.audio.decode import decode
from kikitori.audio.encode import MEDIA_TYPES, SpeechFormat
from kikitori.errors import InvalidOption, SpeechFailed
from kikitori.metrics import Metrics
from kikitori.services.parts import Services
from kikitori.settings import Settings
from kikitori.testing import FakeSpeaker, FakeTranscriber, Hold
from kikitori.tts.desk import SpeechDesk
from kikitori.tts.plan import SpeechPlan
from kikitori.web.app import create_app

ASKED: Mapping[str, Any] = {"model": "tts-1", "voice": "alloy", "input": "Hello, world."}
SECONDS = 13 * 0.05
"""Of the fake's ``ASKED``."""


@asynccontextmanager
async def client_of(
    folder: Path, speaker: FakeSpeaker | None, **settings: Any
) -> AsyncGenerator[httpx.AsyncClient, None]:
    if speaker is None:
        desk = SpeechDesk(SpeechPlan(engine="none"))
    else:
        desk = SpeechDesk(SpeechPlan(engine="espeak"), open_engine=lambda plan: speaker)
    services = Services(
        settings=Settings(data_dir=folder, **settings),
        metrics=Metrics(),
        keys=NoKeys(),
        catalog=FakeCatalog(),
        pool=FakePool(),
        transcriber=FakeTranscriber([]),
        speech=desk,
        **idle_parts(folder),
    )
    transport = httpx.ASGITransport(app=create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def ask(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await client.post("/v1/audio/speech", json={**ASKED, **more})


@pytest.mark.parametrize("format", SpeechFormat)
async def test_every_format_has_its_type_and_its_length(tmp_path: Path, format: SpeechFormat) -> None:
    async with client_of(tmp_path, FakeSpeaker()) as client:
        answer = await ask(client, response_format=format.value)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == MEDIA_TYPES[format]
    assert answer.headers["x-kikitori-engine"] == "fake"
    if format is SpeechFormat.PCM:
        seconds = len(answer.content) / 2 / 24_000
    else:
        seconds = np.concatenate([*decode(io.BytesIO(answer.content))], axis=1).shape[1] / 16_000
    assert seconds == pytest.approx(SECONDS, abs=0.1)


async def test_wishes_reach_the_engine(tmp_path: Path) -> None:
    speaker = FakeSpeaker()
    async with client_of(tmp_path, speaker) as client:
        wishes = {"voice": {"id": "de"}, "speed": 2, "instructions": "Softly.", "language": "de"}
        assert (await ask(client, model="gpt-4o-mini-tts", **wishes)).status_code == 200
    (speech,) = speaker.spoken
    assert (speech.text, speech.voice, speech.speed, speech.language) == ("Hello, world.", "de", 2.0, "de")
    assert speech.instructions == "Softly."


async def test_events_are_the_file_in_parts_and_its_usage(tmp_path: Path) -> None:
    async with client_of(tmp_path, FakeSpeaker()) as client:
        answer = await ask(client, stream_format="sse", response_format="pcm")
        whole = (await ask(client, response_format="pcm")).content
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(event["audio"]) for event in deltas) == whole
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": " \n"}, "input"),
        ({"input": "x" * 4_097}, "input"),
        ({"input": None}, "input"),
        ({"voice": 3}, "voice"),
        ({"voice": {"name": "x"}}, "voice"),
        ({"speed": 0.2}, "speed"),
        ({"speed": 4.1}, "speed"),
        ({"response_format": "ogg"}, "response_format"),
        ({"stream_format": "ws"}, "stream_format"),
        ({"instructions": "x" * 4_097}, "instructions"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_named(tmp_path: Path, wrong: dict[str, Any], param: str) -> None:
    speaker = FakeSpeaker()
    async with client_of(tmp_path, speaker) as client:
        answer = await ask(client, **wrong)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert speaker.spoken == []


async def test_the_longest_text_is_taken(tmp_path: Path) -> None:
    async with client_of(tmp_path, FakeSpeaker(seconds=0.001)) as client:
        assert (await ask(client, input="語" * 4_096)).status_code == 200


async def test_a_model_that_does_not_speak(tmp_path: Path) -> None:
    async with client_of(tmp_path, FakeSpeaker()) as client:
        answer = await ask(client, model="whisper-1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_what_fails_before_the_first_sound_is_a_status(tmp_path: Path, stream_format: str) -> None:
    def fails(text: str) -> Exception:
        return InvalidOption("voice", "x", "alloy")

    async with client_of(tmp_path, FakeSpeaker(fails=fails)) as client:
        answer = await ask(client, stream_format=stream_format)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "voice")


async def test_where_nothing_speaks_it_says_what_to_set_up(tmp_path: Path) -> None:
    async with client_of(tmp_path, None) as client:
        answer = await ask(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "tts_unavailable")
    assert "KIKITORI_TTS_URL" in answer.json()["error"]["message"]


class BreaksOff(FakeSpeaker):
    """Says a little, and then nothing any more."""

    async def speak(self, text: str, **asked: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(super().speak(text, **asked)) as sounds:
            yield await anext(sounds)
        raise SpeechFailed("It broke.")


async def test_events_that_break_off_say_so(tmp_path: Path) -> None:
    async with client_of(tmp_path, BreaksOff()) as client:
        answer = await ask(client, stream_format="sse")
    last = json.loads(answer.text.splitlines()[-2].removeprefix("data: "))
    assert last["error"]["code"] == "tts_unavailable"


async def test_a_caller_has_so_many_places(tmp_path: Path) -> None:
    hold = Hold()
    async with client_of(tmp_path, FakeSpeaker(hold=hold), key_concurrency=1) as client:
        first = asyncio.create_task(ask(client))
        await hold.reached.wait()
        assert (await ask(client)).status_code == 429
        hold.release.set()
        assert (await first).status_code == 200
        assert (await ask(client)).status_code == 200
