"""Who opens a Realtime socket, and how: keys, client secrets, browsers, the beta, OpenAI's SDK for Node."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from openai.types.beta.realtime import ConversationItemCreatedEvent, TranscriptionSessionUpdatedEvent
from tests.realtime_sdk import BUFFER, SECONDS, TRANSCRIPTION, sdk, silence, speech, talking, types
from tests.servers import Server, running_server
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from tests.conftest import Sample

Samples = Mapping[str, "Sample"]
COMPLETED = f"{TRANSCRIPTION}completed"
NODE_TESTS = Path(__file__).resolve().parent.parent / "node"
LISTENING: Any = {
    "type": "transcription",
    "audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}, "turn_detection": None}},
}


@dataclass(frozen=True, slots=True)
class Guarded:
    server: Server
    key: str

    @property
    def socket_url(self) -> str:
        return f"{self.server.url.replace('http', 'ws')}/v1/realtime?intent=transcription"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, mini_model: Path) -> Iterator[Guarded]:
    data_dir = tmp_path_factory.mktemp("realtime") / "data"
    environment = os.environ | {"KIKITORI_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "kikitori", "keys", "create", "--name", "test"]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    with running_server(data_dir, model=str(mini_model)) as server:
        yield Guarded(server, made.stdout.strip())


# Keys ------------------------------------------------------------------------------------------------------------


async def test_the_right_key_opens_a_session(guarded: Guarded) -> None:
    async with talking(guarded.server.url, guarded.key) as talk:
        assert (await talk.next()).type == "session.created"


@pytest.mark.parametrize("key", ["wrong", "ek_wrong"])
async def test_a_wrong_key_is_told_so_and_closed(guarded: Guarded, key: str) -> None:
    async with talking(guarded.server.url, key) as talk:
        assert (await talk.error()).code == "invalid_api_key"
        with pytest.raises(ConnectionClosedError) as closed:
            await talk.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 3_000
    assert closed.value.rcvd.reason == "invalid_request_error.invalid_api_key"


async def test_no_model_is_told_so_and_closed(guarded: Guarded) -> None:
    async with talking(guarded.server.url, guarded.key, extra_query={}) as talk:
        assert (await talk.error()).code == "missing_model"
        with pytest.raises(ConnectionClosedError) as closed:
            await talk.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4_000


async def test_without_keys_any_key_is_right(server: Server) -> None:
    async with talking(server.url, "whatever") as talk:
        assert (await talk.next()).type == "session.created"


# Browsers ----------------------------------------------------------------------------------------------------------


async def test_a_browser_brings_its_key_as_a_subprotocol(guarded: Guarded) -> None:
    protocols = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{guarded.key}")]
    async with connect(guarded.socket_url, subprotocols=protocols) as socket:
        assert socket.subprotocol == "realtime"
        assert json.loads(await socket.recv())["type"] == "session.created"


async def test_a_subprotocol_is_not_needed(guarded: Guarded) -> None:
    headers = {"Authorization": f"Bearer {guarded.key}"}
    async with connect(guarded.socket_url, additional_headers=headers) as socket:
        assert socket.subprotocol is None
        assert json.loads(await socket.recv())["type"] == "session.created"


async def test_the_beta_can_be_asked_for_by_subprotocol(guarded: Guarded) -> None:
    key = f"openai-insecure-api-key.{guarded.key}"
    protocols = [Subprotocol(name) for name in ("realtime", key, "openai-beta.realtime-v1")]
    async with connect(guarded.socket_url, subprotocols=protocols) as socket:
        assert socket.subprotocol == "realtime"
        assert json.loads(await socket.recv())["type"] == "transcription_session.created"


# Client secrets ----------------------------------------------------------------------------------------------------


async def test_a_client_secret_opens_sessions_until_it_expires(guarded: Guarded, samples: Samples) -> None:
    async with sdk(guarded.server.url, guarded.key) as client:
        made = await client.realtime.client_secrets.create(session=LISTENING)
    assert made.value.startswith("ek_")
    for _ in range(2):
        async with talking(guarded.server.url, made.value) as talk:
            heard = (await talk.next()).session.audio.input
            assert (heard.transcription.model, heard.turn_detection) == ("whisper-1", None)
            await talk.say(speech(samples["en_01"].path))
            await talk.commit()
            assert await talk.transcript() == samples["en_01"].text
    _expire_all(guarded.server.data_dir)
    async with talking(guarded.server.url, made.value) as talk:
        assert (await talk.error()).code == "invalid_api_key"


async def test_its_session_needs_no_query(guarded: Guarded) -> None:
    async with sdk(guarded.server.url, guarded.key) as client:
        made = await client.realtime.client_secrets.create(session={"type": "realtime", "instructions": "Be brief."})
    async with talking(guarded.server.url, made.value, extra_query={}) as talk:
        assert (await talk.next()).session.instructions == "Be brief."


def _expire_all(data_dir: Path) -> None:
    """Time passes."""
    with closing(sqlite3.connect(data_dir / "kikitori.db")) as database, database:
        database.execute("UPDATE client_secrets SET expires_at = '2026-01-01 00:00:00.000000'")


# The beta ----------------------------------------------------------------------------------------------------------


async def test_the_betas_client(guarded: Guarded, samples: Samples) -> None:
    async with (
        sdk(guarded.server.url, guarded.key) as client,
        client.beta.realtime.connect(model="gpt-4o-transcribe", extra_query={"intent": "transcription"}) as connection,
    ):
        assert (await connection.recv()).to_dict()["type"] == "transcription_session.created"
        await connection.transcription_session.update(
            session={"input_audio_transcription": {"model": "whisper-1", "language": "en"}, "turn_detection": None}  # type: ignore[typeddict-item]
        )
        updated = await connection.recv()
        assert isinstance(updated, TranscriptionSessionUpdatedEvent)
        assert updated.session.input_audio_transcription is not None
        assert updated.session.input_audio_transcription.language == "en"
        await connection.input_audio_buffer.append(audio=base64.b64encode(speech(samples["en_01"].path)).decode())
        await connection.input_audio_buffer.commit()
        events: list[Any] = []
        while not events or events[-1].type != COMPLETED:
            events.append(await connection.recv())
        assert types(events[:2]) == [f"{BUFFER}committed", "conversation.item.created"]
        assert isinstance(events[1], ConversationItemCreatedEvent)
        assert events[-1].transcript == samples["en_01"].text


async def test_a_flat_secret_opens_a_session_in_either_shape(guarded: Guarded) -> None:
    async with sdk(guarded.server.url, guarded.key) as client:
        made = await client.beta.realtime.transcription_sessions.create(
            input_audio_format="g711_ulaw", input_audio_transcription={"model": "whisper-1"}
        )
    async with talking(guarded.server.url, made.client_secret.value) as talk:
        assert (await talk.next()).session.audio.input.format.type == "audio/pcmu"


# The end -----------------------------------------------------------------------------------------------------------


async def test_a_session_too_many_is_told_so_and_closed(tmp_path: Path, mini_model: Path) -> None:
    with running_server(tmp_path / "data", model=str(mini_model), live_max_sessions="1") as server:
        async with talking(server.url) as first:
            await first.next()
            await first.update(turn_detection=None)
            async with talking(server.url) as second:
                await second.until("error")
                assert second.events[-1].error.code == "rate_limit_exceeded"
                with pytest.raises(ConnectionClosedError) as closed:
                    await second.next()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1_013
            assert await first.fence() == []


async def test_a_server_that_stops_lets_sessions_say_their_last_words(
    tmp_path: Path, mini_model: Path, samples: Samples
) -> None:
    with running_server(tmp_path / "data", model=str(mini_model)) as server:
        async with talking(server.url, model="whisper-1") as talk:
            await talk.next()
            await talk.ask(turn_detection={"type": "server_vad", "silence_duration_ms": 10_000})
            await talk.say(silence(1), speech(samples["en_01"].path))
            await talk.until(f"{BUFFER}speech_started")
            server.process.send_signal(signal.SIGTERM)
            assert await talk.transcript() == samples["en_01"].text
            with pytest.raises(ConnectionClosedError) as closed:
                await talk.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1_012


# Node --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_server(
    tmp_path_factory: pytest.TempPathFactory, mini_model: Path, authority: trustme.CA
) -> Iterator[tuple[Server, Path]]:
    """A server that serves HTTPS, and the certificate to trust."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key, trusted = folder / "chain.pem", folder / "key.pem", folder / "ca.pem"
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    authority.cert_pem.write_to_path(trusted)
    with running_server(folder / "data", model=str(mini_model), tls_cert=str(chain), tls_key=str(key)) as server:
        yield server, trusted


@pytest.mark.service
@pytest.mark.parametrize("version", ["6", "7"])
def test_openais_sdk_for_node(tls_server: tuple[Server, Path], samples: Samples, tmp_path: Path, version: str) -> None:
    """The script talks with the server and prints what it saw. This SDK knows no sockets without TLS."""
    if shutil.which("node") is None or not (NODE_TESTS / "node_modules").is_dir():
        pytest.skip("no Node, or `npm ci` was not run in tests/node")
    server, trusted = tls_server
    audio = tmp_path / "audio.pcm"
    audio.write_bytes(silence(1) + speech(samples["en_01"].path) + silence(1))
    command = ["node", str(NODE_TESTS / "realtime.mjs"), version, f"{server.url}/v1", str(audio)]
    environment = os.environ | {"NODE_EXTRA_CA_CERTS": str(trusted)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS * 2)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["events"][0] == "session.created"
    assert seen["binary"] == 0
    assert seen["errors"] == ["invalid_value"]
    assert seen["transcript"] == samples["en_01"].text
    assert seen["deltas"] == samples["en_01"].text
