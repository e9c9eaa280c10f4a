"""Live sessions and recordings of a real server on Google's service, which a server of the tests stands in for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from tests.acceptance.test_live_socket import END, read, say, socket, tell
from tests.conftest import MINI
from tests.google_server import Fault, GoogleServer, google_server
from tests.servers import Server, running_server

SAID = "what Google heard"


@pytest.fixture(scope="module")
def google() -> Iterator[GoogleServer]:
    with google_server(says=SAID) as google:
        yield google


@pytest.fixture(scope="module")
def server(google: GoogleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"google_project": "p", "google_models": "long", "google_endpoint": google.endpoint}
    with running_server(tmp_path_factory.mktemp("google") / "data", model="google:long", **settings) as server:
        yield server


async def spoken(server: Server, *, until: str = "", **start: Any) -> list[dict[str, Any]]:
    """What is said of a sentence. With ``until``, its second half waits for a message of that type."""
    messages: list[dict[str, Any]] = []
    speech = read(MINI / "samples" / "en_01.wav")
    half = len(speech) // 4 * 2
    async with asyncio.timeout(120), socket(server) as opened:
        await tell(opened, {"type": "start", "lang": "en-US", **start})
        await say(opened, speech[:half])
        while until and until not in [message["type"] for message in messages]:
            messages.append(json.loads(await opened.recv()))
        await say(opened, speech[half:] + bytes(32_000))
        await tell(opened, END)
        async for frame in opened:
            messages.append(json.loads(frame))
            if messages[-1]["type"] == "ended":
                break
    return messages


async def test_live_speech_has_interims_and_finals(server: Server, google: GoogleServer) -> None:
    messages = await spoken(server, until="interim", interim_seconds=0.3)
    (final,) = [message for message in messages if message["type"] == "final"]
    assert final["text"].lower().strip(".") == SAID.lower()
    assert [word["word"].strip() for word in final["words"]] == SAID.split()
    assert next(message for message in messages if message["type"] == "interim")["text"]
    recognizer, config = google.configs[-1]
    assert recognizer == "projects/p/locations/global/recognizers/_"
    assert list(config.config.language_codes) == ["en-US"]


async def test_an_utterance_that_google_refuses_is_an_error_and_the_session_goes_on(
    server: Server, google: GoogleServer
) -> None:
    google.faults = [Fault(code=grpc.StatusCode.PERMISSION_DENIED)] * 40
    messages = await spoken(server)
    errors = [message for message in messages if message["type"] == "error"]
    google.faults = []
    assert [error["code"] for error in errors] == ["remote_unavailable"]
    assert "KIKITORI_GOOGLE_CREDENTIALS" in errors[0]["message"]
    assert messages[-1]["type"] == "ended"
    assert [message["text"] for message in await spoken(server) if message["type"] == "final"]


def test_recordings_are_heard_there(server: Server) -> None:
    with (MINI / "samples" / "en_01.wav").open("rb") as file:
        url = f"{server.url}/v1/audio/transcriptions"
        form = {"language": "en", "response_format": "full_json", "word_timestamps": "true"}
        answer = httpx.post(url, files={"file": file}, data=form, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == SAID
    assert answer.json()["engine"] == "google"
    assert len(answer.json()["segments"][0]["words"]) == 3
