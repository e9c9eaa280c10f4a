"""The server on real sockets: the official SDK, disconnects, draining, signals."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.audio import TranscriptionTextDoneEvent, TranscriptionVerbose

from kikitori.errors import InvalidInput, ModelNotFound, Unavailable
from kikitori.services.parts import Services
from kikitori.settings import Settings
from kikitori.testing import FakeTranscriber, Hold, fake_transcript, script_of
from kikitori.web import binding
from kikitori.web.server import Server, serve

from .conftest import TEXTS
from .forms import CONTENT_TYPE, file, form

MakeServices: TypeAlias = Callable[..., Services]
TEXT = "The birch canoe slid on the smooth planks."
SCRIPT = script_of(fake_transcript(*TEXTS))


class NotedServer(Server):
    """Says when it begins to drain."""

    def __init__(self, services: Services, *, on_ready: Callable[[], None]) -> None:
        super().__init__(services, on_ready=on_ready)
        self.draining = asyncio.Event()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.draining.set()
        await super().shutdown(sockets)


class Running:
    def __init__(self, server: NotedServer, sockets: list[socket.socket], serving: asyncio.Task[None]) -> None:
        self.server = server
        self.serving = serving
        self.port = int(sockets[0].getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        self.server.should_exit = True
        await self.serving

    def openai(self, **options: object) -> AsyncOpenAI:
        return AsyncOpenAI(api_key="any", base_url=f"{self.url}/v1", max_retries=0)


@asynccontextmanager
async def serving(services: Services) -> AsyncGenerator[Running, None]:
    """A real server in this loop, stopped at the end."""
    ready = asyncio.Event()
    sockets = binding.open_sockets("127.0.0.1", 0)
    server = NotedServer(services, on_ready=ready.set)
    task = asyncio.create_task(server.serve(sockets))
    await ready.wait()
    running = Running(server, sockets, task)
    try:
        yield running
    finally:
        await running.stop()


def fake_of(services: Services) -> FakeTranscriber:
    assert isinstance(services.transcriber, FakeTranscriber)
    return services.transcriber


# The official SDK


async def test_the_sdk_reads_every_format(make_services: MakeServices) -> None:
    async with serving(make_services()) as running, running.openai() as client:
        upload = ("a.wav", b"RIFF")
        plain = await client.audio.transcriptions.create(file=upload, model="whisper-1")
        assert plain.text == TEXT
        text = await client.audio.transcriptions.create(file=upload, model="whisper-1", response_format="text")
        assert text.strip() == TEXT
        srt = await client.audio.transcriptions.create(file=upload, model="whisper-1", response_format="srt")
        assert srt.startswith("1\n00:00:00,000 --> ")
        vtt = await client.audio.transcriptions.create(file=upload, model="whisper-1", response_format="vtt")
        assert vtt.startswith("WEBVTT\n")
        verbose = await client.audio.transcriptions.create(
            file=b"RIFF",
            model="whisper-1",
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
            temperature=0,
            language="en",
            prompt="birch",
            chunking_strategy={"type": "server_vad"},
            include=["logprobs"],
        )
        assert isinstance(verbose, TranscriptionVerbose)
        assert (verbose.language, verbose.duration) == ("english", 3.0)
        assert verbose.segments and [segment.text for segment in verbose.segments] == list(TEXTS)
        assert verbose.words == []


async def test_the_sdk_reads_the_stream(make_services: MakeServices) -> None:
    async with serving(make_services()) as running, running.openai() as client:
        stream = await client.audio.transcriptions.create(file=b"RIFF", model="whisper-1", stream=True)
        events = [event async for event in stream]
    done = events.pop()
    assert isinstance(done, TranscriptionTextDoneEvent)
    TranscriptionTextDoneEvent.model_validate(done.model_dump())
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == done.text == TEXT


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_the_sdk_translates(make_services: MakeServices) -> None:
    async with serving(make_services()) as running, running.openai() as client:
        assert (await client.audio.translations.create(file=b"RIFF", model="whisper-1")).text == TEXT


async def test_the_sdk_lists_models(make_services: MakeServices) -> None:
    async with serving(make_services()) as running, running.openai() as client:
        assert [model.id async for model in client.models.list()] == ["fake", "hub/fine-tuned"]
        assert (await client.models.retrieve("hub/fine-tuned")).id == "hub/fine-tuned"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nope")


async def test_the_sdk_raises_the_right_errors(make_services: MakeServices) -> None:
    async with serving(make_services(ModelNotFound("nope"))) as running, running.openai() as client:
        with pytest.raises(openai.NotFoundError) as missing:
            await client.audio.transcriptions.create(file=b"RIFF", model="nope")
        assert missing.value.code == "model_not_found"
        assert missing.value.request_id
        with pytest.raises(openai.BadRequestError) as empty:
            await client.audio.transcriptions.create(file=("a.wav", b""), model="whisper-1")
        assert empty.value.param == "file"


async def test_the_sdk_learns_that_its_file_is_too_large(make_services: MakeServices) -> None:
    """The answer comes while the SDK still sends; the connection must not be reset before it was read."""
    async with serving(make_services(max_upload_bytes=100_000)) as running, running.openai() as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.audio.transcriptions.create(file=b"x" * 20_000_000, model="whisper-1")
    assert (caught.value.status_code, caught.value.param) == (413, "file")


async def test_a_broken_stream_raises_in_the_sdk(make_services: MakeServices) -> None:
    async with serving(make_services(*SCRIPT[:3], Unavailable("Gone."))) as running, running.openai() as client:
        stream = await client.audio.transcriptions.create(file=b"RIFF", model="whisper-1", stream=True)
        with pytest.raises(openai.APIError, match="Gone"):
            async for _ in stream:
                pass


async def test_closing_the_stream_frees_the_engine(make_services: MakeServices) -> None:
    services = make_services(*SCRIPT[:3], Hold(), *SCRIPT[3:])
    async with serving(services) as running, running.openai() as client:
        stream = await client.audio.transcriptions.create(file=b"RIFF", model="whisper-1", stream=True)
        async for _ in stream:
            break
        await stream.close()
        (call,) = fake_of(services).calls
        await call.closed.wait()
        assert not call.finished


# Connections


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_hanging_up_stops_decoding(make_services: MakeServices, stream: str) -> None:
    hold = Hold()
    services = make_services(hold, *SCRIPT)
    async with serving(services) as running:
        async with httpx.AsyncClient(base_url=running.url) as client:
            request = asyncio.create_task(
                client.post("/v1/audio/transcriptions", files={"file": b"RIFF"}, data={"stream": stream})
            )
            await hold.reached.wait()
            request.cancel()
            await asyncio.wait([request])
        await fake_of(services).calls[0].closed.wait()
    assert [*(services.settings.data_dir / "tmp").iterdir()] == []


async def test_hanging_up_in_the_middle_of_an_upload(make_services: MakeServices) -> None:
    services = make_services()
    async with serving(services) as running:
        body = form(file(b"x" * 100_000))
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: {CONTENT_TYPE}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:50_000])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with httpx.AsyncClient(base_url=running.url) as client:
            assert (await client.post("/v1/audio/transcriptions", files={"file": b"RIFF"})).status_code == 200
    assert [*(services.settings.data_dir / "tmp").iterdir()] == []
    assert len(fake_of(services).calls) == 1


async def test_a_client_that_waits_for_100_continue_sends_nothing_in_vain(make_services: MakeServices) -> None:
    async with serving(make_services(max_upload_bytes=1_024)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: {CONTENT_TYPE}\r\n"
        writer.write(f"{head}Expect: 100-continue\r\nContent-Length: 9000000\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("endless", [b"GET /" + b"a" * 200_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 50_000])
async def test_a_head_without_end_is_cut_off(make_services: MakeServices, endless: bytes) -> None:
    async with serving(make_services()) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(endless)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        writer.close()


# Draining


async def test_running_requests_end_before_the_server_does(make_services: MakeServices) -> None:
    hold = Hold()
    services = make_services(hold, *SCRIPT)
    async with serving(services) as running, httpx.AsyncClient(base_url=running.url) as client:
        request = asyncio.create_task(client.post("/v1/audio/transcriptions", files={"file": b"RIFF"}))
        await hold.reached.wait()
        stopping = asyncio.create_task(running.stop())
        await running.server.draining.wait()
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient(base_url=running.url).get("/health/live")
        hold.release.set()
        assert (await request).json()["text"] == TEXT
        await stopping


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_after_the_grace_time_they_are_told(make_services: MakeServices, stream: str) -> None:
    begun, started, *rest = SCRIPT
    hold = Hold()
    script = [begun, started, hold, *rest] if stream == "true" else [hold, *SCRIPT]
    services = make_services(*script, shutdown_grace_seconds=0)
    async with serving(services) as running, httpx.AsyncClient(base_url=running.url) as client:
        request = asyncio.create_task(
            client.post("/v1/audio/transcriptions", files={"file": b"RIFF"}, data={"stream": stream})
        )
        await hold.reached.wait()
        await running.stop()
        answer = await request
    assert "shutting_down" in answer.text
    assert answer.status_code == (200 if stream == "true" else 503)
    assert fake_of(services).calls[0].closed.is_set()
    assert [*(services.settings.data_dir / "tmp").iterdir()] == []


# The process


@pytest.fixture
def own_logging() -> Iterator[None]:
    """``serve`` configures the logs of its process, which here is that of all tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(make_services: MakeServices, number: signal.Signals) -> None:
    services, seen = make_services(port=0), []

    @asynccontextmanager
    async def opener(settings: Settings, admit: Callable[[bool], None]) -> AsyncGenerator[Services, None]:
        yield services
        seen.append("closed")

    def on_ready(url: str) -> None:
        def ask_and_stop() -> None:
            seen.append(httpx.post(f"{url}/v1/audio/transcriptions", files={"file": b"RIFF"}).json()["text"])
            os.kill(os.getpid(), number)

        threading.Thread(target=ask_and_stop).start()

    before = signal.getsignal(number)
    serve(services.settings, on_ready=on_ready, opener=opener)
    assert seen == [TEXT, "closed"]
    assert services.draining
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("own_logging")
def test_a_signal_during_the_start_ends_it_too(make_services: MakeServices) -> None:
    services, seen = make_services(port=0), []

    @asynccontextmanager
    async def opener(settings: Settings, admit: Callable[[bool], None]) -> AsyncGenerator[Services, None]:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")
        yield services

    serve(services.settings, opener=opener)
    assert seen == ["cancelled"]


