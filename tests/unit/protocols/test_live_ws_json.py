"""JSON audio frames of the plain WebSocket: several streams at once."""

from __future__ import annotations

import base64

import pytest
from tests.unit.protocols.live_line import Line, final, interim, kinds

from kikitori.errors import ModelNotFound
from kikitori.protocols.actions import Clear, Commit, End, Open


@pytest.fixture
def line() -> Line:
    return Line()


def test_the_first_frame_opens_a_stream_and_the_answers_carry_its_name(line: Line) -> None:
    assert [message["audio_id"] for message in line.send_frame("a1", b"one")] == ["a1"]
    assert line.fed == [(line.stream, b"one")]
    assert [message["audio_id"] for message in line.hear(interim("h"))] == ["a1"]
    assert [message["audio_id"] for message in line.hear(final("hi"))] == ["a1"]
    assert line.send("audio_end", audio_id="a1") == []
    assert line.of(End) == [End(stream=line.stream)]
    assert line.end() == [{"type": "ended", "audio_id": "a1"}]


def test_several_streams_are_heard_side_by_side(line: Line) -> None:
    line.send_frame("a1", b"1")
    line.send_frame(2, b"2")
    line.send_frame("a1", b"3")
    one, two = line.streams
    assert line.fed == [(one, b"1"), (two, b"2"), (one, b"3")]
    assert line.hear(final("two"), two)[0]["audio_id"] == 2
    assert line.hear(final("one"), one)[0]["audio_id"] == "a1"


def test_the_round_that_waits_for_audio_becomes_the_first_stream(line: Line) -> None:
    line.send("start", lang="ko-KR")
    line.send_frame("a1")
    assert len(line.of(Open)) == 1
    assert line.hear(final("annyeong"))[0]["audio_id"] == "a1"


def test_streams_listen_as_the_start_before_them_says(line: Line) -> None:
    line.send("start", lang="ko-KR", endpoint_ms=300)
    line.send_frame("a1")
    line.send_frame("a2")
    assert [(o.options.decode.language, o.options.endpoint_ms) for o in line.of(Open)] == [("ko", 300)] * 2


def test_a_round_with_binary_audio_goes_on_beside_streams(line: Line) -> None:
    line.send("start", lang="en")
    line.send_audio(b"binary")
    line.send_frame("a1", b"json")
    line.send_audio(b"more")
    main, stream = line.streams
    assert line.fed == [(main, b"binary"), (stream, b"json"), (main, b"more")]
    assert "audio_id" not in line.hear(final("x"), main)[0]


def test_binary_audio_in_a_round_of_json_frames_is_an_error(line: Line) -> None:
    line.send("start", lang="en")
    line.send_frame("a1")
    (error,) = line.send_audio()
    assert "JSON frames" in error["message"]


def test_end_ends_the_round_with_all_its_streams(line: Line) -> None:
    line.send("start", lang="en")
    line.send_frame("a1")
    line.send_frame("a2")
    line.send("end")
    one, two = line.streams
    assert line.of(End) == [End(stream=one), End(stream=two)]
    assert line.end(one) == [{"type": "ended", "audio_id": "a1"}]
    assert line.end(two) == [{"type": "ended", "audio_id": "a2"}, {"type": "ended"}]


def test_an_end_after_the_last_stream_is_answered_at_once(line: Line) -> None:
    line.send("start", lang="en")
    line.send_frame("a1")
    line.send("audio_end", audio_id="a1")
    assert line.end() == [{"type": "ended", "audio_id": "a1"}]
    assert line.send("end") == [{"type": "ended"}]


def test_a_stream_after_the_first_one_still_listens_as_start_said(line: Line) -> None:
    line.send("start", lang="ko-KR")
    line.send_frame("a1")
    line.send("audio_end", audio_id="a1")
    line.end()
    line.send_frame("a2")
    assert line.of(Open)[-1].options.decode.language == "ko"


