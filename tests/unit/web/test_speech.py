from pathlib import Path

import pytest

from .conftest import Start

URL = "/v1/audio/speech-segments"


@pytest.fixture
def hello(hello_wav: Path) -> bytes:
    return hello_wav.read_bytes()


async def test_speech_is_found_in_seconds(start: Start, hello: bytes) -> None:
    async with start() as app:
        answer = await app.client.post(URL, files={"file": hello})
        assert answer.status_code == 200
        assert app.leftovers() == []
    found = answer.json()
    assert 1.0 < found["duration"] < 3.0
    (segment,) = found["segments"]
    assert 0 <= segment["start"] < segment["end"] <= found["duration"]


async def test_the_options_count(start: Start, hello: bytes) -> None:
    async with start() as app:
        answer = await app.client.post(
            URL,
            files={"file": hello},
            data={"threshold": "0.5", "min_speech_duration_ms": "60000", "speech_pad_ms": "0", "treshold": "1"},
        )
    assert answer.json()["segments"] == []
    assert answer.headers["x-kikitori-ignored-fields"] == "treshold"


async def test_a_wrong_option_is_named_as_it_was_sent(start: Start) -> None:
    async with start() as app:
        answer = await app.client.post(URL, files={"file": b"RIFF"}, data={"threshold": "2"})
        assert app.leftovers() == []
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "threshold"


@pytest.mark.parametrize("content", [b"no audio at all", b"", b"RIFF"])
async def test_what_is_no_audio(start: Start, content: bytes) -> None:
    async with start() as app:
        answer = await app.client.post(URL, files={"file": ("a.wav", content)})
        assert app.leftovers() == []
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "file"