def never_opened(settings: Settings, admit: Callable[[bool], None]) -> object:
    raise AssertionError("services are opened although the server cannot start")


@pytest.mark.usefixtures("own_logging")
def test_a_port_in_use_is_found_before_anything_is_built(tmp_path: Path) -> None:
    taken = binding.open_sockets("127.0.0.1", 0)
    settings = Settings(data_dir=tmp_path, port=taken[0].getsockname()[1])
    try:
        with pytest.raises(Unavailable, match="cannot be used"):
            serve(settings, opener=never_opened)  # type: ignore[arg-type]
    finally:
        taken[0].close()


@pytest.mark.usefixtures("own_logging")
def test_a_network_without_keys_is_refused_before_anything_is_built(make_services: MakeServices) -> None:
    services = make_services(host="0.0.0.0", port=0)

    @asynccontextmanager
    async def opener(settings: Settings, admit: Callable[[bool], None]) -> AsyncGenerator[Services, None]:
        admit(False)
        raise AssertionError("built although nobody may reach it")
        yield services

    with pytest.raises(InvalidInput, match="kikitori keys create"):
        serve(services.settings, opener=opener)


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize("missing", ["tls_cert", "tls_key"])
def test_tls_needs_both_files(tmp_path: Path, missing: str) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("")
    values: dict[str, Path | None] = {"tls_cert": pem, "tls_key": pem, missing: None}
    with pytest.raises(InvalidInput) as caught:
        serve(Settings(data_dir=tmp_path, port=0, **values), opener=never_opened)  # type: ignore[arg-type]
    assert caught.value.param == missing
    values[missing] = tmp_path / "absent.pem"
    with pytest.raises(InvalidInput, match=r"absent\.pem"):
        serve(Settings(data_dir=tmp_path, port=0, **values), opener=never_opened)  # type: ignore[arg-type]


@pytest.mark.usefixtures("own_logging")
def test_tls_files_that_are_none(tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("no certificate")
    with pytest.raises(InvalidInput, match="PEM"):
        serve(Settings(data_dir=tmp_path, port=0, tls_cert=pem, tls_key=pem), opener=never_opened)  # type: ignore[arg-type]


async def test_https(make_services: MakeServices, tmp_path: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs the command openssl, to make a certificate")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subject += ["-keyout", str(key), "-out", str(certificate)]
    made = await asyncio.create_subprocess_exec(
        program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject, stderr=-3
    )
    assert await made.wait() == 0
    async with serving(make_services(tls_cert=certificate, tls_key=key)) as running:
        trusting = ssl.create_default_context(cafile=certificate)
        async with httpx.AsyncClient(base_url=running.url.replace("http", "https"), verify=trusting) as client:
            answer = await client.post("/v1/audio/transcriptions", files={"file": b"RIFF"})
    assert answer.json()["text"] == TEXT
