"""``POST /v1/listen`` on fakes: bodies, errors in Deepgram's shape, nothing left behind."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from tests.unit.web.conftest import Start

from kikitori.testing import fake_transcript, script_of
from kikitori.types import Channels


async def test_the_body_is_the_recording_and_the_query_says_how(start: Start) -> None:
    async with start(*script_of(fake_transcript(" Hello there."))) as app:
        query = {"model": "nova-3", "multichannel": "true", "language": "ja", "utterances": "true"}
        answer = await app.client.post("/v1/listen", content=b"RIFF and more", params=query)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["results"]["channels"][0]["alternatives"][0]["transcript"] == "Hello there."
        assert told["results"]["utterances"][0]["words"][0]["punctuated_word"] == "Hello"
        assert told["metadata"]["sha256"] == hashlib.sha256(b"RIFF and more").hexdigest()
        assert told["metadata"]["request_id"] == answer.headers["dg-request-id"]
        (call,) = app.transcriber.calls
        assert call.content == b"RIFF and more"
        assert (call.model, call.options.language, call.options.channels) == ("", "ja", Channels.SPLIT)
        assert call.options.word_timestamps
        assert app.leftovers() == []


async def test_samples_get_a_head(start: Start) -> None:
    async with start() as app:
        query = {"encoding": "mulaw", "sample_rate": "8000", "channels": "2"}
        answer = await app.client.post("/v1/listen", content=b"\x7f\x80", params=query)
        assert answer.status_code == 200
        (call,) = app.transcriber.calls
        assert (call.content[:4], call.content[20:24], call.content[-2:]) == (b"RIFF", b"\x07\0\x02\0", b"\x7f\x80")


@pytest.mark.parametrize(
    ("request_", "status", "code", "about"),
    [
        ({"content": b""}, 400, "invalid_value", "body is empty"),
        ({"content": b"x" * 3_000}, 413, "too_large", "bytes"),
        ({"content": b"RIFF", "params": {"diarize": "true"}}, 400, "unsupported_value", "diarize"),
        ({"content": b"RIFF", "params": {"encoding": "linear16"}}, 400, "invalid_value", "sample_rate"),
        ({"content": b"RIFF", "params": {"language": "?"}}, 400, "invalid_value", "language"),
        ({"json": {}}, 400, "invalid_value", "no recording"),
        ({"json": {"url": "https://example.org/a.wav"}}, 400, "unsupported_value", "no links"),
        ({"json": [1]}, 400, "invalid_value", "no object"),
    ],
)
async def test_what_is_wrong_is_told_as_deepgram_does(
    start: Start, request_: dict[str, Any], status: int, code: str, about: str
) -> None:
    async with start(max_upload_bytes=2_048) as app:
        answer = await app.client.post("/v1/listen", **request_)
        assert answer.status_code == status
        told = answer.json()
        assert set(told) == {"err_code", "err_msg", "request_id"}
        assert told["err_code"] == code
        assert about in told["err_msg"]
        assert app.leftovers() == []


async def test_forms_with_a_file_are_taken_too(start: Start) -> None:
    async with start() as app:
        answer = await app.client.post("/v1/listen", files={"file": ("a.wav", b"RIFF")})
        assert answer.status_code == 200
        assert app.transcriber.calls[0].content == b"RIFF"
        assert app.leftovers() == []
