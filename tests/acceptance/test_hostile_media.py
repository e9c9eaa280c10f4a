"""Recordings that break servers: each gets a clear answer, and the next request works."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import av
import httpx
import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.conftest import Sample
    from tests.servers import Server

RATE = 16_000


def wav(samples: Any, *, rate: int = RATE) -> bytes:
    """``samples`` of shape (n, channels), int16."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def silence(seconds: float, *, channels: int = 1, rate: int = RATE) -> bytes:
    return wav(np.zeros((round(seconds * rate), channels)), rate=rate)


def mp4(*, sound: bool) -> bytes:
    """Two seconds of a grey picture, with or without a sound track; the index is at the end."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        audio = container.add_stream("aac", rate=RATE) if sound else None
        for number in range(20):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, dtype=np.uint8), format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * RATE), dtype=np.float32), format="fltp", layout="mono")
            frame.sample_rate = RATE
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return buffer.getvalue()


def long_silence(hours: float) -> bytes:
    """Hours of silence in a few kilobytes."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 60 * RATE), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = RATE
        for minute in range(round(hours * 60)):
            frame.pts = minute * 60 * RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


REFUSED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "a text named .wav": lambda: b"Dear diary, today I spoke to nobody. " * 40,
    "a wav header alone": lambda: silence(1)[:44],
    "a video without sound": lambda: mp4(sound=False),
    "an mp4 without its end": lambda: mp4(sound=True)[:-2_000],
    "random bytes": lambda: np.random.default_rng(7).bytes(50_000),
}
EMPTY: dict[str, Callable[[], bytes]] = {
    "ten milliseconds": lambda: silence(0.01),
    "one sample": lambda: wav(np.zeros((1, 1))),
    "five seconds of silence": lambda: silence(5),
    "two hours of silence": lambda: long_silence(2),
    "7.1 channels": lambda: silence(1, channels=8),
    "8 kHz": lambda: silence(1, rate=8_000),
    "an odd rate": lambda: silence(1, rate=7_999),
    "96 kHz": lambda: silence(1, rate=96_000),
    "a video with a silent track": lambda: mp4(sound=True),
}


def post(server: Server, content: bytes, **fields: str) -> httpx.Response:
    files = {"file": ("recording.wav", content)}
    return httpx.post(f"{server.url}/v1/audio/transcriptions", files=files, data=fields, timeout=120)


@pytest.fixture(autouse=True)
def _the_next_request_works(server: Server, samples: Mapping[str, Sample]) -> Any:
    yield
    sample = samples["en_01"]
    assert post(server, sample.path.read_bytes(), language="en").json()["text"] == sample.text


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_heard_is_refused(server: Server, name: str) -> None:
    answer = post(server, REFUSED[name]())
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "file"
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) > 20


@pytest.mark.parametrize("name", EMPTY)
def test_where_nobody_speaks_the_text_is_empty(server: Server, name: str) -> None:
    answer = post(server, EMPTY[name]())
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == ""


@pytest.mark.parametrize("mode", ["windowed", "sequential"])
@pytest.mark.parametrize("form", ["json", "verbose_json", "srt", "vtt", "text", "full_json", "tsv", "lrc", "ass"])
def test_silence_in_every_format(server: Server, mode: str, form: str) -> None:
    answer = post(server, silence(2), mode=mode, response_format=form, vad_filter="true")
    assert answer.status_code == 200, answer.text


def test_nothing_is_left_behind(server: Server) -> None:
    post(server, REFUSED["random bytes"]())
    post(server, silence(1))
    assert list((server.data_dir / "tmp").iterdir()) == []
