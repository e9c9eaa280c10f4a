"""Deepgram's own SDK on a real server, pointed at it by its environment and nothing else."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import threading
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.environment import DeepgramClientEnvironment
from tests.conftest import MINI
from tests.servers import Server, running_server
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
"""The SDK uses what the websockets library is about to leave behind."""

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "deepgram.md").read_text(encoding="utf-8")
SAMPLES = MINI / "samples"
HEARD = "The doctor goes to the bank on Friday."
OTHER = "en_02"
PIECE = 1_280
SECONDS = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("deepgram") / "data"
    settings = {"model_aliases": f'{{"mini": "{MINI / "model"}"}}', "allowed_addresses": "127.0.0.1/32"}
    with running_server(data, "--model", str(MINI / "model"), **settings) as started:
        yield started


@pytest.fixture(scope="module")
def speech() -> bytes:
    return read(SAMPLES / "en_01.wav")


def read(path: Path) -> bytes:
    with wave.open(str(path)) as sample:
        frames: bytes = sample.readframes(sample.getnframes())
        return frames


def environment(server: Server) -> DeepgramClientEnvironment:
    socket = server.url.replace("http", "ws")
    return DeepgramClientEnvironment(base=server.url, production=socket, agent=socket, agent_rest=server.url)


@contextmanager
def recordings(server: Server, key: str = "any") -> Iterator[Any]:
    """The part of the SDK that sends whole recordings."""
    with httpx.Client(timeout=SECONDS) as http:
        yield DeepgramClient(api_key=key, environment=environment(server), httpx_client=http).listen.v1.media


class Live:
    """A live connection, and what it brought."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.told: list[Any] = []

    async def say(self, audio: bytes, *, pace: float = 0.0) -> None:
        for start in range(0, len(audio), PIECE):
            await self.socket.send_media(audio[start : start + PIECE])
            await asyncio.sleep(pace)

    async def until(self, kind: str) -> Any:
        """The next message of this type; those before it are kept too."""
        async with asyncio.timeout(SECONDS):
            while True:
                message = await self.socket.recv()
                self.told.append(message)
                if message.type == kind:
                    return message

    async def rest(self) -> list[Any]:
        """Close the stream, and everything up to its Metadata."""
        await self.socket.send_close_stream()
        await self.until("Metadata")
        return self.told

    @property
    def finals(self) -> list[Any]:
        return [each for each in self.told if each.type == "Results" and each.is_final]

    @property
    def texts(self) -> list[str]:
        return [each.channel.alternatives[0].transcript for each in self.finals]


@asynccontextmanager
async def listening(server: Server, **query: Any) -> AsyncIterator[Live]:
    wanted = {"model": "nova-3", "encoding": "linear16", "sample_rate": 16_000, **query}
    sdk = AsyncDeepgramClient(api_key="any", environment=environment(server))
    async with sdk.listen.v1.connect(**{name: value for name, value in wanted.items() if value}) as socket:
        yield Live(socket)


async def test_speech_becomes_results_and_the_end_is_told(server: Server, speech: bytes) -> None:
    options = {"language": "en-US", "interim_results": "true", "vad_events": "true", "utterance_end_ms": 1000}
    async with listening(server, **options, punctuate="true", smart_format="true", endpointing=300) as live:
        await live.say(speech + bytes(2 * 24_000))
        end = await live.until("UtteranceEnd")
        assert live.texts == [HEARD]
        (final,) = live.finals
        assert final.speech_final
        assert not final.from_finalize
        assert final.channel_index == [0, 1]
        words = final.channel.alternatives[0].words
        assert [word.punctuated_word for word in words] == HEARD.split()
        assert [word.word for word in words] == HEARD.lower().rstrip(".").split()
        assert 0 <= words[0].start < words[-1].end <= final.start + final.duration
        assert end.last_word_end == words[-1].end
        assert final.metadata.model_info.arch == "whisper"
        started = next(each for each in live.told if each.type == "SpeechStarted")
        assert started.timestamp <= words[0].start
        metadata = (await live.rest())[-1]
        assert metadata.duration == pytest.approx(len(speech) / 32_000 + 1.5, abs=0.01)
        assert metadata.request_id == final.metadata.request_id
        with pytest.raises(ConnectionClosed) as closed:
            await live.socket.recv()
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 1000


async def test_finalize_decides_at_once_and_says_so(server: Server, speech: bytes) -> None:
    async with listening(server, language="en") as live:
        await live.say(speech)
        await live.socket.send_finalize()
        while not (await live.until("Results")).from_finalize:
            pass
        assert " ".join(live.texts) == HEARD
        await live.socket.send_keep_alive()
        await live.socket.send_finalize()
        nothing = await live.until("Results")
        assert (nothing.from_finalize, nothing.channel.alternatives[0].transcript) == (True, "")
        await live.rest()


async def test_channels_are_heard_apart_and_containers_tell_themselves(server: Server, speech: bytes) -> None:
    left, right = (np.frombuffer(read(SAMPLES / f"{name}.wav"), "<i2") for name in ("en_01", OTHER))
    both = np.zeros((max(len(left), len(right)), 2), "<i2")
    both[: len(left), 0], both[: len(right), 1] = left, right
    async with listening(server, language="en", channels=2, multichannel="true") as live:
        await live.say(both.tobytes())
        await live.rest()
        heard = {final.channel_index[0]: final.channel.alternatives[0].transcript for final in live.finals}
        assert heard[0] == HEARD
        assert heard[1] not in ("", HEARD)
        assert {tuple(final.channel_index) for final in live.finals} == {(0, 2), (1, 2)}
    async with listening(server, language="en", encoding=None, sample_rate=None) as live:
        await live.say((SAMPLES / "en_01.wav").read_bytes())
        await live.rest()
        assert live.texts == [HEARD]


