"""Spoken conversations with OpenAI's SDK: a real server, its embedded voice, and a language model over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
import wave
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.chat_server import Asked, Reply, fails, says, streams
from tests.realtime_sdk import BUFFER, TRANSCRIPTION, WHISPER, Talk, sdk, silence, speech, talking, types
from tests.servers import Server, running_server
from tests.voice import (
    ChatServer,
    audio_of,
    chat_in_a_thread,
    sound_of,
    text_of,
    understood,
    voices_at_work,
    wait_for,
)

from kikitori.audio.pcm import Encoding
from kikitori.testing import Hold
from kikitori.tts.espeak import SPARES
from kikitori.types import Audio

if TYPE_CHECKING:
    from tests.conftest import Sample

Samples = Mapping[str, "Sample"]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "voice.md").read_text(encoding="utf-8")
DONE = "response.done"
COUNTING = "One, two, three, four, five."
VAD: Any = {"type": "server_vad", "silence_duration_ms": 500}
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def shared_chat() -> Iterator[ChatServer]:
    with chat_in_a_thread() as chat:
        yield chat


@pytest.fixture(scope="module")
def voice_server(
    tmp_path_factory: pytest.TempPathFactory, mini_model: Path, shared_chat: ChatServer
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("voice") / "data"
    with running_server(folder, model=str(mini_model), llm_base_url=shared_chat.url, llm_model="house") as server:
        yield server


@pytest.fixture
def chat(shared_chat: ChatServer) -> ChatServer:
    shared_chat.requests.clear()
    shared_chat.script = [says("Good ", "morning. ", "How are you?")]
    shared_chat.answer = shared_chat._next
    return shared_chat


@pytest.fixture
def said(samples: Samples) -> bytes:
    return speech(samples["en_01"].path)


@asynccontextmanager
async def conversing(server: Server, **session: Any) -> AsyncGenerator[Talk, None]:
    """A conversation; by default the client ends its turns."""
    async with talking(server.url, model="gpt-realtime") as talk:
        assert (await talk.next()).session.type == "realtime"
        listening = {"input": {"turn_detection": None}}
        await talk.update({"type": "realtime", "audio": listening, **session})
        yield talk


async def write(talk: Talk, text: str) -> None:
    content: Any = [{"type": "input_text", "text": text}]
    await talk.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
    await talk.until("conversation.item.done")


async def answer(talk: Talk, **response: Any) -> list[Any]:
    """Ask for a response; its events to the end."""
    await talk.connection.response.create(response=response)  # type: ignore[arg-type]
    events = await talk.until("rate_limits.updated")
    assert types(events)[0] == "response.created"
    return events


def loudness(audio: Audio) -> Audio:
    """Of each 20 ms."""
    frames = audio[: len(audio) // 320 * 320].reshape(-1, 320)
    level: Audio = np.sqrt(np.mean(frames**2, axis=1))
    return level


def done(events: list[Any]) -> Any:
    [event] = [event for event in events if event.type == DONE]
    return event.response


async def test_a_spoken_turn_is_heard_answered_and_understood(
    voice_server: Server, chat: ChatServer, samples: Samples, said: bytes
) -> None:
    chat.script = [says("One, two, ", "three, four, five.")]
    async with talking(voice_server.url, model="gpt-realtime") as talk:
        await talk.next()
        listening = {"transcription": WHISPER, "turn_detection": VAD}
        await talk.update({"type": "realtime", "instructions": "Be kind.", "audio": {"input": listening}})
        await talk.say(silence(0.5), said, silence(1.5))
        events = await talk.until("rate_limits.updated")
    order = types(events)
    assert order.index(f"{BUFFER}speech_started") < order.index(f"{BUFFER}committed") < order.index("response.created")
    [heard] = [event.transcript for event in events if event.type == f"{TRANSCRIPTION}completed"]
    assert heard == samples["en_01"].text
    assert chat.requests[-1].body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": heard},
    ]
    assert text_of(events) == COUNTING
    assert done(events).status == "completed"
    words = await understood(voice_server, audio_of(sound_of(events)))
    assert len({"one", "two", "three", "four", "five"} & {*words.split()}) >= 4, words


async def test_events_come_in_openais_order(voice_server: Server, chat: ChatServer) -> None:
    async with conversing(voice_server) as talk:
        await write(talk, "Hello")
        events = await answer(talk)
    deltas = ("response.output_audio_transcript.delta", "response.output_audio.delta")
    order = [kind for kind in types(events) if kind not in deltas]
    assert order == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert text_of(events) == done(events).output[0].content[0].transcript == "Good morning. How are you?"
    assert done(events).usage.total_tokens > 0


@pytest.mark.parametrize(
    ("format", "encoding", "rate"),
    [
        ({"type": "audio/pcmu"}, Encoding.MULAW, 8_000),
        ({"type": "audio/pcma"}, Encoding.ALAW, 8_000),
    ],
    ids=["pcmu", "pcma"],
)
async def test_sound_is_in_the_declared_format(
    voice_server: Server, chat: ChatServer, format: Any, encoding: Encoding, rate: int
) -> None:
    chat.script = [says(COUNTING)]
    async with conversing(voice_server) as talk:
        await write(talk, "Count!")
        usual = loudness(audio_of(sound_of(await answer(talk))))
        await talk.update({"type": "realtime", "audio": {"output": {"format": format}}})
        other = loudness(audio_of(sound_of(await answer(talk)), encoding, rate))
    assert len(other) == pytest.approx(len(usual), abs=5)
    size = min(len(other), len(usual))
    assert np.corrcoef(other[:size], usual[:size])[0, 1] > 0.95


async def test_a_written_answer_has_no_sound(voice_server: Server, chat: ChatServer) -> None:
    async with conversing(voice_server, output_modalities=["text"]) as talk:
        await write(talk, "Hello")
        events = await answer(talk, instructions="Be brief.", max_output_tokens=50, metadata={"topic": "x"})
    assert text_of(events) == done(events).output[0].content[0].text == "Good morning. How are you?"
    assert sound_of(events) == b""
    assert done(events).metadata == {"topic": "x"}
    body = chat.requests[-1].body
    assert (body["messages"][0]["content"], body["max_tokens"]) == ("Be brief.", 50)


async def test_functions_go_to_the_client_and_their_results_to_the_model(
    voice_server: Server, chat: ChatServer
) -> None:
    def call(**function: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "type": "function", **function}]}

    chat.script = [
        streams(
            call(id="call_7", function={"name": "weather", "arguments": ""}),
            call(function={"arguments": '{"town": '}),
            call(function={"arguments": '"Rome"}'}),
            finish="tool_calls",
        ),
        says("It is warm in Rome."),
    ]
    async with conversing(voice_server, tools=[TOOL], tool_choice="auto") as talk:
        await write(talk, "How is it in Rome?")
        first = await answer(talk)
        [item] = done(first).output
        assert (item.type, item.name, item.call_id) == ("function_call", "weather", "call_7")
        assert json.loads(item.arguments) == {"town": "Rome"}
        deltas = [event.delta for event in first if event.type == "response.function_call_arguments.delta"]
        assert "".join(deltas) == item.arguments
        result: Any = {"type": "function_call_output", "call_id": "call_7", "output": '{"celsius": 30}'}
        await talk.connection.conversation.item.create(item=result)
        await talk.until("conversation.item.done")
        second = await answer(talk)
    assert text_of(second) == "It is warm in Rome."
    assert chat.requests[0].body["tools"][0]["function"]["name"] == "weather"
    roles = [message["role"] for message in chat.requests[1].body["messages"]]
    assert roles == ["system", "user", "assistant", "tool"]
    assert chat.requests[1].body["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "call_7",
        "content": '{"celsius": 30}',
    }


async def test_a_second_response_is_refused_and_the_first_goes_on(voice_server: Server, chat: ChatServer) -> None:
    hold = Hold()
    chat.script = [says("Good morning. ", hold, "How are you?")]
    async with conversing(voice_server) as talk:
        await write(talk, "Hello")
        await talk.connection.response.create()
        await talk.until("response.output_audio.delta")
        await talk.send(type="response.create", event_id="again")
        error = (await talk.until("error"))[-1].error
        assert (error.code, error.event_id) == ("conversation_already_has_active_response", "again")
        chat.release(hold)
        assert done(await talk.until(DONE)).status == "completed"


async def test_a_response_can_be_cancelled_and_the_model_is_let_go(voice_server: Server, chat: ChatServer) -> None:
    chat.script = [says("Good morning to you. ", Hold()), says("Again.")]
    async with conversing(voice_server) as talk:
        await write(talk, "Hello")
        await talk.connection.response.create()
        await talk.until("response.output_audio.delta")
        await talk.connection.response.cancel()
        response = done(await talk.until(DONE))
        assert (response.status, response.status_details.reason) == ("cancelled", "client_cancelled")
        assert response.output[0].status == "incomplete"
        await chat.left(0)
        await talk.until("rate_limits.updated")
        assert text_of(await answer(talk)) == "Again."


async def test_speech_interrupts_and_is_answered(
    voice_server: Server, chat: ChatServer, samples: Samples, said: bytes
) -> None:
    chat.script = [says("Good morning to you. ", Hold()), says("I hear you.")]
    async with conversing(voice_server, audio={"input": {"turn_detection": VAD}}) as talk:
        await write(talk, "Hello")
        await talk.connection.response.create()
        await talk.until("response.output_audio.delta")
        await talk.say(silence(0.5), said, silence(1.5))
        stopped = done(await talk.until(DONE))
        assert (stopped.status, stopped.status_details.reason) == ("cancelled", "turn_detected")
        await chat.left(0)
        events = await talk.until(DONE)
    assert text_of(events) == "I hear you."
    assert chat.requests[-1].body["messages"][-1] == {"role": "user", "content": samples["en_01"].text}


async def test_audio_that_is_put_in_is_understood_and_answered(
    voice_server: Server, chat: ChatServer, samples: Samples, said: bytes
) -> None:
    async with conversing(voice_server, audio={"input": {"turn_detection": None, "transcription": WHISPER}}) as talk:
        content: Any = [{"type": "input_audio", "audio": base64.b64encode(said).decode()}]
        await talk.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await talk.connection.response.create()
        events = await talk.until("rate_limits.updated")
    heard = samples["en_01"].text
    [item] = [event.item.id for event in events if event.type == "conversation.item.done"][:1]
    [told] = [event for event in events if event.type == f"{TRANSCRIPTION}completed"]
    assert (told.item_id, told.transcript) == (item, heard)
    assert chat.requests[-1].body["messages"][-1] == {"role": "user", "content": heard}
    assert done(events).status == "completed"
    await wait_for(lambda: voice_server.metric("kikitori_live_sessions") == 0)


async def test_nobody_speaks_and_is_asked_again(voice_server: Server, chat: ChatServer) -> None:
    chat.script = [says("Hello?"), says("Are you there?")]
    detection = {**VAD, "idle_timeout_ms": 5_000}
    async with conversing(voice_server, audio={"input": {"turn_detection": detection}}) as talk:
        await talk.say(silence(1.0))
        await write(talk, "Hi")
        spoken = len(sound_of(await answer(talk))) / 48_000
        await talk.say(silence(spoken + 4.0))
        assert await talk.fence() == []
        await talk.say(silence(1.5))
        events = await talk.until(DONE)
    order = types(events)
    assert order[:2] == [f"{BUFFER}timeout_triggered", f"{BUFFER}committed"]
    silent = events[0]
    assert silent.audio_end_ms - silent.audio_start_ms == pytest.approx(5_000, abs=50)
    assert silent.audio_start_ms == pytest.approx(1_000 * (1 + spoken), abs=50)
    assert text_of(events) == "Are you there?"
    assert [message["role"] for message in chat.requests[-1].body["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


async def test_what_was_not_heard_was_not_said(voice_server: Server, chat: ChatServer) -> None:
    async with conversing(voice_server) as talk:
        await write(talk, "Hello")
        events = await answer(talk)
        item = done(events).output[0].id
        half = len(sound_of(events)) // 2 * 1_000 // 48_000
        await talk.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=half)
        assert (await talk.next()).audio_end_ms == half
        await talk.connection.conversation.item.retrieve(item_id=item)
        [part] = (await talk.next()).item.content
        assert "Good morning. How are you?".startswith(part.transcript)
        assert 0 < len(part.transcript) < 26
        assert len(base64.b64decode(part.audio)) == pytest.approx(half * 48, abs=100)
        await answer(talk)
    assert chat.requests[-1].body["messages"][-1] == {"role": "assistant", "content": part.transcript}


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (fails(400, "no"), "llm_unavailable"),
        (says("Good ", finish=None), "llm_unavailable"),
        (fails(429, retry_after="0"), "rate_limit_exceeded"),
    ],
    ids=["refuses", "breaks off", "busy"],
)
async def test_a_model_that_fails_fails_the_response_alone(
    voice_server: Server, chat: ChatServer, reply: Reply, code: str
) -> None:
    chat.script = [reply]
    async with conversing(voice_server) as talk:
        await write(talk, "Hello")
        failed = done(await answer(talk))
        assert (failed.status, failed.status_details.error.code) == ("failed", code)
        chat.script = [says("Better now.")]
        assert text_of(await answer(talk)) == "Better now."


async def test_a_model_that_hangs_is_given_up(chat: ChatServer, tmp_path: Path, mini_model: Path) -> None:
    """By a server of little patience; in any other test a busy machine may take longer than that."""
    chat.script = [says("Good ", Hold()), says("Better now.")]
    settings = {"llm_base_url": chat.url, "llm_model": "house", "llm_timeout_seconds": "5"}
    with running_server(tmp_path / "data", model=str(mini_model), **settings) as server:
        async with conversing(server) as talk:
            await write(talk, "Hello")
            failed = done(await answer(talk))
            assert (failed.status, failed.status_details.error.code) == ("failed", "llm_unavailable")
            assert text_of(await answer(talk)) == "Better now."


async def test_a_voice_that_is_not_there_fails_the_response(voice_server: Server, chat: ChatServer) -> None:
    async with conversing(voice_server) as talk:
        await write(talk, "Hello")
        failed = done(await answer(talk, audio={"output": {"voice": "bogus"}}))
        assert (failed.status, failed.status_details.error.code) == ("failed", "invalid_value")
        assert done(await answer(talk)).status == "completed"


async def test_without_a_language_model_it_says_so_and_goes_on_listening(
    server: Server, samples: Samples, said: bytes
) -> None:
    async with conversing(server) as talk:
        failed = done(await answer(talk))
        assert (failed.status, failed.status_details.error.code) == ("failed", "llm_unavailable")
        await talk.update({"type": "realtime", "audio": {"input": {"transcription": WHISPER, "turn_detection": VAD}}})
        await talk.say(silence(0.5), said, silence(1.5))
        assert await talk.transcript() == samples["en_01"].text
        assert await talk.fence() == []


async def test_a_client_that_vanishes_lets_go_of_the_model_and_the_voice(
    voice_server: Server, chat: ChatServer
) -> None:
    chat.script = [says("a long word " * 200 + ". ", Hold())]
    async with conversing(voice_server) as talk:
        await write(talk, "Hello")
        await talk.connection.response.create()
        await talk.until("response.output_audio.delta")
        socket: Any = talk.connection._connection
        socket.transport.abort()
    await chat.left()
    await wait_for(lambda: voices_at_work(voice_server) == SPARES)
    await wait_for(lambda: voice_server.metric("kikitori_live_sessions") == 0)


async def test_ten_conversations_at_once(voice_server: Server, chat: ChatServer, said: bytes) -> None:
    def echo(asked: Asked) -> Reply:
        return says(f"You are {asked.system}.")

    chat.answer = echo

    async def converse(number: int) -> tuple[str, bytes, str]:
        name = f"number {number}"
        async with talking(voice_server.url, model="gpt-realtime") as talk:
            await talk.next()
            await talk.update({"type": "realtime", "instructions": name, "audio": {"input": {"turn_detection": VAD}}})
            await talk.say(silence(0.5), said, silence(1.5))
            events = await talk.until(DONE)
        return text_of(events), sound_of(events), done(events).status

    results = await asyncio.gather(*(converse(number) for number in range(10)))
    assert [text for text, _, _ in results] == [f"You are number {number}." for number in range(10)]
    assert {status for _, _, status in results} == {"completed"}
    assert all(len(sound) > 24_000 for _, sound, _ in results)


async def test_the_voice_of_another_server(
    voice_server: Server, chat: ChatServer, tmp_path: Path, mini_model: Path
) -> None:
    chat.script = [says(COUNTING)]
    with running_server(
        tmp_path / "data",
        model=str(mini_model),
        llm_base_url=chat.url,
        llm_model="house",
        tts_url=f"{voice_server.url}/v1",
    ) as server:
        async with conversing(server) as talk:
            await write(talk, "Count!")
            events = await answer(talk)
        assert done(events).status == "completed"
        words = await understood(voice_server, audio_of(sound_of(events)))
    assert len({"one", "two", "three", "four", "five"} & {*words.split()}) >= 4, words


async def test_the_program_of_the_documentation_holds_a_conversation(
    voice_server: Server, chat: ChatServer, samples: Samples, said: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    [program] = re.findall(r"```python\n(import asyncio, base64\n.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace("127.0.0.1:8000", voice_server.url.removeprefix("http://")), names)
    async with names["client"]:
        answered = await names["main"](silence(0.5) + said)
    assert len(answered) > 48_000
    shown = capsys.readouterr().out
    assert "Good morning. How are you?" in shown
    assert f"you: {samples['en_01'].text}" in shown


async def test_the_beta_speaks_too(voice_server: Server, chat: ChatServer) -> None:
    async with sdk(voice_server.url) as client, client.beta.realtime.connect(model="gpt-4o-realtime-preview") as socket:
        async with asyncio.timeout(60):
            assert (await socket.recv()).type == "session.created"
            await socket.session.update(session={"turn_detection": None, "output_audio_format": "g711_ulaw"})  # type: ignore[typeddict-item]
            assert (await socket.recv()).type == "session.updated"
            content: Any = [{"type": "input_text", "text": "Hello"}]
            await socket.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            await socket.response.create()
            events: list[Any] = []
            while not events or events[-1].type != DONE:
                events.append(await socket.recv())
    assert text_of(events) == "Good morning. How are you?"
    assert len(sound_of(events)) > 8_000
    assert events[-1].response.output_audio_format == "g711_ulaw"


# In a terminal ---------------------------------------------------------------------------------------------------


def test_the_command_talks_from_a_file_without_a_device(
    voice_server: Server, chat: ChatServer, samples: Samples, tmp_path: Path
) -> None:
    replies = tmp_path / "replies.wav"
    command = [sys.executable, "-m", "kikitori", "talk", "--url", voice_server.url, "--language", "en"]
    files = ["--input", str(samples["en_01"].path), "--input", str(samples["en_02"].path), "--output", str(replies)]
    done = subprocess.run([*command, *files], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {f"you: {samples[name].text}" for name in ("en_01", "en_02")} <= {*lines}, done.stdout
    assert lines.count("agent: Good morning. How are you?") == 2
    with wave.open(str(replies)) as file:
        assert file.getnframes() > 2 * 24_000
    said = [message["role"] for message in chat.requests[-1].body["messages"]]
    assert said == ["system", "user", "assistant", "user"]


def test_the_command_says_what_the_server_refuses(server: Server, samples: Samples) -> None:
    command = [sys.executable, "-m", "kikitori", "talk", "--url", server.url, "--text"]
    done = subprocess.run(
        [*command, "--input", str(samples["en_01"].path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "No language model is set up here." in done.stderr
