"""The sound of recordings and what is in them, over HTTP: in process, and on real sockets."""

from __future__ import annotations

import asyncio
import io
import logging
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import numpy as np
import pytest

from kikitori.audio.inspect import inspect
from kikitori.errors import ForbiddenAddress, LinkFailed
from kikitori.media.sites import Entry, Fetched, Playlist
from kikitori.services.parts import Services
from kikitori.testing import until

from .conftest import Running, Start
from .test_server import serving

MakeServices: TypeAlias = Callable[..., Services]
RATE = 16_000


def wav(seconds: float, *, channels: int = 1, rate: int = RATE) -> bytes:
    """A tone."""
    times = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * 440 * times) * 8_000
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(tone[:, None], channels, axis=1).astype("<i2").tobytes())
    return buffer.getvalue()


RECORDING = wav(2.0, channels=2)


class FakeFetcher:
    """Every link leads to the same file, or to what a test gives instead."""

    def __init__(self, source: Path, *, instead: Playlist | Exception | None = None) -> None:
        self.source, self.instead = source, instead
        self.asked: list[str] = []

    async def fetch(self, text: str, folder: Path) -> Fetched | Playlist:
        self.asked.append(text)
        if isinstance(self.instead, Exception):
            raise self.instead
        if self.instead is not None:
            return self.instead
        path = folder / "fetch-1"
        await asyncio.to_thread(_copy, self.source, path)
        return Fetched(path=path, size_bytes=path.stat().st_size, file_name="talk.wav", details={})


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


@pytest.fixture
def link(tmp_path: Path) -> FakeFetcher:
    source = tmp_path / "source"
    source.write_bytes(RECORDING)
    return FakeFetcher(source)


async def extract(app: Running, content: bytes = RECORDING, name: str = "talk.mp4", **fields: str) -> httpx.Response:
    return await app.client.post("/api/media/audio", files={"file": (name, content)}, data=fields)


async def probe(app: Running, content: bytes = RECORDING, name: str = "talk.mp4", **fields: str) -> httpx.Response:
    return await app.client.post("/api/media/probe", files={"file": (name, content)}, data=fields)


# The sound


@pytest.mark.parametrize(
    ("output", "kind", "container"),
    [
        ("wav", "audio/wav", "wav"),
        ("flac", "audio/flac", "flac"),
        ("mp3", "audio/mpeg", "mp3"),
        ("ogg", "audio/ogg", "ogg"),
        ("opus", "audio/ogg", "ogg"),
        ("m4a", "audio/mp4", "mov,mp4,m4a,3gp,3g2,mj2"),
    ],
)
async def test_the_sound_comes_as_a_file_to_download(start: Start, output: str, kind: str, container: str) -> None:
    async with start() as app:
        answer = await extract(app, output_format=output, channels="1", sample_rate="48000", start="0.5")
        assert app.leftovers() == []
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-disposition"] == f'attachment; filename="talk.{output}"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["cache-control"] == "no-store"
    assert "x-kikitori-ignored-fields" not in answer.headers
    facts = inspect(io.BytesIO(answer.content))
    assert (facts.container, facts.streams[0].channels, facts.streams[0].sample_rate) == (container, 1, 48_000)
    assert facts.duration == pytest.approx(1.5, abs=0.02)


async def test_without_options_it_is_a_wav_as_the_recording_is(start: Start) -> None:
    async with start() as app:
        answer = await extract(app)
    with wave.open(io.BytesIO(answer.content)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, RATE, 2)
        assert file.getnframes() == 2 * RATE


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("会議.m4a", "attachment; filename*=utf-8''%E4%BC%9A%E8%AD%B0.wav"),
        ("../../etc/passwd", 'attachment; filename="passwd.wav"'),
        ("a;b=c.mp3", "attachment; filename*=utf-8''a%3Bb%3Dc.wav"),
        (".mp3", 'attachment; filename="mp3.wav"'),
    ],
)
async def test_names_are_harmless(start: Start, name: str, disposition: str) -> None:
    async with start() as app:
        answer = await extract(app, name=name)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == disposition


