"""Rounds of the plain WebSocket: start, binary frames, end."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.protocols.live_line import Line, final, interim, kinds

from kikitori.errors import Busy, InvalidMedia, ModelNotFound
from kikitori.live.events import (
    Cleared,
    CommitRefused,
    Committed,
    Degraded,
    EndReason,
    FinalFailed,
    Lag,
    SpeechStarted,
    SpeechStopped,
)
from kikitori.protocols.actions import Clear, Commit, End, Open, Resume, Send
from kikitori.types import Word

SILENCE = np.zeros(0, np.float32)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def round_(line: Line) -> Line:
    line.send("start", lang="ko-KR")
    line.messages.clear()
    return line


def committed(utterance: int = 1, reason: EndReason = EndReason.COMMIT) -> Committed:
    return Committed(utterance=utterance, start=0, end=16_000, reason=reason, audio=SILENCE)


# A round


def test_a_start_is_answered_with_its_language(line: Line) -> None:
    (system,) = line.send("start", lang="ko-KR")
    assert system["type"] == "system"
    assert system["message"].endswith("recognition started: language - ko-KR")


def test_nothing_is_said_to_have_started_before_the_session_is_there() -> None:
    line = Line(answering=False)
    assert line.send("start", lang="ko-KR") == []
    assert kinds(line.take(line.codec.ready(line.stream, token="t", samples=0, resumed=False))) == ["system"]


def test_binary_frames_go_to_the_session_as_they_come(round_: Line) -> None:
    round_.send_audio(b"\1\2\3")
    round_.send_audio(b"")
    round_.send_audio(b"\4")
    assert round_.fed == [(round_.stream, b"\1\2\3"), (round_.stream, b"\4")]


def test_an_end_waits_for_the_finals_and_then_says_so(round_: Line) -> None:
    assert round_.send("end") == []
    assert round_.of(End) == [End(stream=round_.stream)]
    assert kinds(round_.hear(final("the last words", reason=EndReason.END))) == ["final"]
    assert kinds(round_.end()) == ["ended"]


def test_many_rounds_follow_each_other(line: Line) -> None:
    for number in range(3):
        line.send("start", lang="en-US")
        line.send_audio()
        line.send("end")
        line.hear(final(f"round {number}"))
        line.end()
    assert kinds(line.messages) == ["system", "final", "ended"] * 3


def test_texts_say_where_they_are(round_: Line) -> None:
    (shown,) = round_.hear(interim("hello wor", stable="hello", revision=4))
    assert shown == {
        "type": "interim", "text": "hello wor", "stable": "hello", "revision": 4, "utterance": 1, "start": 0.5,
        "end": 1.5,
    }  # fmt: skip
    (said,) = round_.hear(final("Hello world.", words=[Word(word=" Hello", start=0.5, end=1.0, probability=0.98765)]))
    assert said == {
        "type": "final", "text": "Hello world.", "language": "en", "reason": "pause", "utterance": 1, "start": 0.5,
        "end": 2.0, "words": [{"word": " Hello", "start": 0.5, "end": 1.0, "probability": 0.988}],
    }  # fmt: skip


# A start while one runs


def test_a_start_while_one_runs_ends_it_and_its_finals_come_first(round_: Line) -> None:
    first = round_.stream
    round_.send_audio(b"one")
    assert round_.send("start", lang="ja-JP") == []
    second = round_.stream
    assert [type(action) for action in round_.actions][-2:] == [End, Open]
    round_.send_audio(b"two")
    assert round_.fed == [(first, b"one"), (second, b"two")]
    round_.hear(interim("ni", utterance=1), second)
    assert kinds(round_.hear(final("annyeong"), first)) == ["final"]
    assert kinds(round_.end(first)) == ["ended", "system", "interim"]
    assert kinds(round_.hear(final("nihon"), second)) == ["final"]


def test_a_round_that_is_over_before_the_former_one_waits_with_all_it_said(round_: Line) -> None:
    first = round_.stream
    round_.send("start", lang="ja")
    second = round_.stream
    round_.send("start", lang="en")
    third = round_.stream
    round_.hear(final("third"), third)
    round_.hear(final("second"), second)
    assert round_.end(second) == []
    assert round_.messages == []
    round_.hear(final("first"), first)
    round_.end(first)
    assert [message.get("text", message["type"]) for message in round_.messages] == [
        "first", "ended", "system", "second", "ended", "system", "third",
    ]  # fmt: skip


def test_of_interims_that_wait_only_the_newest_is_kept(round_: Line) -> None:
    first = round_.stream
    round_.send("start", lang="en")
    for revision, text in enumerate(("a", "a b", "a b c")):
        round_.hear(interim(text, revision=revision))
    assert [message.get("text") for message in round_.end(first)] == [None, None, "a b c"]


def test_a_refused_start_leaves_the_round_that_runs(round_: Line) -> None:
    assert kinds(round_.send("start", lang="ko-KR", sample_rate=12)) == ["error"]
    round_.send_audio(b"more")
    assert round_.fed == [(round_.stream, b"more")]
    assert round_.of(End) == []


# Texts once


def test_an_interim_is_sent_only_when_it_differs_from_the_last(round_: Line) -> None:
    texts = ["he", "hello", "hello", "hello there"]
    sent = [round_.hear(interim(text, revision=number)) for number, text in enumerate(texts)]
    assert [len(messages) for messages in sent] == [1, 1, 0, 1]


def test_the_same_words_in_the_next_utterance_are_sent(round_: Line) -> None:
    round_.hear(interim("yes", utterance=1))
    round_.hear(final("yes", utterance=1))
    assert kinds(round_.hear(interim("yes", utterance=2))) == ["interim"]
    assert kinds(round_.hear(final("yes", utterance=2))) == ["final"]


def test_a_final_is_sent_once_for_an_utterance(round_: Line) -> None:
    assert kinds(round_.hear(final("yes"))) == ["final"]
    assert round_.hear(final("yes")) == []


def test_no_interim_follows_the_final_of_its_utterance(round_: Line) -> None:
    round_.hear(final("yes", utterance=1))
    assert round_.hear(interim("ye", utterance=1)) == []


def test_an_empty_final_is_not_sent_and_takes_the_interim_away(round_: Line) -> None:
    assert round_.hear(final("", utterance=1)) == []
    round_.hear(interim("uh", utterance=2))
    (cleared,) = round_.hear(final("", utterance=2))
    assert (cleared["type"], cleared["text"], cleared["utterance"]) == ("interim", "", 2)
    round_.send("end")
    assert kinds(round_.end()) == ["ended"]


def test_an_interim_without_words_is_not_sent_unless_words_were_shown(round_: Line) -> None:
    assert round_.hear(interim("")) == []
    round_.hear(interim("uh"))
    assert [message["text"] for message in round_.hear(interim("", revision=2))] == [""]


def test_interims_can_be_switched_off(line: Line) -> None:
    line.send("start", lang="en", interim=False)
    assert line.of(Open)[0].options.interim is False
    assert line.hear(interim("he")) == []
    assert kinds(line.hear(final("hello"))) == ["final"]


def test_a_slow_reader_gets_the_newest_interim_of_an_utterance_and_every_final(round_: Line) -> None:
    for event in (interim("a"), interim("a b", revision=2), final("a b."), interim("c", utterance=2)):
        round_.hear(event)
    slots = [action.slot for action in round_.of(Send)[1:]]
    assert slots[0] == slots[1] != ""
    assert slots[2] == ""
    assert slots[3] not in ("", slots[0])


# What else a session says


def test_an_utterance_that_failed_is_an_error_and_the_round_goes_on(round_: Line) -> None:
    (error,) = round_.hear(FinalFailed(utterance=3, start=0, end=16_000, code="unavailable", message="No engine."))
    assert (error["type"], error["code"], error["utterance"], error["end"]) == ("error", "unavailable", 3, 1.0)
    assert kinds(round_.hear(final("on", utterance=4))) == ["final"]


def test_a_busy_machine_is_told(round_: Line) -> None:
    assert round_.hear(Lag(seconds=12.34567)) == [{"type": "lag", "seconds": 12.346}]
    assert round_.hear(Degraded(level=2)) == [{"type": "degraded", "level": 2}]


def test_the_edges_of_speech_are_not_told(round_: Line) -> None:
    assert round_.hear(SpeechStarted(utterance=1, start=0)) == []
    assert round_.hear(SpeechStopped(utterance=1, end=16_000)) == []
    assert round_.hear(committed(reason=EndReason.PAUSE)) == []


def test_a_commit_is_answered_after_its_final(round_: Line) -> None:
    round_.send("commit", id="c1")
    assert round_.of(Commit) == [Commit(stream=round_.stream)]
    assert round_.hear(committed()) == []
    said = round_.hear(final("now", reason=EndReason.COMMIT))
    assert kinds(said) == ["final", "committed"]
    assert said[1] == {"type": "committed", "id": "c1", "utterance": 1}


def test_a_commit_of_silence_is_answered_too(round_: Line) -> None:
    round_.send("commit")
    round_.hear(committed())
    assert round_.hear(final("")) == [{"type": "committed", "utterance": 1}]


def test_commits_that_are_refused_keep_their_order(round_: Line) -> None:
    round_.send("commit", id=1)
    round_.send("commit", id=2)
    (refused,) = round_.hear(CommitRefused(samples=12))
    assert (refused["type"], refused["code"], refused["id"]) == ("error", "commit_empty", 1)
    round_.hear(committed(utterance=5))
    assert round_.hear(final("x", utterance=5))[1]["id"] == 2


def test_clear_forgets_the_utterance(round_: Line) -> None:
    round_.hear(interim("oh no"))
    round_.send("clear")
    assert round_.of(Clear) == [Clear(stream=round_.stream)]
    assert round_.hear(Cleared(utterance=1)) == [{"type": "cleared", "utterance": 1}]


# Errors


@pytest.mark.parametrize(
    ("frame", "about"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("NaN", "JSON"),
        ('{"type":"start","sample_rate":NaN}', "JSON"),
        ("[" * 100_000, "JSON"),
        ("7", "object"),
        ("{}", "type"),
        ('{"type":"dance"}', "type"),
        ('{"type":["start"]}', "type"),
        ('{"type":"start","lang":7}', "lang"),
        ('{"type":"start","lang":"klingonese"}', "lang"),
        ('{"type":"start","lang":"ko_!"}', "lang"),
        ('{"type":"start","sample_rate":"fast"}', "sample_rate"),
        ('{"type":"start","sample_rate":true}', "sample_rate"),
        ('{"type":"start","sample_rate":96000}', "sample_rate"),
        ('{"type":"start","sample_rate":1e999}', "sample_rate"),
        ('{"type":"start","encoding":"mp3"}', "encoding"),
        ('{"type":"start","encoding":{}}', "encoding"),
        ('{"type":"start","endpoint_ms":"soon"}', "endpoint_ms"),
        ('{"type":"start","endpoint_ms":5}', "endpoint_ms"),
        ('{"type":"start","endpoint_ms":[500]}', "endpoint_ms"),
        ('{"type":"start","interim":"perhaps"}', "interim"),
        ('{"type":"start","turns":"whenever"}', "turns"),
        ('{"type":"start","prompt":7}', "prompt"),
        ('{"type":"start","task":"sing"}', "task"),
        ('{"type":"start","model":7}', "model"),
        ('{"type":"start","words":"yes"}', "words"),
        ('{"type":"start","record":1}', "record"),
        ('{"type":"start","translate_to":"French, please"}', "translate_to"),
        ('{"type":"start","encoding":"webm-opus","resumable":true}', "resumable"),
        ('{"type":"start","audio_id":""}', "audio_id"),
        ('{"type":"resume"}', "token"),
        ('{"type":"resume","token":""}', "token"),
        ('{"type":"audio","audio_id":"a","content":"%%%"}', "content"),
        ('{"type":"audio","audio_id":"a"}', "content"),
        ('{"type":"end"}', "Send start first"),
        ('{"type":"commit"}', "Send start first"),
        ('{"type":"clear"}', "Send start first"),
        ('{"type":"audio_end","audio_id":"a"}', "no such stream"),
    ],
)
def test_what_is_wrong_is_answered_and_the_socket_goes_on(line: Line, frame: str, about: str) -> None:
    (error,) = line.send_text(frame)
    assert error["type"] == "error"
    assert about in error["message"]
    assert error["code"]
    assert line.of(Open) == []
    assert kinds(line.send("start", lang="en")) == ["system"]


def test_stray_audio_is_told_once(line: Line) -> None:
    assert kinds(line.send_audio()) == ["error"]
    assert line.send_audio() == []
    line.send("start")
    line.send("end")
    line.end()
    assert kinds(line.send_audio()) == ["error"]


def test_a_session_that_cannot_open_is_an_error_and_the_end_of_its_round() -> None:
    line = Line(answering=False)
    line.send("start", model="huge")
    said = line.take(line.codec.failed(ModelNotFound("huge"), line.stream))
    assert kinds(said) == ["error", "ended"]
    assert said[0]["code"] == "model_not_found"
    assert line.closed is None
    assert line.end() == []
    line.answering = True
    assert kinds(line.send("start")) == ["system"]


def test_a_full_server_closes_the_socket() -> None:
    line = Line(answering=False)
    line.send("start")
    said = line.take(line.codec.failed(Busy("Too many sessions.", retry_after=7), line.stream))
    assert said[0]["retry_after"] == 7
    assert line.closed == 1013


def test_a_full_server_leaves_a_socket_on_which_somebody_still_speaks() -> None:
    line = Line()
    line.send_frame("a1")
    line.answering = False
    line.send_frame("a2")
    line.take(line.codec.failed(Busy("Too many sessions."), line.stream))
    assert line.closed is None
    assert line.send_frame("a2") == []


def test_audio_that_cannot_be_read_is_an_error_and_the_round_goes_on(round_: Line) -> None:
    (error,) = round_.take(round_.codec.failed(InvalidMedia("This is no WebM."), round_.stream))
    assert (error["type"], error["param"]) == ("error", "file")
    assert kinds(round_.hear(final("on"))) == ["final"]


def test_an_error_of_the_socket_itself_is_told(line: Line) -> None:
    (error,) = line.take(line.codec.failed(InvalidMedia("The frame is too large.")))
    assert error["type"] == "error"


@pytest.mark.parametrize(("code", "kind"), [(1000, "system"), (1012, "system"), (1008, "error"), (1009, "error")])
def test_a_closing_server_says_why(round_: Line, code: int, kind: str) -> None:
    (said,) = round_.take(round_.codec.closing(code, "No audio for 60 s."))
    assert (said["type"], said["message"]) == (kind, "No audio for 60 s.")


def test_there_is_a_limit_to_rounds_that_are_not_over(line: Line) -> None:
    for _ in range(16):
        line.send("start")
    (error,) = line.send("start")
    assert error["code"] == "rate_limit_exceeded"
    for stream in line.streams:
        line.end(stream)
    assert "system" in kinds(line.send("start"))


def test_what_a_session_says_when_its_round_is_over_goes_nowhere(round_: Line) -> None:
    round_.send("end")
    round_.end()
    assert round_.hear(final("late")) == []
    assert round_.take(round_.codec.received(round_.stream, 5)) == []
    assert round_.take(round_.codec.failed(InvalidMedia("late"), round_.stream)) == []


def test_half_characters_come_back_as_utf_8(line: Line) -> None:
    (error,) = line.send_text(r'{"type":"start","lang":"\ud800"}')
    assert error["type"] == "error"
    line.of(Send)[-1].text.encode()


# Small things


def test_ping_is_answered(line: Line) -> None:
    assert line.send("ping") == [{"type": "pong"}]
    assert line.send("ping", id=7) == [{"type": "pong", "id": 7}]


def test_a_second_key_is_passed_over(round_: Line) -> None:
    assert round_.send("auth", api_key="sk-again") == []
    assert round_.codec.opened() == ()


# Resuming


def test_a_resumable_round_gets_a_token_and_acknowledgements(line: Line) -> None:
    system, session = line.send("start", lang="en", resumable=True)
    assert line.of(Open)[0].resumable
    assert system["type"] == "system"
    assert (session["type"], session["token"], session["samples"]) == ("session", "t-1", 0)
    assert session["session"] not in ("", "t-1")
    assert line.take(line.codec.received(line.stream, 48_000)) == [{"type": "ack", "samples": 48_000}]


def test_other_rounds_get_none(round_: Line) -> None:
    assert round_.take(round_.codec.received(round_.stream, 48_000)) == []


def test_a_lost_session_is_taken_up_and_says_what_may_have_been_missed(line: Line) -> None:
    (resumed,) = line.send("resume", token="t-9")
    assert line.of(Resume) == [Resume(token="t-9", stream=line.stream)]
    assert (resumed["type"], resumed["samples"], resumed["token"]) == ("resumed", 480, "t-9")
    assert [message["utterance"] for message in line.hear(final("missed", utterance=7))] == [7]
    line.send_audio(b"on")
    assert line.fed == [(line.stream, b"on")]
    assert kinds(line.take(line.codec.received(line.stream, 500))) == ["ack"]
    line.send("end")
    assert kinds(line.end()) == ["ended"]


def test_a_session_keeps_its_name_when_it_is_taken_up() -> None:
    first, second = Line(), Line()
    opened = first.send("start", resumable=True)[1]
    resumed = second.send("resume", token=opened["token"])[0]
    assert resumed["session"] == opened["session"]


def test_nothing_is_taken_up_beside_a_round_that_runs(round_: Line) -> None:
    assert kinds(round_.send("resume", token="t-9")) == ["error"]
    assert round_.of(Resume) == []


def test_a_token_that_is_no_more_is_an_error() -> None:
    line = Line(answering=False)
    line.send("resume", token="old")
    said = line.take(line.codec.failed(ModelNotFound("x"), line.stream))
    assert kinds(said) == ["error", "ended"]
