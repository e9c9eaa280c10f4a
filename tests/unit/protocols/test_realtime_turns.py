"""What is said in a Realtime session, from the first sound to the text."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from tests.unit.protocols.realtime_client import (
    LISTENING,
    Client,
    committed,
    error,
    final,
    interim,
    samples,
    started,
    stopped,
    types,
)

from kikitori.live.events import Cleared, CommitRefused, Degraded, EndReason, FinalFailed, Lag
from kikitori.protocols.actions import Clear, Commit, Feed
from kikitori.types import Segment, Word

MANUAL = {**LISTENING, "turn_detection": None}
COMMITTED = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
LOGPROBS = ["item.input_audio_transcription.logprobs"]


def test_a_turn_of_server_vad_in_its_order() -> None:
    client = Client(listening=LISTENING)
    said = client.hear(started(at=0.7), stopped(at=2.5), committed(), final("hello there"))
    assert types(said) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        *COMMITTED,
        "delta",
        "completed",
    ]
    assert said[0]["audio_start_ms"] == 700
    assert said[1]["audio_end_ms"] == 2_500
    ids = {event["item_id"] if "item_id" in event else event["item"]["id"] for event in said}
    assert len(ids) == 1
    assert said[-1]["transcript"] == "hello there"
    assert said[-1]["usage"] == {"type": "duration", "seconds": 2.0}
    assert said[-1]["languages"] == [{"code": "en"}]
    assert [event["content_index"] for event in said if "content_index" in event] == [0, 0]


def test_the_committed_item_is_a_user_message_with_audio() -> None:
    added, done = Client(listening=LISTENING).hear(committed())[1:]
    assert (
        added["item"]
        == done["item"]
        == {
            "id": added["item"]["id"],
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_audio", "transcript": None}],
        }
    )


def test_deltas_are_how_the_stable_text_grows() -> None:
    client = Client(listening=LISTENING)
    said = client.hear(
        started(),
        interim("", tail=" hello"),
        interim(" hello", tail=" their"),
        interim(" hello", tail=" there"),
        interim(" hello there"),
        stopped(),
        committed(),
        interim(" hello there my"),
        final("hello there my friend"),
    )
    deltas = [event["delta"] for event in said if event["type"].endswith(".delta")]
    assert deltas == ["hello", " there", " my", " friend"]
    assert "".join(deltas) == said[-1]["transcript"]


def test_a_revision_is_seen_in_the_whole_alone() -> None:
    client = Client(listening=LISTENING)
    said = client.hear(started(), interim(" wreck a nice"), stopped(), committed(), final("recognise speech"))
    assert [event["delta"] for event in said if event["type"].endswith(".delta")] == ["wreck a nice"]
    assert said[-1]["transcript"] == "recognise speech"


@pytest.mark.parametrize(
    ("stable", "text", "deltas"),
    [
        (" hello ", "hello", ["hello "]),
        (" hello ", "hello there", ["hello ", "there"]),
        ("聞き", "聞き取り", ["聞き", "取り"]),
        ("", "one", ["one"]),
        (" same", "same", ["same"]),
        ("", "", []),
    ],
)
def test_the_rest_comes_as_one_delta(stable: str, text: str, deltas: list[str]) -> None:
    said = Client(listening=LISTENING).hear(started(), interim(stable), committed(), final(text))
    assert [event["delta"] for event in said if event["type"].endswith(".delta")] == deltas
    assert said[-1]["transcript"] == text


def test_silence_is_an_empty_transcript() -> None:
    said = Client(listening=MANUAL).hear(committed(reason=EndReason.COMMIT), final("", language=""))
    assert types(said) == [*COMMITTED, "completed"]
    assert said[-1]["transcript"] == ""
    assert "languages" not in said[-1]


def test_a_manual_turn_says_nothing_before_its_commit() -> None:
    client = Client(listening=MANUAL)
    assert client.append(bytes(48_000)) == []
    assert client.hear(interim(" hello")) == []
    assert client.send("input_audio_buffer.commit") == []
    assert client.wishes[-2:] == [Feed(data=bytes(48_000)), Commit()]
    said = client.hear(committed(reason=EndReason.COMMIT), final("hello there"))
    assert types(said) == [*COMMITTED, "delta", "delta", "completed"]


def test_items_know_the_one_before() -> None:
    client = Client(listening=MANUAL)
    first, second = client.hear(committed(0))[0], client.hear(committed(1))[0]
    assert first["previous_item_id"] is None
    assert second["previous_item_id"] == first["item_id"]


def test_turns_may_overlap_and_keep_their_items() -> None:
    client = Client(listening=LISTENING)
    said = client.hear(
        started(0), committed(0), started(1), interim(" two", 1), final("one", 0), committed(1), final("two", 1)
    )
    wholes = {event["item_id"]: event["transcript"] for event in said if event["type"].endswith(".completed")}
    starts = [event["item_id"] for event in said if event["type"].endswith("speech_started")]
    assert [wholes[item] for item in starts] == ["one", "two"]


def test_a_commit_while_somebody_speaks_keeps_the_announced_item() -> None:
    client = Client(listening=LISTENING)
    [announced] = client.hear(started())
    client.send("input_audio_buffer.commit")
    said = client.hear(committed(reason=EndReason.COMMIT))
    assert types(said) == COMMITTED
    assert said[0]["item_id"] == announced["item_id"]


def test_a_commit_of_too_little_is_refused_with_how_much_there_is() -> None:
    client = Client(listening=MANUAL)
    client.send("input_audio_buffer.commit", event_id="first")
    client.send("input_audio_buffer.commit", event_id="second")
    client.hear(committed(reason=EndReason.COMMIT))
    [refused] = client.hear(CommitRefused(samples=samples(0.05)))
    assert error([refused]) == ("input_audio_buffer_commit_empty", None)
    assert "100 ms" in refused["error"]["message"]
    assert "50.00 ms" in refused["error"]["message"]
    assert refused["error"]["event_id"] == "second"


def test_clearing_is_always_answered_and_forgets_the_turn() -> None:
    client = Client(listening=LISTENING)
    client.hear(started(0), interim(" gone", 0))
    assert client.send("input_audio_buffer.clear") == []
    assert client.wishes[-1] == Clear()
    assert types(client.hear(Cleared(utterance=0))) == ["input_audio_buffer.cleared"]
    assert types(client.hear(Cleared(utterance=None))) == ["input_audio_buffer.cleared"]
    assert client.hear(final("gone", 0)) == []


def test_without_transcription_turns_are_committed_and_not_written() -> None:
    client = Client()
    said = client.hear(started(), interim(" hello"), stopped(), committed(), final("hello"))
    assert types(said) == ["input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", *COMMITTED]


def test_a_failure_is_told_once_for_its_item() -> None:
    client = Client(listening=LISTENING)
    [added] = client.hear(committed())[1:2]
    failed = client.hear(FinalFailed(utterance=0, start=0, end=1, code="model_load_failed", message="No memory."))
    assert types(failed) == ["failed"]
    assert failed[0]["item_id"] == added["item"]["id"]
    assert failed[0]["error"] == {
        "type": "transcription_error",
        "code": "model_load_failed",
        "message": "No memory.",
        "param": None,
    }
    assert client.hear(final("late")) == []


def test_what_the_machine_says_of_itself_is_not_for_clients() -> None:
    assert Client().hear(Degraded(level=2), Lag(seconds=3.0)) == []


# How sure -------------------------------------------------------------------------------------------------------


def test_logprobs_of_words() -> None:
    client = Client()
    client.update({"audio": {"input": LISTENING}, "include": LOGPROBS})
    words = (
        Word(word=" hé", start=0, end=1, probability=0.5),
        Word(word=" you", start=1, end=2, probability=1.0),
        Word(word=" there", start=2, end=3, probability=0.0),
    )
    delta, whole = client.hear(committed(), final("hé you there", words=words))[-2:]
    assert delta["logprobs"] == whole["logprobs"]
    assert [entry["token"] for entry in whole["logprobs"]] == [" hé", " you", " there"]
    assert whole["logprobs"][0]["bytes"] == list(" hé".encode())
    assert whole["logprobs"][0]["logprob"] == pytest.approx(-0.693, abs=0.001)
    assert all(entry["logprob"] <= 0 for entry in whole["logprobs"])


def test_logprobs_of_segments_where_words_have_none() -> None:
    client = Client()
    client.update({"audio": {"input": LISTENING}, "include": LOGPROBS})
    segments = (Segment(id=0, start=0, end=1, text=" hello", avg_logprob=-0.25),)
    whole = client.hear(committed(), final("hello", segments=segments))[-1]
    assert whole["logprobs"] == [{"token": " hello", "logprob": -0.25, "bytes": list(b" hello")}]


def test_no_logprobs_unless_they_are_asked_for() -> None:
    words = (Word(word=" hello", start=0, end=1, probability=0.5),)
    said = Client(listening=LISTENING).hear(committed(), final("hello", words=words))
    assert [event["logprobs"] for event in said if "logprobs" in event] == [None, None]


# Audio -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        (None, "missing_required_parameter"),
        (7, "invalid_value"),
        ("", "invalid_value"),
        ("no base64!", "invalid_value"),
        ("AAA", "invalid_value"),
        ("é" * 8, "invalid_value"),
    ],
)
def test_bad_audio_is_refused_and_the_buffer_kept(audio: object, code: str) -> None:
    client = Client(listening=MANUAL)
    client.append(bytes(480))
    before = len(client.wishes)
    fields = {} if audio is None else {"audio": audio}
    assert error(client.send("input_audio_buffer.append", **fields)) == (code, "audio")
    assert len(client.wishes) == before


def test_fifteen_mebibytes_are_taken_and_more_is_not() -> None:
    client = Client(listening=MANUAL)
    largest = 15 * 1024 * 1024
    assert client.append(bytes(largest)) == []
    assert client.wishes[-1] == Feed(data=bytes(largest))
    assert error(client.append(bytes(largest + 1))) == ("string_above_max_length", "audio")
    assert error(client.append(bytes(largest + 3))) == ("string_above_max_length", "audio")


def test_audio_is_passed_on_as_it_comes() -> None:
    client = Client(listening=MANUAL)
    for data in (b"\x01", b"\x02\x03", b"\x04"):
        client.append(data)
    assert [wish.data for wish in client.wishes if isinstance(wish, Feed)] == [b"\x01", b"\x02\x03", b"\x04"]


def test_a_committed_item_can_be_listened_to_again() -> None:
    client = Client(listening=LISTENING)
    committed_event = client.hear(committed(seconds=2.0), final("beep"))[0]
    [retrieved] = client.send("conversation.item.retrieve", item_id=committed_event["item_id"])
    part = retrieved["item"]["content"][0]
    assert part["transcript"] == "beep"
    heard = np.frombuffer(base64.b64decode(part["audio"]), "<i2")
    assert len(heard) == 2 * 24_000
    spectrum = np.abs(np.fft.rfft(heard.astype(float)))
    assert spectrum.argmax() / 2.0 == pytest.approx(440, abs=1)


@pytest.mark.parametrize("name", ["audio/pcmu", "audio/pcma"])
def test_it_is_in_the_format_of_the_session(name: str) -> None:
    client = Client(listening={**LISTENING, "format": {"type": name}})
    item = client.hear(committed(seconds=2.0))[0]["item_id"]
    [retrieved] = client.send("conversation.item.retrieve", item_id=item)
    assert len(base64.b64decode(retrieved["item"]["content"][0]["audio"])) == 2 * 8_000


def test_of_long_audio_as_much_is_sent_as_an_event_can_hold() -> None:
    client = Client(listening=MANUAL)
    item = client.hear(committed(seconds=100.0), final("long " * 1_000))[0]["item_id"]
    [retrieved] = client.send("conversation.item.retrieve", item_id=item)
    assert 900_000 < len(json.dumps(retrieved)) < 1_048_576
    data = base64.b64decode(retrieved["item"]["content"][0]["audio"])
    assert len(data) % 2 == 0


def test_old_audio_is_forgotten_before_memory_runs_out() -> None:
    client = Client(listening=MANUAL)
    half_a_minute = np.zeros(30 * 16_000, np.float32)
    items = [client.hear(committed(number, audio=half_a_minute))[0]["item_id"] for number in range(7)]
    first, *_, last = [client.send("conversation.item.retrieve", item_id=item)[0]["item"] for item in items]
    assert "audio" not in first["content"][0]
    assert "audio" in last["content"][0]