async def test_what_is_ignored_is_told(start: Start) -> None:
    async with start() as app:
        assert (await extract(app, bitrate="128k")).headers["x-kikitori-ignored-fields"] == "bitrate"
        assert (await probe(app, sample_rate="8000")).headers["x-kikitori-ignored-fields"] == "sample_rate"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"output_format": "aiff"}, "output_format"),
        ({"sample_rate": "4000"}, "sample_rate"),
        ({"sample_rate": "44100", "output_format": "opus"}, "sample_rate"),
        ({"bit_depth": "20"}, "bit_depth"),
        ({"bit_depth": "16", "output_format": "mp3"}, "bit_depth"),
        ({"channels": "3"}, "channels"),
        ({"start": "x"}, "start"),
        ({"start": "2.5"}, "start"),
        ({"start": "2", "end": "1"}, "end"),
    ],
)
async def test_a_wrong_value_is_a_400_that_names_it(start: Start, fields: dict[str, str], param: str) -> None:
    async with start() as app:
        answer = await extract(app, RECORDING, "talk.mp4", **fields)
        assert app.leftovers() == []
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, "invalid_value")
    assert fields[param] in error["message"] and ("Allowed: " in error["message"])


@pytest.mark.parametrize("content", [b"", b"no media " * 50, RECORDING[:44], np.random.default_rng(7).bytes(50_000)])
async def test_what_cannot_be_heard_is_refused(start: Start, content: bytes) -> None:
    async with start() as app:
        for answer in (await extract(app, content), await probe(app, content)):
            if answer.status_code == 200:
                assert answer.request.url.path.endswith("probe")
                continue
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == "file"
        assert app.leftovers() == []


async def test_a_recording_over_a_limit_is_refused(start: Start) -> None:
    async with start(max_audio_seconds=1.5) as app:
        answer = await extract(app)
        assert (answer.status_code, answer.json()["error"]["param"]) == (413, "file")
        assert (await extract(app, end="1")).status_code == 200
    async with start(max_upload_bytes=len(RECORDING)) as app:
        answer = await extract(app, bit_depth="32")
        assert (answer.status_code, answer.json()["error"]["param"]) == (413, "output_format")
        assert app.leftovers() == []


# What is in it


async def test_a_probe(start: Start) -> None:
    async with start() as app:
        answer = await probe(app)
        assert app.leftovers() == []
    assert answer.json() == {
        "container": "wav",
        "duration": 2.0,
        "bit_rate": answer.json()["bit_rate"],
        "size_bytes": len(RECORDING),
        "file_name": "talk.mp4",
        "tags": {},
        "streams": [
            {
                "index": 0,
                "type": "audio",
                "codec": "pcm_s16le",
                "duration": 2.0,
                "bit_rate": 512_000,
                "default": False,
                "sample_rate": RATE,
                "channels": 2,
                "tags": {},
            }
        ],
    }


# Links


@pytest.mark.parametrize("path", ["/api/media/audio", "/api/media/probe"])
@pytest.mark.parametrize("kind", ["json", "data", "files"])
async def test_a_link_instead_of_a_file(start: Start, link: FakeFetcher, path: str, kind: str) -> None:
    values: Any = {"url": "https://example.com/talk"}
    if kind == "files":
        values = {"url": (None, "https://example.com/talk")}
    async with start(parts={"fetcher": link}) as app:
        answer = await app.client.post(path, **{kind: values})
        assert app.leftovers() == []
    assert answer.status_code == 200, answer.text
    assert link.asked == ["https://example.com/talk"]
    assert "x-kikitori-ignored-fields" not in answer.headers


async def test_options_in_json(start: Start, link: FakeFetcher) -> None:
    values = {"url": "https://example.com/talk", "sample_rate": 8_000, "end": 0.5, "channels": None}
    async with start(parts={"fetcher": link}) as app:
        answer = await app.client.post("/api/media/audio", json=values)
        wrong = await app.client.post("/api/media/audio", json={**values, "sample_rate": True})
        assert app.leftovers() == []
    with wave.open(io.BytesIO(answer.content)) as file:
        assert (file.getframerate(), file.getnframes()) == (8_000, 4_000)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "sample_rate")


