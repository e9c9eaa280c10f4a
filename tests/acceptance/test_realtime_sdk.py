"""OpenAI's Realtime protocol over a real socket, with the SDK's own client."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openai.types.realtime import RealtimeSessionCreateRequest, RealtimeTranscriptionSessionCreateRequest
from tests.realtime_sdk import BUFFER, RATE, SECONDS, TRANSCRIPTION, WHISPER, listening, silence, speech, talking, types
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode

from kikitori.audio.pcm import Encoding
from kikitori.testing import until

if TYPE_CHECKING:
    from tests.conftest import Sample
    from tests.servers import Server

Samples = Mapping[str, "Sample"]

COMMITTED = [f"{BUFFER}committed", "conversation.item.added", "conversation.item.done"]
DELTA, COMPLETED = f"{TRANSCRIPTION}delta", f"{TRANSCRIPTION}completed"
VAD: Any = {"type": "server_vad", "silence_duration_ms": 500}
PATIENT: Any = {"type": "server_vad", "silence_duration_ms": 10_000}
HELLO: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}


@pytest.fixture
def said(samples: Samples) -> bytes:
    """Two seconds of English."""
    return speech(samples["en_01"].path)


@pytest.fixture
def text(samples: Samples) -> str:
    return samples["en_01"].text


# Sessions ----------------------------------------------------------------------------------------------------------


async def test_a_transcription_session_is_there_before_the_client_speaks(server: Server) -> None:
    async with talking(server.url) as talk:
        created = await talk.next()
        assert created.type == "session.created"
        assert isinstance(created.session, RealtimeTranscriptionSessionCreateRequest)
        session: Any = created.session
        assert session.type == "transcription"
        assert session.id.startswith("sess_")
        detection = session.audio.input.turn_detection
        assert (detection.type, detection.threshold, detection.prefix_padding_ms) == ("server_vad", 0.5, 300)
        assert detection.silence_duration_ms == 200


async def test_a_conversation_has_a_voice(server: Server) -> None:
    async with talking(server.url, model="gpt-realtime") as talk:
        session = (await talk.next()).session
        assert isinstance(session, RealtimeSessionCreateRequest)
        assert session.output_modalities == ["audio"]
        assert session.audio is not None
        assert session.audio.output is not None
        assert session.audio.output.voice


async def test_an_update_shows_what_was_asked_and_all_defaults(server: Server) -> None:
    async with talking(server.url) as talk:
        first = (await talk.next()).session
        session = await talk.update(transcription=WHISPER)
        heard = session.audio.input
        assert (heard.transcription.model, heard.transcription.language) == ("whisper-1", "en")
        assert heard.turn_detection == first.audio.input.turn_detection
        assert heard.format == first.audio.input.format


async def test_a_second_update_keeps_what_it_does_not_name(server: Server) -> None:
    async with listening(server.url) as talk:
        heard = (await talk.update(noise_reduction={"type": "near_field"})).audio.input
        assert heard.noise_reduction.type == "near_field"
        assert (heard.transcription.model, heard.transcription.language) == ("whisper-1", "en")
        assert heard.turn_detection is None


async def test_an_update_without_its_type_is_refused(server: Server) -> None:
    async with talking(server.url) as talk:
        await talk.next()
        await talk.send(type="session.update", session={})
        error = await talk.error()
        assert (error.code, error.param) == ("missing_required_parameter", "session.type")
        await talk.update(turn_detection=None)


async def test_an_unknown_key_changes_nothing(server: Server) -> None:
    async with listening(server.url) as talk:
        await talk.send(
            type="session.update",
            event_id="e1",
            session={"type": "transcription", "audio": {"input": {"turn_detection": VAD, "volume": 11}}},
        )
        error = await talk.error()
        assert (error.code, error.param, error.event_id) == ("unknown_parameter", "session.audio.input.volume", "e1")
        assert await talk.fence() == []
        assert (await talk.update()).audio.input.turn_detection is None


async def test_the_id_of_a_successful_event_is_not_echoed(server: Server) -> None:
    async with talking(server.url) as talk:
        await talk.next()
        await talk.send(type="session.update", event_id="the id of my event", session={"type": "transcription"})
        assert "the id of my event" not in json.dumps((await talk.next()).to_dict())


async def test_frames_without_sense_leave_the_socket_alive(server: Server) -> None:
    async with talking(server.url) as talk:
        await talk.next()
        await talk.send(type="nope")
        error = await talk.error()
        assert (error.code, error.param) == ("invalid_value", "type")
        await talk.connection.send_raw("not json")
        assert (await talk.error()).code == "invalid_json"
        await talk.connection.send_raw(b"\x00")
        assert (await talk.error()).code == "invalid_event"
        await talk.update(turn_detection=None)


@pytest.mark.parametrize("eagerness", ["low", "medium", "high", "auto"])
async def test_every_eagerness_is_taken(server: Server, eagerness: str) -> None:
    async with talking(server.url) as talk:
        await talk.next()
        detection = {"type": "semantic_vad", "eagerness": eagerness}
        assert (await talk.update(turn_detection=detection)).audio.input.turn_detection.eagerness == eagerness


# Manual turns ------------------------------------------------------------------------------------------------------


async def test_appending_is_not_answered(server: Server, said: bytes) -> None:
    async with listening(server.url) as talk:
        await talk.say(said)
        assert await talk.fence() == []


async def test_a_manual_turn_in_its_order(server: Server, said: bytes, text: str) -> None:
    async with listening(server.url) as talk:
        await talk.say(said)
        await talk.commit()
        events = await talk.until(COMPLETED)
        assert types(events[:3]) == COMMITTED
        assert set(types(events[3:-1])) == {DELTA}
        assert {event.item_id if hasattr(event, "item_id") else event.item.id for event in events} == {
            events[0].item_id
        }
        assert {event.content_index for event in events[3:]} == {0}
        assert events[-1].transcript == text
        assert "".join(event.delta for event in events[3:-1]) == text
        assert (events[-1].usage.type, events[-1].usage.seconds) == ("duration", pytest.approx(len(said) / 48_000, 0.1))


async def test_an_empty_buffer_cannot_be_committed(server: Server) -> None:
    async with listening(server.url) as talk:
        await talk.commit()
        assert (await talk.error()).code == "input_audio_buffer_commit_empty"
        assert await talk.fence() == []


async def test_fifty_milliseconds_are_too_few_and_are_kept(server: Server) -> None:
    async with listening(server.url) as talk:
        await talk.say(silence(0.05))
        await talk.commit()
        error = await talk.error()
        assert error.code == "input_audio_buffer_commit_empty"
        assert "100 ms" in error.message
        await talk.say(silence(0.06))
        await talk.commit()
        assert types(await talk.until(COMPLETED))[:3] == COMMITTED


async def test_items_follow_each_other(server: Server, said: bytes) -> None:
    async with listening(server.url) as talk:
        commits = []
        for _ in range(2):
            await talk.say(said)
            await talk.commit()
            commits.append((await talk.until(COMPLETED))[0])
        assert commits[0].previous_item_id is None
        assert commits[1].previous_item_id == commits[0].item_id


async def test_clearing_empties_the_buffer(server: Server, said: bytes) -> None:
    async with listening(server.url) as talk:
        await talk.connection.input_audio_buffer.clear()
        assert (await talk.next()).type == f"{BUFFER}cleared"
        await talk.say(said)
        await talk.connection.input_audio_buffer.clear()
        assert (await talk.next()).type == f"{BUFFER}cleared"
        await talk.commit()
        assert (await talk.error()).code == "input_audio_buffer_commit_empty"


async def test_silence_has_no_text(server: Server) -> None:
    async with listening(server.url) as talk:
        await talk.say(silence(1))
        await talk.commit()
        events = await talk.until(COMPLETED)
        assert types(events) == [*COMMITTED, COMPLETED]
        assert events[-1].transcript == ""


async def test_what_is_no_base64_leaves_the_buffer_as_it_was(server: Server, said: bytes, text: str) -> None:
    async with listening(server.url) as talk:
        await talk.say(said)
        await talk.connection.input_audio_buffer.append(audio="not base64!")
        assert (await talk.error()).param == "audio"
        await talk.commit()
        assert await talk.transcript() == text


async def test_audio_may_be_cut_anywhere(server: Server, said: bytes, text: str) -> None:
    async with listening(server.url) as talk:
        await talk.say(*(said[at : at + 4_801] for at in range(0, len(said), 4_801)))
        await talk.commit()
        assert await talk.transcript() == text


async def test_telephone_audio_gives_the_same_text(server: Server, samples: Samples, text: str) -> None:
    async with listening(server.url, format={"type": "audio/pcmu"}) as talk:
        await talk.say(speech(samples["en_01"].path, 8_000, Encoding.MULAW))
        await talk.commit()
        assert SequenceMatcher(None, await talk.transcript(), text).ratio() > 0.6


async def test_large_messages_are_taken_and_too_large_ones_refused(server: Server) -> None:
    async with listening(server.url) as talk:
        await talk.say(bytes(14 * 1024 * 1024))
        await talk.say(bytes(15 * 1024 * 1024 + 2))
        assert (await talk.error()).param == "audio"
        await talk.connection.input_audio_buffer.clear()
        assert (await talk.next()).type == f"{BUFFER}cleared"


# Turns by voice activity -----------------------------------------------------------------------------------------


async def test_a_turn_by_voice_activity_in_its_order(server: Server, said: bytes, text: str) -> None:
    async with listening(server.url, turn_detection=VAD) as talk:
        await talk.say(silence(1), said, silence(1))
        events = await talk.until(COMPLETED)
        steps = [event for event in events if event.type != DELTA]
        assert types(steps) == [f"{BUFFER}speech_started", f"{BUFFER}speech_stopped", *COMMITTED, COMPLETED]
        started, stopped, committed = steps[:3]
        assert started.item_id == stopped.item_id == committed.item_id
        sent_ms = (2 + len(said) / 2 / RATE) * 1_000
        assert 0 <= started.audio_start_ms < stopped.audio_end_ms <= sent_ms
        assert events[-1].transcript == text
        assert "".join(event.delta for event in events if event.type == DELTA) == text


async def test_speech_starts_its_padding_before_the_first_sound(server: Server, samples: Samples, said: bytes) -> None:
    onset_ms = 1_000 + samples["en_01"].facts["segments"][0]["start"] * 1_000
    async with listening(server.url, turn_detection={**VAD, "prefix_padding_ms": 300}) as talk:
        await talk.say(silence(1), said, silence(1))
        started = await talk.next()
        assert started.audio_start_ms == pytest.approx(onset_ms - 300, abs=150)


async def test_at_the_very_beginning_there_is_nothing_before(server: Server, said: bytes) -> None:
    async with listening(server.url, turn_detection={**VAD, "prefix_padding_ms": 1_000}) as talk:
        await talk.say(said, silence(1))
        assert (await talk.next()).audio_start_ms == 0


async def test_the_silence_that_ends_a_turn_is_as_long_as_was_asked(server: Server, said: bytes) -> None:
    ends = []
    for patience in (200, 1_000):
        detection = {"type": "server_vad", "silence_duration_ms": patience}
        async with listening(server.url, turn_detection=detection) as talk:
            await talk.say(silence(1), said, silence(2))
            ends.append((await talk.until(f"{BUFFER}speech_stopped"))[-1].audio_end_ms)
    assert ends[1] - ends[0] == pytest.approx(800, abs=100)


async def test_two_utterances_are_two_items_on_one_clock(server: Server, said: bytes) -> None:
    async with listening(server.url, turn_detection=VAD) as talk:
        await talk.say(silence(1), said, silence(1), said, silence(1))
        events = await talk.until(COMPLETED, times=2)
        starts = [event for event in events if event.type == f"{BUFFER}speech_started"]
        commits = [event for event in events if event.type == f"{BUFFER}committed"]
        assert [commit.item_id for commit in commits] == [start.item_id for start in starts]
        assert commits[1].previous_item_id == commits[0].item_id
        apart_ms = (1 + len(said) / 2 / RATE) * 1_000
        assert starts[1].audio_start_ms - starts[0].audio_start_ms == pytest.approx(apart_ms, abs=150)


async def test_without_turn_detection_nobody_says_that_speech_started(server: Server, said: bytes) -> None:
    async with listening(server.url) as talk:
        await talk.say(silence(1), said, silence(1))
        await talk.commit()
        assert not {f"{BUFFER}speech_started", f"{BUFFER}speech_stopped"} & set(types(await talk.until(COMPLETED)))


async def test_a_commit_while_somebody_speaks(server: Server, said: bytes) -> None:
    async with listening(server.url, turn_detection=PATIENT) as talk:
        await talk.say(silence(1), said)
        started = (await talk.until(f"{BUFFER}speech_started"))[-1]
        await talk.commit()
        events = await talk.until(COMPLETED)
        assert f"{BUFFER}speech_stopped" not in types(events)
        assert [event.item_id for event in events if event.type == f"{BUFFER}committed"] == [started.item_id]


async def test_a_commit_after_an_automatic_one_finds_nothing(server: Server, said: bytes) -> None:
    async with listening(server.url, turn_detection=VAD) as talk:
        await talk.say(silence(1), said, silence(1))
        await talk.until(COMPLETED)
        await talk.commit()
        assert (await talk.error()).code == "input_audio_buffer_commit_empty"
        assert await talk.fence() == []


async def test_clearing_while_somebody_speaks_forgets_the_turn(server: Server, said: bytes) -> None:
    async with listening(server.url, turn_detection=PATIENT) as talk:
        await talk.say(silence(1), said)
        forgotten = (await talk.until(f"{BUFFER}speech_started"))[-1].item_id
        await talk.connection.input_audio_buffer.clear()
        await talk.until(f"{BUFFER}cleared")
        await talk.update(turn_detection=VAD)
        await talk.say(silence(1), said, silence(1))
        events = await talk.until(COMPLETED)
        assert forgotten not in {getattr(event, "item_id", "") for event in events}


async def test_without_transcription_turns_are_items_without_text(server: Server, said: bytes) -> None:
    async with talking(server.url) as talk:
        await talk.next()
        await talk.say(silence(1), said, silence(1))
        events = await talk.until("conversation.item.done")
        assert types(events) == [f"{BUFFER}speech_started", f"{BUFFER}speech_stopped", *COMMITTED]
        await talk.update(transcription=WHISPER)
        await talk.say(said, silence(1))
        assert events[2].item_id not in {getattr(event, "item_id", "") for event in await talk.until(COMPLETED)}


async def test_semantic_turns_end_too(server: Server, said: bytes, text: str) -> None:
    async with listening(server.url, turn_detection={"type": "semantic_vad", "eagerness": "high"}) as talk:
        await talk.say(silence(1), said, silence(4))
        assert await talk.transcript() == text


async def test_words_come_while_somebody_speaks(server: Server, samples: Samples) -> None:
    """More than one delta, the first ones before the end of the turn."""
    async with listening(server.url, turn_detection=PATIENT) as talk:
        recording = speech(samples["en_multi_40s"].path)[: 15 * 2 * RATE]
        for at in range(0, len(recording), RATE):
            await talk.say(recording[at : at + RATE])
        await talk.until(DELTA)
        await talk.commit()
        events = await talk.until(COMPLETED)
        assert f"{BUFFER}committed" in types(events)
        deltas = "".join(event.delta for event in talk.events if event.type == DELTA)
        assert events[-1].transcript
        assert deltas[:10] == events[-1].transcript[:10]


# How sure ----------------------------------------------------------------------------------------------------------


async def test_logprobs_where_they_are_asked_for(server: Server, said: bytes) -> None:
    async with listening(server.url) as talk:
        await talk.update({"include": ["item.input_audio_transcription.logprobs"]})
        await talk.say(said)
        await talk.commit()
        completed = (await talk.until(COMPLETED))[-1]
        assert completed.logprobs
        assert all(entry.token and entry.logprob <= 0 and entry.bytes for entry in completed.logprobs)
        await talk.update({"include": None})
        await talk.say(said)
        await talk.commit()
        assert not (await talk.until(COMPLETED))[-1].logprobs


# Items -----------------------------------------------------------------------------------------------------------


async def test_items_are_put_where_they_belong(server: Server) -> None:
    async with talking(server.url) as talk:
        await talk.next()
        create = talk.connection.conversation.item.create
        ids = []
        for previous in ("", "root"):
            await create(item=HELLO, previous_item_id=previous)
            added, done = await talk.next(), await talk.next()
            assert types([added, done]) == COMMITTED[1:]
            assert done.previous_item_id is None
            ids.append(done.item.id)
        await create(item=HELLO, previous_item_id=ids[0])
        assert [(await talk.next()).previous_item_id for _ in range(2)] == [ids[0]] * 2
        await create(item=HELLO, previous_item_id="nobody")
        assert (await talk.error()).param == "previous_item_id"
        assert await talk.fence() == []


async def test_a_committed_item_is_retrieved_with_its_audio(server: Server, said: bytes) -> None:
    async with listening(server.url) as talk:
        await talk.say(said)
        await talk.commit()
        item = (await talk.until(COMPLETED))[0].item_id
        await talk.connection.conversation.item.retrieve(item_id=item)
        retrieved = await talk.next()
        assert retrieved.type == "conversation.item.retrieved"
        part = retrieved.item.content[0]
        assert part.transcript
        assert len(base64.b64decode(part.audio)) == pytest.approx(len(said), rel=0.05)
        assert len(json.dumps(retrieved.to_dict())) < 1_048_576


async def test_items_are_deleted_once(server: Server) -> None:
    async with talking(server.url) as talk:
        await talk.next()
        items = talk.connection.conversation.item
        await items.create(item=HELLO)
        item = (await talk.until("conversation.item.done"))[-1].item.id
        await items.delete(item_id=item)
        assert (await talk.next()).item_id == item
        await items.retrieve(item_id=item)
        assert (await talk.error()).code == "item_retrieve_invalid_item_id"
        await items.delete(item_id=item)
        assert (await talk.error()).code == "item_delete_invalid_item_id"


async def test_what_the_user_said_cannot_be_truncated(server: Server, said: bytes) -> None:
    async with listening(server.url) as talk:
        await talk.say(said)
        await talk.commit()
        item = (await talk.until(COMPLETED))[0].item_id
        await talk.connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=100)
        assert (await talk.error()).code == "unsupported_content_type"
        await talk.update(turn_detection=None)


async def test_there_is_no_reply_to_cancel(server: Server) -> None:
    async with talking(server.url, model="gpt-realtime") as talk:
        await talk.next()
        await talk.connection.response.cancel()
        assert (await talk.error()).code == "response_cancel_not_active"
        assert await talk.fence() == []


# Life ------------------------------------------------------------------------------------------------------------


async def test_a_model_that_does_not_load_fails_its_items_and_nothing_else(
    server_with_broken_model: Server, said: bytes, text: str
) -> None:
    async with listening(server_with_broken_model.url, transcription={"model": "broken"}) as talk:
        await talk.say(said)
        await talk.commit()
        events = await talk.until(f"{TRANSCRIPTION}failed")
        assert types(events) == [*COMMITTED, f"{TRANSCRIPTION}failed"]
        assert events[-1].item_id == events[0].item_id
        assert events[-1].error.message
        assert await talk.fence() == []
        await talk.update(transcription=WHISPER)
        await talk.say(said)
        await talk.commit()
        assert await talk.transcript() == text


class Watched(ClientConnection):
    """Counts what comes. Pings are answered by the library."""

    pings = frames = 0

    def process_event(self, event: Any) -> None:
        self.frames += 1
        self.pings += isinstance(event, Frame) and event.opcode is Opcode.PING
        super().process_event(event)


async def test_a_quiet_connection_lives_on_and_so_does_one_to_a_busy_machine(
    server: Server, samples: Samples, said: bytes, text: str
) -> None:
    """The server asks after 20 s without a word whether the client is there, and answers while it decodes."""
    quiet: Any = {"create_connection": Watched, "ping_interval": None}
    query = {"extra_query": {"intent": "transcription"}, "websocket_connection_options": quiet}
    async with talking(server.url, **query) as talk, httpx.AsyncClient(base_url=server.url, timeout=300) as client:
        await talk.next()
        await talk.update(transcription=WHISPER, turn_detection=None)
        socket: Any = talk.connection._connection
        pings, frames = socket.pings, socket.frames
        await until(lambda: socket.pings > pings, seconds=SECONDS)
        assert socket.frames == frames + 1, "nothing else was said meanwhile"
        recording = samples["en_multi_80s"].path.read_bytes()
        post = [client.post("/v1/audio/transcriptions", files={"file": recording}) for _ in range(3)]
        work = asyncio.gather(*post)
        answered = 0
        while not work.done():
            async with asyncio.timeout(SECONDS):
                await (await socket.ping())
            answered += 1
            await asyncio.wait([work], timeout=0.2)
        assert answered > 1
        assert {answer.status_code for answer in await work} == {200}
        await talk.say(said)
        await talk.commit()
        assert await talk.transcript() == text


# The embedded engine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detection", [None, VAD], ids=["manual", "vad"])
async def test_the_embedded_engine_listens_too(pocketsphinx_server: Server, hello_wav: Path, detection: Any) -> None:
    async with listening(pocketsphinx_server.url, turn_detection=detection) as talk:
        await talk.say(silence(1), speech(hello_wav), silence(1))
        if detection is None:
            await talk.commit()
        events = await talk.until(COMPLETED)
        assert "hello" in events[-1].transcript
        assert any(event.delta for event in events if event.type == DELTA)


async def test_a_language_that_the_model_does_not_know_is_refused_and_nothing_changes(
    pocketsphinx_server: Server,
) -> None:
    async with listening(pocketsphinx_server.url) as talk:
        await talk.ask(transcription={"model": "whisper-1", "language": "ja"})
        error = await talk.error()
        assert error.code == "unsupported_value"
        assert error.param == "session.audio.input.transcription.language"
        assert await talk.fence() == []
        assert (await talk.update()).audio.input.transcription.language == "en"
