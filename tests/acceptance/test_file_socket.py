"""``/ws`` with a plain client against a real server: every message, every order, and whoever leaves in between."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from tests.conftest import MINI
from tests.recordings import join, silence
from tests.servers import Server, running_server
from websockets.asyncio.client import ClientConnection, connect

from kikitori.testing import until
from kikitori.text.durations import convert_seconds

SAMPLES = MINI / "samples"
SAMPLE, HEARD = SAMPLES / "en_01.wav", "The doctor goes to the bank on Friday."
LONG_ROUNDS = 9
"""Of a recording of 80 s: more than ten minutes."""
CHUNK_SECONDS = "60"
"""While one chunk is heard the next one is read: of a long one, most would be read for nothing."""
CLIENTS = 20
STOP = {"type": "stop"}
WAIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("files") / "data"
    with running_server(data, "--model", str(MINI / "model"), chunk_seconds=CHUNK_SECONDS) as started:
        yield started


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return join([SAMPLES / "en_multi_80s.wav"], tmp_path_factory.mktemp("long") / "long.wav", rounds=LONG_ROUNDS)


def read(path: Path) -> bytes:
    return path.read_bytes()


@asynccontextmanager
async def socket(server: Server, **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(f"{server.url.replace('http', 'ws')}/ws", **options) as opened:
        yield opened


async def tell(opened: ClientConnection, **message: Any) -> None:
    await opened.send(json.dumps(message))


async def transcribe(opened: ClientConnection, path: Path, **fields: Any) -> None:
    audio = base64.b64encode(read(path)).decode()
    await tell(opened, type="transcribe", audio=audio, file_name=path.name, **fields)


async def transcribe_binary(opened: ClientConnection, path: Path, **fields: Any) -> None:
    content = read(path)
    await tell(opened, type="transcribe", size=len(content), **fields)
    for at in range(0, len(content), 100_000):
        await opened.send(content[at : at + 100_000])


async def heard(opened: ClientConnection, *last: str) -> list[dict[str, Any]]:
    """Everything up to the first message of one of these types."""
    messages: list[dict[str, Any]] = []
    async with asyncio.timeout(WAIT_SECONDS):
        async for frame in opened:
            messages.append(json.loads(frame))
            if messages[-1]["type"] in last:
                return messages
    pytest.fail(f"No {last} came, but {messages}, then {opened.close_code} {opened.close_reason}")


async def closed(opened: ClientConnection) -> int | None:
    async with asyncio.timeout(WAIT_SECONDS):
        await opened.wait_closed()
    return opened.close_code


def segments(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == "segment"]


def is_free(server: Server) -> bool:
    """No file is left on its way, and no model is in use."""
    folder = server.data_dir / "tmp"
    return not (folder.is_dir() and any(folder.iterdir())) and not server.busy()


async def free(server: Server) -> None:
    await until(lambda: is_free(server), seconds=WAIT_SECONDS)


def by_http(server: Server, path: Path, **fields: str) -> str:
    url = f"{server.url}/v1/audio/transcriptions"
    answer = httpx.post(url, files={"file": path.read_bytes()}, data=fields, timeout=WAIT_SECONDS)
    return str(answer.json()["text"])


@pytest.fixture(scope="module")
def by_http_alone(server: Server) -> str:
    """The text of the 80 s."""
    return by_http(server, SAMPLES / "en_multi_80s.wav")


@pytest.mark.parametrize("send", [transcribe, transcribe_binary])
async def test_messages_come_in_their_order_and_the_next_file_on_the_same_socket(
    server: Server, by_http_alone: str, send: Any
) -> None:
    long = SAMPLES / "en_multi_80s.wav"
    async with socket(server) as opened:
        await send(opened, long, model="汎用モデル", word_timestamps=True)
        info, *told, final = await heard(opened, "final", "error")
        assert (info["type"], info["language"], info["done"]) == ("info", "en", False)
        assert info["length"] == convert_seconds(info["duration"])
        assert info["model"]
        assert [message["type"] for message in told] == ["segment"] * len(told)
        progress = [message["progress"] for message in told]
        assert progress == sorted(progress)
        assert [share for share in progress if share == 100] == [100]
        for data in (message["data"] for message in told):
            times = f"[{convert_seconds(data['start'])} -> {convert_seconds(data['end'])}]"
            assert data["time_line"] == f"{times} {data['text'].strip()}"
            assert data["words"]
        assert "".join(message["data"]["text"] for message in told).strip() == final["data"]["result"]
        assert final["data"]["result"] == by_http_alone
        assert final["done"] is True
        await send(opened, SAMPLE, model="チューニングモデル")
        assert (await heard(opened, "final", "error"))[-1]["data"] == {"result": HEARD}
    await free(server)


async def test_segments_come_before_the_end_and_stop_ends_it_at_once(server: Server, long_recording: Path) -> None:
    async with socket(server) as opened:
        await transcribe_binary(opened, long_recording)
        messages = await heard(opened, "segment", "final")
        await tell(opened, **STOP)
        messages += await heard(opened, "stopped", "final")
        assert messages[-1] == {"type": "stopped", "done": True}
        assert await asyncio.to_thread(server.busy) == 0  # by the time the client knows
        duration = messages[0]["duration"]
        assert duration > 600
        assert segments(messages)[-1]["data"]["end"] < duration / 2
        assert segments(messages)[-1]["progress"] < 50
        await transcribe(opened, SAMPLE)
        assert (await heard(opened, "final"))[-1]["data"] == {"result": HEARD}
    await free(server)


async def test_stop_before_anything_was_heard(server: Server) -> None:
    async with socket(server) as opened:
        await tell(opened, **STOP)
        assert (await heard(opened, "error"))[-1]["code"] == "conflict"
        await transcribe(opened, SAMPLE)
        await tell(opened, **STOP)
        assert (await heard(opened, "stopped", "final"))[-1]["done"] is True
    await free(server)


async def test_a_second_file_is_refused_while_one_runs(server: Server, long_recording: Path) -> None:
    async with socket(server) as opened:
        await transcribe_binary(opened, long_recording)
        await transcribe(opened, SAMPLE)
        error = (await heard(opened, "error"))[-1]
        assert (error["code"], error["done"]) == ("conflict", False)
        await heard(opened, "segment")
        await tell(opened, **STOP)
        await heard(opened, "stopped")
    await free(server)


async def test_many_at_once_get_what_each_would_alone(server: Server) -> None:
    names = ("en_01", "en_02", "ja_01", "ko_03", "en_04")
    alone = {name: await asyncio.to_thread(by_http, server, SAMPLES / f"{name}.wav") for name in names}
    assert len(set(alone.values())) == len(names)

    async def one(number: int) -> tuple[str, list[dict[str, Any]]]:
        name = names[number % len(names)]
        send = transcribe if number % 2 else transcribe_binary
        async with socket(server) as opened:
            await send(opened, SAMPLES / f"{name}.wav")
            return name, await heard(opened, "final", "error")

    results = await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    for name, messages in results:
        assert messages[-1].get("data") == {"result": alone[name]}, messages
        kinds = [message["type"] for message in messages if message["type"] != "segment"]
        assert kinds[-2:] == ["info", "final"]
        assert set(kinds[:-2]) <= {"queued"}
        positions = [message["position"] for message in messages if message["type"] == "queued"]
        assert all(position > 0 for position in positions)
    await free(server)


async def test_silence_has_no_segments_and_an_empty_text(server: Server, tmp_path: Path) -> None:
    async with socket(server) as opened:
        await transcribe(opened, silence(tmp_path / "silence.wav", 3.0))
        assert [message["type"] for message in await heard(opened, "final", "error")] == ["info", "final"]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("no json", None),
        ("[1]", None),
        ('{"type":"dance"}', "type"),
        ('{"type":"transcribe"}', "audio"),
        ('{"type":"transcribe","audio":"not base64!"}', "audio"),
        ('{"type":"transcribe","audio":""}', "audio"),
        ('{"type":"transcribe","audio":"UklGRg=="}', "audio"),
        ('{"type":"transcribe","size":-5}', "size"),
        ('{"type":"transcribe","audio":"UklGRg==","model":"no such model"}', "model"),
        ('{"type":"transcribe","audio":"UklGRg==","beam_size":0}', "beam_size"),
        ('{"type":"transcribe","audio":"UklGRg==","channels":"up"}', "channels"),
    ],
)
async def test_what_is_wrong_is_said_and_the_socket_goes_on(server: Server, message: str, param: str | None) -> None:
    async with socket(server) as opened:
        await opened.send(message)
        error = (await heard(opened, "error"))[-1]
        assert (error.get("param"), error["done"]) == (param, True)
        assert error["message"]
        await transcribe(opened, SAMPLE)
        assert (await heard(opened, "final", "error"))[-1]["data"] == {"result": HEARD}
    await free(server)


async def test_a_file_of_the_wrong_size(server: Server) -> None:
    content = SAMPLE.read_bytes()
    async with socket(server) as opened:
        await tell(opened, type="transcribe", size=len(content) - 1)
        await opened.send(content)
        assert (await heard(opened, "error"))[-1]["param"] == "size"
        await opened.send(content)
        await transcribe(opened, SAMPLE)
        assert (await heard(opened, "final"))[-1]["data"] == {"result": HEARD}
    await free(server)


async def test_garbage_and_files_that_are_cut_off(server: Server, tmp_path: Path) -> None:
    garbage, cut = tmp_path / "garbage.mp3", tmp_path / "cut.wav"
    garbage.write_bytes(bytes(range(256)) * 500)
    cut.write_bytes(SAMPLE.read_bytes()[:30])
    async with socket(server) as opened:
        for path in (garbage, cut):
            await transcribe(opened, path)
            error = (await heard(opened, "error", "final"))[-1]
            assert (error["type"], error["param"], error["done"]) == ("error", "audio", True)
        await transcribe(opened, SAMPLE)
        assert (await heard(opened, "final"))[-1]["data"] == {"result": HEARD}
    await free(server)


GARBAGE = ("no json", "[]", '{"type":"dance"}', '{"type":"transcribe"}', '{"type":"transcribe","audio":"not base64!"}')


async def test_garbage_at_any_stage_is_answered_and_harms_nothing(server: Server, long_recording: Path) -> None:
    content = read(SAMPLE)
    async with socket(server) as opened:

        async def babble(*, done: bool) -> None:
            for frame in GARBAGE:
                await opened.send(frame)
                error = (await heard(opened, "error", "final", "stopped"))[-1]
                assert (error["type"], error["done"]) == ("error", done), frame

        await babble(done=True)
        await opened.send(content)  # bytes of no file
        assert (await heard(opened, "error"))[-1]["code"] == "conflict"
        await tell(opened, type="transcribe", size=len(content))
        await babble(done=False)
        await opened.send(content[:-100])
        await babble(done=False)
        await opened.send(content[-100:])
        assert (await heard(opened, "final", "error"))[-1]["data"] == {"result": HEARD}
        await transcribe_binary(opened, long_recording)
        await heard(opened, "segment")
        await babble(done=False)
        await opened.send(content)
        assert (await heard(opened, "error"))[-1]["done"] is False
        await tell(opened, **STOP)
        await heard(opened, "stopped")
        await babble(done=True)
        await transcribe(opened, SAMPLE)
        assert (await heard(opened, "final", "error"))[-1]["data"] == {"result": HEARD}
    await free(server)


async def test_whoever_leaves_at_any_stage_leaves_nothing(server: Server, long_recording: Path) -> None:
    content = read(long_recording)
    for stage in ("opened", "announced", "half", "sent", "info", "segment", "stop"):
        async with socket(server) as opened:
            if stage != "opened":
                await tell(opened, type="transcribe", size=len(content))
            if stage == "half":
                await opened.send(content[: len(content) // 2])
            if stage in ("sent", "info", "segment", "stop"):
                await opened.send(content)
            if stage in ("info", "segment"):
                await heard(opened, stage)
            if stage == "stop":
                await heard(opened, "segment")
                await tell(opened, **STOP)
            assert opened.transport is not None
            opened.transport.abort()
        await free(server)
    async with socket(server) as opened:
        await transcribe(opened, SAMPLE)
        assert (await heard(opened, "final"))[-1]["data"] == {"result": HEARD}


async def test_a_message_over_the_frame_limit_closes_the_socket(server: Server) -> None:
    async with socket(server) as opened:
        with pytest.raises(websockets.ConnectionClosed):
            await tell(opened, type="transcribe", audio="A" * (33 * 1024 * 1024))
            await heard(opened, "final")
            await closed(opened)
        assert opened.close_code in (1009, 1006)  # the close frame may be lost behind what was still being sent
    async with socket(server) as opened:
        await transcribe(opened, SAMPLE)
        assert (await heard(opened, "final"))[-1]["data"] == {"result": HEARD}


async def test_limits_of_uploads_and_a_shutdown(tmp_path: Path, long_recording: Path) -> None:
    limit = len(read(long_recording))
    flags = ("--model", str(MINI / "model"))
    settings = {"max_upload_bytes": str(limit), "chunk_seconds": CHUNK_SECONDS}
    with running_server(tmp_path / "data", *flags, **settings) as server:
        async with socket(server) as opened:
            await tell(opened, type="transcribe", size=limit + 1)
            assert (await heard(opened, "error"))[-1]["code"] == "too_large"
            assert await closed(opened) == 1009
        async with socket(server) as running, socket(server) as idle:
            await transcribe_binary(running, long_recording)
            await heard(running, "segment")
            server.process.send_signal(signal.SIGTERM)
            error = (await heard(running, "error", "final"))[-1]
            assert (error["code"], error["done"]) == ("shutting_down", True)
            assert [await closed(each) for each in (running, idle)] == [1012, 1012]
        server.process.wait(120)
        assert list((server.data_dir / "tmp").iterdir()) == []


def made_key(data_dir: Path, owner: str) -> str:
    command = [sys.executable, "-m", "kikitori", "keys", "create", "--owner", owner, "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


async def test_keys_and_recordings_that_are_kept_for_their_owner(tmp_path: Path, long_recording: Path) -> None:
    ann, bob = (made_key(tmp_path / "data", owner) for owner in ("ann", "bob"))
    with running_server(tmp_path / "data", "--model", str(MINI / "model"), chunk_seconds=CHUNK_SECONDS) as server:
        ways: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
            ({"additional_headers": {"Authorization": f"Bearer {ann}"}}, None),
            ({"subprotocols": [websockets.Subprotocol(f"kikitori-api-key.{ann}")]}, None),
            ({}, {"type": "auth", "api_key": ann}),
        ]
        for options, first in ways:
            async with socket(server, **options) as opened:
                if first:
                    await tell(opened, **first)
                await transcribe(opened, SAMPLE)
                final = (await heard(opened, "final", "error"))[-1]
                assert final["data"] == {"result": HEARD}
                assert "task_id" not in final
        for wrong in ({"type": "auth", "api_key": "wrong"}, STOP):
            async with socket(server) as opened:
                await tell(opened, **wrong)
                assert (await heard(opened, "error"))[-1]["code"] == "invalid_api_key"
                assert await closed(opened) == 1008

        async with socket(server, additional_headers={"Authorization": f"Bearer {ann}"}) as opened:
            await transcribe(opened, SAMPLE, save_audio=True, beam_size=3)
            finished = (await heard(opened, "final", "error"))[-1]["task_id"]
            await transcribe_binary(opened, long_recording, save_audio=True, file_name="../../long.wav")
            await heard(opened, "segment")
            await tell(opened, **STOP)
            stopped = (await heard(opened, "stopped"))[-1]["task_id"]
        async with httpx.AsyncClient(base_url=server.url) as client:
            mine, other = {"Authorization": f"Bearer {ann}"}, {"Authorization": f"Bearer {bob}"}
            task = (await client.get(f"/api/tasks/{finished}", headers=mine)).json()
            assert (task["status"], task["file_name"], task["options"]) == ("succeeded", "en_01.wav", {"beam_size": 3})
            assert (await client.get(f"/api/tasks/{finished}", headers=other)).status_code == 404
            assert (await client.get(f"/api/tasks/{finished}/result", headers=mine)).json()["text"] == HEARD
            task = (await client.get(f"/api/tasks/{stopped}", headers=mine)).json()
            assert (task["status"], task["file_name"]) == ("cancelled", "long.wav")
            assert 0 < task["progress"] < 100
            listed = (await client.get("/api/tasks", headers=mine)).json()["tasks"]
            assert {each["id"] for each in listed} == {finished, stopped}
            assert (await client.delete(f"/api/tasks/{stopped}", headers=mine)).status_code < 300
            assert (await client.get("/api/tasks", headers=other)).json()["tasks"] == []
        assert list((server.data_dir / "tmp").iterdir()) == []