@pytest.mark.parametrize(
    ("instead", "code"),
    [
        (LinkFailed("It is gone."), "link_failed"),
        (ForbiddenAddress("10.0.0.1"), "forbidden_address"),
        (Playlist(details={}, entries=(Entry(url="https://example.com/1"),)), "invalid_value"),
    ],
)
async def test_a_link_that_leads_to_no_recording(
    start: Start, link: FakeFetcher, instead: Playlist | Exception, code: str
) -> None:
    link.instead = instead
    async with start(parts={"fetcher": link}) as app:
        answer = await app.client.post("/api/media/audio", json={"url": "https://example.com/talk"})
    assert answer.status_code == 400
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == ("url", code)


async def test_what_a_link_leads_to_is_blamed_on_the_link(start: Start, link: FakeFetcher) -> None:
    link.source.write_bytes(b"no media")
    async with start(parts={"fetcher": link}) as app:
        for path in ("/api/media/audio", "/api/media/probe"):
            answer = await app.client.post(path, json={"url": "https://example.com/talk"})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "url")
        assert app.leftovers() == []


async def test_a_file_and_a_link_or_none_of_them(start: Start, link: FakeFetcher) -> None:
    async with start(parts={"fetcher": link}) as app:
        both = await extract(app, url="https://example.com/talk")
        neither = await app.client.post("/api/media/audio", json={})
        other = await app.client.post("/api/media/audio", content=b"RIFF", headers={"content-type": "audio/wav"})
        assert app.leftovers() == []
    assert (both.status_code, both.json()["error"]["param"]) == (400, "url")
    assert (neither.status_code, neither.json()["error"]["param"]) == (400, "file")
    assert (other.status_code, other.json()["error"]["param"]) == (400, "file")
    assert link.asked == []


async def test_a_server_that_fetches_no_links(start: Start) -> None:
    async with start() as app:
        answer = await app.client.post("/api/media/audio", json={"url": "https://example.com/talk"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_value")


# Real sockets


def leftovers(services: Services) -> list[Path]:
    folder = services.settings.data_dir / "tmp"
    return list(folder.iterdir()) if folder.exists() else []


def being_made(services: Services) -> bool:
    """Some of the audio is on disk."""
    return any(path.name.startswith("media-") and path.stat().st_size for path in leftovers(services))


async def test_a_long_file_is_sent_whole(make_services: MakeServices) -> None:
    services = make_services(key_concurrency=1)
    async with serving(services) as running, httpx.AsyncClient(base_url=running.url, timeout=60) as client:
        for _ in range(2):  # the place of the first is free again
            answer = await client.post(
                "/api/media/audio", files={"file": ("a.wav", wav(30.0))}, data={"sample_rate": "96000", "channels": "2"}
            )
            assert answer.status_code == 200
            facts = inspect(io.BytesIO(answer.content))
            assert (facts.duration, facts.streams[0].sample_rate) == (30.0, 96_000)
            assert len(answer.content) == pytest.approx(30 * 96_000 * 4, abs=200)
        await until(lambda: leftovers(services) == [])


async def test_a_client_that_leaves_during_the_download(make_services: MakeServices) -> None:
    services = make_services(key_concurrency=1)
    async with serving(services) as running, httpx.AsyncClient(base_url=running.url, timeout=60) as client:
        sent = {"file": ("a.wav", wav(60.0))}
        fields = {"sample_rate": "192000", "channels": "2"}
        async with client.stream("POST", "/api/media/audio", files=sent, data=fields) as answer:
            assert int(answer.headers["content-length"]) > 40_000_000
            await anext(answer.aiter_raw())
            assert leftovers(services)
        await until(lambda: leftovers(services) == [])
        await until(lambda: not running.server.server_state.tasks)
        assert (await client.post("/api/media/probe", files=sent)).status_code == 200


async def test_a_client_that_leaves_while_the_file_is_made(
    make_services: MakeServices, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    services = make_services(key_concurrency=1)
    async with serving(services) as running, httpx.AsyncClient(base_url=running.url, timeout=60) as client:
        fields = {"output_format": "mp3", "sample_rate": "48000", "channels": "2"}
        files = {"file": ("a.wav", wav(600.0))}
        asking = asyncio.create_task(client.post("/api/media/audio", files=files, data=fields))
        await until(lambda: being_made(services))
        asking.cancel()
        await until(lambda: leftovers(services) == [])
    actions = [vars(record).get("action") for record in caplog.records]
    assert "client_gone" in actions and "audio_extracted" not in actions