async def test_what_cannot_be_done_is_refused_before_the_socket_opens(server: Server) -> None:
    for wrong in (
        {"diarize": "true"},
        {"encoding": "speex"},
        {"language": "klingon-on-and-on"},
        {"endpointing": "soon"},
        {"utterance_end_ms": 10},
        {"model": "no such model"},
    ):
        with pytest.raises(ApiError) as refused:
            async with listening(server, **wrong):
                pytest.fail(f"{wrong} was accepted")
        assert refused.value.status_code in (400, 404), wrong


async def test_audio_that_is_none_ends_the_socket_with_data_0000(server: Server) -> None:
    async with listening(server, encoding=None, sample_rate=None) as live:
        await live.socket.send_media(b"this is no audio at all")
        error = await live.until("Error")
        assert error.variant == "DATA-0000"
        with pytest.raises(ConnectionClosed) as closed:
            await live.socket.recv()
        assert closed.value.rcvd
        assert (closed.value.rcvd.code, closed.value.rcvd.reason[:9]) == (1008, "DATA-0000")


def test_a_recording_is_answered_with_words_utterances_and_paragraphs(server: Server) -> None:
    recording = (SAMPLES / "en_01.wav").read_bytes()
    with recordings(server) as media:
        answer = media.transcribe_file(request=recording, model="mini", utterances=True, paragraphs=True)
    (channel,) = answer.results.channels
    (alternative,) = channel.alternatives
    assert alternative.transcript == HEARD
    assert [word.punctuated_word for word in alternative.words] == HEARD.split()
    assert channel.detected_language == "en"
    assert [utterance.transcript for utterance in answer.results.utterances] == [HEARD]
    assert [each.text for each in alternative.paragraphs.paragraphs[0].sentences] == [HEARD]
    assert answer.metadata.channels == 1
    assert answer.metadata.duration == pytest.approx(len(read(SAMPLES / "en_01.wav")) / 32_000, abs=0.1)


def test_samples_without_a_head_are_heard(server: Server, speech: bytes) -> None:
    rate = {"additional_query_parameters": {"sample_rate": 16_000}}
    with recordings(server) as media:
        answer = media.transcribe_file(request=speech, language="en", encoding="linear16", request_options=rate)
    assert answer.results.channels[0].alternatives[0].transcript == HEARD
    assert answer.results.utterances is None
    assert answer.metadata.duration == pytest.approx(len(speech) / 32_000, abs=0.1)


def test_a_link_is_fetched(server: Server) -> None:
    with recordings(server) as media, files_over_http(SAMPLES) as url:
        answer = media.transcribe_url(url=f"{url}/en_01.wav")
    assert answer.results.channels[0].alternatives[0].transcript == HEARD


@contextmanager
def files_over_http(folder: Path) -> Iterator[str]:
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{served.server_port}"
    finally:
        served.shutdown()
        served.server_close()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_recording_that_is_none_or_wishes_that_cannot_be_met_are_refused(server: Server) -> None:
    with recordings(server) as media:
        for wrong, field in (
            ({"request": b"no recording"}, "file"),
            ({"request": b""}, "body"),
            ({"request": b"RIFF", "redact": "pci"}, "redact"),
        ):
            with pytest.raises(ApiError) as refused:
                media.transcribe_file(**wrong)
            assert refused.value.status_code == 400
            assert field in refused.value.body["err_msg"]
        with pytest.raises(ApiError) as refused:
            media.transcribe_url(url="http://127.0.0.1:9/a.wav")
        assert refused.value.status_code == 400
        assert refused.value.body["err_code"] == "link_failed"


def test_the_program_of_the_documentation_listens(server: Server, tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    shutil.copy(SAMPLES / "en_01.wav", tmp_path / "speech.wav")
    code = program.replace("127.0.0.1:8000", server.url.removeprefix("http://"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=2 * SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [HEARD]


def made_key(data: Path) -> str:
    command = [sys.executable, "-m", "kikitori", "keys", "create", "--owner", "ann", "--data-dir", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


async def test_keys_come_as_token_bearer_and_subprotocol(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = made_key(data)
    with running_server(data, "--model", str(MINI / "model")) as server:
        with recordings(server, key) as media:
            answer = media.transcribe_file(request=(SAMPLES / "en_01.wav").read_bytes())
        assert answer.results.channels[0].alternatives[0].transcript == HEARD
        with recordings(server, "wrong") as media, pytest.raises(ApiError) as refused:
            media.transcribe_file(request=b"RIFF")
        assert refused.value.status_code == 401
        url = f"{server.url.replace('http', 'ws')}/v1/listen?encoding=linear16&sample_rate=16000"
        ways: list[dict[str, Any]] = [
            {"additional_headers": {"Authorization": f"Token {key}"}},
            {"additional_headers": {"Authorization": f"Bearer {key}"}},
            {"subprotocols": ["token", key]},
        ]
        for way in ways:
            async with connect(url, **way) as socket:
                await socket.send('{"type":"CloseStream"}')
                assert '"Metadata"' in str(await socket.recv())
        with pytest.raises(InvalidStatus, match="401"):
            async with connect(url):
                pytest.fail("It opened without a key.")
