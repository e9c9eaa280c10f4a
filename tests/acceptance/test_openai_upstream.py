"""One server of ours behind another: what the first cannot do itself, it forwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.acceptance.test_live_socket import END, read, say, socket, tell
from tests.conftest import MINI
from tests.servers import Server, running_server

HEARD = "The doctor goes to the bank on Friday."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Has no model of its own but ``openai:mini``, and one whose endpoint is not there."""
    folder = tmp_path_factory.mktemp("forwarding")
    aliases = f'{{"mini": "{MINI / "model"}"}}'
    with running_server(folder / "upstream", model_aliases=aliases, model="mini") as upstream:
        settings = {
            "openai_base_url": f"{upstream.url}/v1",
            "openai_models": "mini,nobody",
            "model_aliases": '{"live": "openai_realtime:mini", "lost": "openai_realtime:nobody"}',
        }
        with running_server(folder / "data", model="openai:mini", **settings) as server:
            yield server


def test_a_recording_comes_back_with_segments_and_words(server: Server) -> None:
    form = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    with (MINI / "samples" / "en_01.wav").open("rb") as file:
        url = f"{server.url}/v1/audio/transcriptions"
        answer = httpx.post(url, files={"file": file}, data=form, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-kikitori-model"] == "openai:mini"
    assert answer.headers["x-kikitori-engine"] == "openai"
    assert answer.json()["text"] == HEARD
    assert answer.json()["language"] == "english"
    words = answer.json()["words"]
    assert [word["word"].strip(" .") for word in words] == HEARD.strip(".").split()
    assert all(0 <= word["start"] <= word["end"] <= 4 for word in words)


def test_a_recording_is_translated_there(server: Server) -> None:
    with (MINI / "samples" / "ja_01.wav").open("rb") as file:
        url = f"{server.url}/v1/audio/translations"
        answer = httpx.post(url, files={"file": file}, data={"language": "ja"}, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"].isascii()
    assert answer.json()["text"]


def test_models_are_listed_and_errors_are_ours(server: Server) -> None:
    models = {model["id"]: model for model in httpx.get(f"{server.url}/v1/models").json()["data"]}
    assert models["openai:nobody"]["owned_by"] == "openai"
    with (MINI / "samples" / "en_01.wav").open("rb") as file:
        url = f"{server.url}/v1/audio/transcriptions"
        answer = httpx.post(url, files={"file": file}, data={"model": "openai:nobody"}, timeout=120)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "remote_unavailable"
    assert httpx.post(url, files={"file": b"RIFF"}, data={"model": "openai:other"}).status_code == 404


async def test_utterances_are_forwarded_one_by_one(server: Server) -> None:
    speech = read(MINI / "samples" / "en_01.wav") + bytes(32_000)
    messages = await spoken(server, speech + speech)
    assert of(messages, "final") == [HEARD, HEARD]
    assert of(messages, "interim") == [], "each would be a request"


async def test_live_speech_is_forwarded_while_it_is_spoken(server: Server) -> None:
    speech = read(MINI / "samples" / "en_01.wav") + bytes(32_000)
    messages = await spoken(server, speech + speech, model="live", pace=0.01)
    assert of(messages, "final") == [HEARD, HEARD]
    long = read(MINI / "samples" / "en_multi_40s.wav")[: 12 * 32_000]
    messages = await spoken(server, long, model="live", pace=0.04, endpoint_ms=3000)
    [final] = of(messages, "final")
    shown = of(messages, "interim")
    assert shown
    assert all(final.startswith(text[:20]) for text in shown)


async def test_an_utterance_that_cannot_be_forwarded_is_an_error_and_the_session_goes_on(server: Server) -> None:
    speech = read(MINI / "samples" / "en_01.wav") + bytes(32_000)
    messages = await spoken(server, speech, model="lost")
    assert [message["code"] for message in messages if message["type"] == "error"] == ["remote_unavailable"]
    assert messages[-1]["type"] == "ended"


async def spoken(server: Server, speech: bytes, *, pace: float = 0.0, **start: Any) -> list[dict[str, Any]]:
    """All that a round says."""
    messages: list[dict[str, Any]] = []
    async with asyncio.timeout(120), socket(server) as opened:
        await tell(opened, {"type": "start", "lang": "en-US", **start})
        await say(opened, speech, pace=pace)
        await tell(opened, END)
        async for frame in opened:
            messages.append(json.loads(frame))
            if messages[-1]["type"] == "ended":
                break
    return messages


def of(messages: list[dict[str, Any]], kind: str) -> list[str]:
    return [message["text"] for message in messages if message["type"] == kind]