def test_streams_without_a_start_are_ended_by_end_too(line: Line) -> None:
    line.send_frame("a1")
    line.send("end")
    assert line.end() == [{"type": "ended", "audio_id": "a1"}, {"type": "ended"}]


def test_a_new_start_speaks_after_the_streams_of_the_former_one(line: Line) -> None:
    line.send("start", lang="en")
    line.send_frame("a1")
    line.send_frame("a2")
    one, two = line.streams
    assert line.send("start", lang="ko") == []
    assert line.send_frame("b1") == []
    assert line.end(two) == [{"type": "ended", "audio_id": "a2"}]
    line.hear(final("first"), one)
    assert kinds(line.end(one)) == ["ended", "ended", "system"]


def test_a_name_can_be_used_again_and_the_former_stream_speaks_first(line: Line) -> None:
    line.send_frame("a1", b"old")
    old = line.stream
    line.send("audio_end", audio_id="a1")
    assert line.send_frame("a1", b"new") == []
    new = line.stream
    assert line.fed == [(old, b"old"), (new, b"new")]
    line.hear(final("new"), new)
    line.hear(final("old"), old)
    said = line.end(old)
    assert [message.get("text", message["type"]) for message in said] == ["ended", "system", "new"]


def test_a_stream_can_have_a_start_of_its_own(line: Line) -> None:
    line.send("start", lang="en")
    line.send_audio()
    said = line.send("start", lang="ja", audio_id="j")
    assert said[0]["audio_id"] == "j"
    assert line.of(End) == []
    line.send("start", lang="fr")
    assert [end.stream for end in line.of(End)] == [line.streams[0]], "only the round that the last start replaces"
    line.send("end", audio_id="j")
    assert line.end(line.streams[1]) == [{"type": "ended", "audio_id": "j"}]


def test_a_start_of_a_stream_that_runs_ends_it_first(line: Line) -> None:
    line.send("start", lang="ja", audio_id="j")
    old = line.stream
    assert line.send("start", lang="ko", audio_id="j") == []
    assert kinds(line.end(old)) == ["ended", "system"]


def test_commit_and_clear_name_their_stream(line: Line) -> None:
    line.send_frame("a1")
    line.send_frame("a2")
    line.send("commit", audio_id="a1")
    line.send("clear", audio_id="a2")
    assert [action.stream for action in (*line.of(Commit), *line.of(Clear))] == line.streams
    assert kinds(line.send("commit", audio_id="a3")) == ["error"]


@pytest.mark.parametrize(
    "content", ["aGVsbG8h", "aGVs\nbG8h\r\n", " aGVsbG8h "], ids=["plain", "lines as Android writes them", "spaces"]
)
def test_base64_is_read_as_clients_write_it(line: Line, content: str) -> None:
    line.send("audio", audio_id="a", content=content)
    assert line.fed[0][1] == b"hello!"


def test_missing_padding_is_forgiven(line: Line) -> None:
    line.send("audio", audio_id="a", content=base64.b64encode(b"1234").decode().rstrip("="))
    assert line.fed[0][1] == b"1234"


def test_a_frame_without_a_name_belongs_to_the_round(line: Line) -> None:
    line.send("start")
    line.send("audio", content="aGVsbG8h")
    assert line.fed == [(line.stream, b"hello!")]


def test_an_error_names_the_stream(line: Line) -> None:
    (error,) = line.send("audio", audio_id="a7", content="§")
    assert (error["type"], error["audio_id"], error["param"]) == ("error", "a7", "content")


def test_a_stream_that_cannot_open_is_told_once(line: Line) -> None:
    line.answering = False
    line.send("start", audio_id="x", model="huge")
    said = line.take(line.codec.failed(ModelNotFound("huge"), line.stream))
    assert kinds(said) == ["error", "ended"]
    assert line.send_frame("x") == []
    assert line.send("audio_end", audio_id="x") == []
    line.answering = True
    assert kinds(line.send("start", audio_id="x")) == ["system"]
