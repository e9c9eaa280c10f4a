"""The file WebSocket, message by message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.protocols.file_line import AUDIO, Line, info, said, segment

from kikitori.errors import Busy, InvalidMedia, TooLarge
from kikitori.protocols.actions import Close, Send
from kikitori.protocols.file_actions import Data, Stop, Transcribe
from kikitori.types import Segment, Task, Word


def test_a_file_in_base64_is_taken_with_its_options() -> None:
    asked = Line().begin(
        model="汎用モデル", save_audio=True, file_name="temp.wav", language="English", task="translate", beam_size=3,
        word_timestamps=True, prompt="Names", vad_filter=None, temperature=0, dance=1,
    )  # fmt: skip
    request, options = asked.request, asked.request.options
    assert asked.audio == AUDIO["audio"]
    assert (request.model, request.save_audio, request.file_name) == ("汎用モデル", True, "temp.wav")
    assert (options.language, options.task, options.beam_size, options.word_timestamps) == (
        "en",
        Task.TRANSLATE,
        3,
        True,
    )
    assert options.initial_prompt == "Names"
    assert len(options.temperature) > 1  # 0 asks for the schedule
    assert request.ignored == ("dance",)
    assert request.size_bytes is None


@pytest.mark.parametrize(
    ("language", "code"), [("ja-JP", "ja"), ("auto", None), ("", None), ("Korean", "ko"), ("ja", "ja"), (" en ", "en")]
)
def test_languages_in_any_way(language: str, code: str | None) -> None:
    assert Line().begin(language=language).request.options.language == code


def test_messages_are_those_that_clients_know() -> None:
    line = Line()
    line.begin()
    assert said(line.codec.queued(2)) == [{"type": "queued", "position": 2, "done": False}]
    first, second = segment(0, 4.2, " Hello there."), segment(125.0, 150.2, " Bye.")
    messages = line.hear(first, second, duration=150.2)
    assert messages == [
        {
            "type": "info", "language": "en", "language_probability": 0.98, "length": "2分30秒", "duration": 150.2,
            "model": "small", "engine": "whisper", "done": False,
        },
        {
            "type": "segment",
            "data": {"time_line": "[0分0秒 -> 0分4秒] Hello there.", "text": " Hello there.", "start": 0.0, "end": 4.2},
            "progress": 2,
            "done": False,
        },
        {
            "type": "segment",
            "data": {"time_line": "[2分5秒 -> 2分30秒] Bye.", "text": " Bye.", "start": 125.0, "end": 150.2},
            "progress": 100,
            "done": False,
        },
        {"type": "final", "data": {"result": "all of it"}, "language": "en", "duration": 150.2, "done": True},
    ]  # fmt: skip


def test_words_and_speakers_come_where_they_are_known() -> None:
    line = Line()
    line.begin()
    heard = Segment(
        id=0, start=0, end=1, text=" Hi", speaker="left", words=(Word(word=" Hi", start=0, end=0.5, probability=0.5),)
    )
    assert line.hear(heard)[1]["data"] | {"time_line": "", "text": ""} == {
        "time_line": "", "text": "", "start": 0.0, "end": 1.0, "speaker": "left",
        "words": [{"word": " Hi", "start": 0.0, "end": 0.5, "probability": 0.5}],
    }  # fmt: skip


def test_a_long_silence_at_the_end_does_not_keep_progress_from_its_end() -> None:
    line = Line()
    line.begin()
    progress = [message["progress"] for message in line.hear(segment(0, 2), segment(2, 4)) if "progress" in message]
    assert progress == [2, 100]


@pytest.mark.parametrize("duration", [None, 1.0, 0.0, 1e-306])
def test_progress_never_goes_down_nor_ends_too_soon_whatever_the_container_promised(duration: float | None) -> None:
    line = Line()
    line.begin()
    times = (0, 5, 4, 50, 20, 90)
    messages = line.hear(*(segment(at, at + 1) for at in times), duration=duration)
    progress = [message["progress"] for message in messages if message["type"] == "segment"]
    assert progress == sorted(progress)
    assert [share for share in progress if share == 100] == [100]


def test_a_recording_of_unknown_length_says_so() -> None:
    line = Line()
    line.begin()
    message = line.hear(duration=None)[0]
    assert message["length"] == ""
    assert "duration" not in message


def test_silence_is_info_and_an_empty_text() -> None:
    line = Line()
    line.begin()
    assert [message["type"] for message in line.hear()] == ["info", "final"]


def test_stop_gives_what_was_held_back_and_then_stopped() -> None:
    line = Line()
    line.begin()
    line.codec.info(info())
    assert not line.codec.segment(segment(0, 1))
    assert line.send(type="stop") == [Stop()]
    assert not line.send(type="stop")
    kinds = [(message["type"], message["done"]) for message in said(line.codec.stopped())]
    assert kinds == [("segment", False), ("stopped", True)]
    assert line.begin()


def test_an_error_comes_after_what_was_heard_and_the_next_file_may_come() -> None:
    line = Line()
    line.begin()
    line.codec.segment(segment(0, 1))
    messages = said(line.codec.failed(InvalidMedia("It is damaged.")))
    assert [message["type"] for message in messages] == ["segment", "error"]
    assert messages[1] == {
        "type": "error", "message": "It is damaged. Send an audio or video file.", "code": "invalid_value",
        "param": "audio", "done": True,
    }  # fmt: skip
    assert line.begin()


def test_a_second_file_is_refused_while_one_runs_and_that_one_goes_on() -> None:
    line = Line()
    line.begin()
    error = line.refused(**AUDIO)
    assert (error["code"], error["done"]) == ("conflict", False)
    assert line.hear(segment(0, 1))[-1]["done"] is True
    assert line.begin()


def test_binary_frames_of_a_refused_file_are_passed_over() -> None:
    line = Line()
    line.begin()
    line.refused(type="transcribe", size=10)
    assert line.codec.binary(bytes(4)) == ()
    assert line.codec.binary(bytes(6)) == ()
    assert said(line.codec.binary(b"1"))[0]["code"] == "conflict"


def test_a_large_file_comes_in_binary_frames() -> None:
    line = Line()
    [asked] = line.send(type="transcribe", size=10)
    assert isinstance(asked, Transcribe)
    assert (asked.audio, asked.request.size_bytes) == (None, 10)
    assert line.codec.binary(b"12345") == [Data(data=b"12345", last=False)]
    assert line.codec.binary(b"") == ()
    assert line.codec.binary(b"67890") == [Data(data=b"67890", last=True)]
    assert line.hear(segment(0, 1))[-1]["type"] == "final"


def test_more_than_was_announced_ends_it() -> None:
    line = Line()
    line.send(type="transcribe", size=10)
    [stop] = line.codec.binary(bytes(11))
    assert isinstance(stop, Stop) and stop.error is not None
    assert line.codec.binary(bytes(11)) == ()
    [error] = said(line.codec.failed(stop.error))
    assert (error["param"], error["done"]) == ("size", True)
    assert line.begin()


@pytest.mark.parametrize("end", ["stopped", "failed", "shutting_down"])
def test_the_rest_of_a_file_that_nobody_wants_is_passed_over(end: str) -> None:
    line = Line()
    line.send(type="transcribe", size=10)
    line.codec.binary(bytes(4))
    line.codec.failed(InvalidMedia("no")) if end == "failed" else getattr(line.codec, end)()
    assert line.codec.binary(bytes(3)) == ()
    assert line.begin()
    assert said(line.codec.binary(bytes(1)))[0]["type"] == "error"


def test_unannounced_binary_data_is_answered_once() -> None:
    line = Line()
    [error] = said(line.codec.binary(b"1"))
    assert (error["code"], error["done"]) == ("conflict", True)
    assert line.codec.binary(b"1") == ()
    assert line.refused(type="stop")["code"] == "conflict"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"audio": None}, "audio"),
        ({"audio": 1}, "audio"),
        ({"audio": ["UklG"]}, "audio"),
        ({"size": 3}, "size"),
        ({"audio": None, "size": 0}, "size"),
        ({"audio": None, "size": -1}, "size"),
        ({"audio": None, "size": True}, "size"),
        ({"audio": None, "size": "3"}, "size"),
        ({"audio": None, "size": 1.5}, "size"),
        ({"save_audio": "yes"}, "save_audio"),
        ({"model": 1}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"model": "m" * 201}, "model"),
        ({"file_name": {}}, "file_name"),
        ({"beam_size": 0}, "beam_size"),
        ({"beam_size": [1]}, "beam_size"),
        ({"language": "klingon on and on"}, "language"),
        ({"task": "dance"}, "task"),
        ({"initial_prompt": "a", "prompt": "b"}, "initial_prompt"),
        ({"initial_prompt": "\0"}, "initial_prompt"),
        ({"hotwords": "\ud800"}, "hotwords"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_begins(fields: dict[str, Any], param: str) -> None:
    line = Line()
    error = line.refused(**(AUDIO | fields))
    assert (error["param"], error["done"]) == (param, True)
    assert line.begin()


@pytest.mark.parametrize("frame", ["", "no json", "[]", "{}", '{"type":1}', '{"type":"dance"}', "[" * 100_000, "NaN"])
def test_other_frames_get_an_error(frame: str) -> None:
    [error] = said(Line().codec.text(frame))
    assert (error["type"], error["done"]) == ("error", True)
    assert "end" not in error["message"].split('"')


def test_stop_with_nothing_to_stop_is_an_error() -> None:
    assert Line().refused(type="stop")["code"] == "conflict"


def test_a_key_that_comes_twice_does_not_matter() -> None:
    assert Line().send(type="auth", api_key="k") == ()


def test_a_file_that_is_too_large_closes_the_socket_after_an_error() -> None:
    [error, close] = Line(max_bytes=10).send(type="transcribe", size=11)
    assert isinstance(error, Send) and isinstance(close, Close)
    assert (json.loads(error.text)["code"], close.code) == ("too_large", 1009)
    [error, close] = Line().codec.failed(TooLarge("Too much.", param="audio"))
    assert isinstance(close, Close) and close.code == 1009


def test_a_recording_that_is_too_long_leaves_the_socket_open() -> None:
    line = Line()
    line.begin()
    assert [message["done"] for message in said(line.codec.failed(TooLarge("Too long.", param="file")))] == [True]
    assert line.begin()


def test_a_full_server_closes_the_socket_after_an_error() -> None:
    line = Line()
    line.begin()
    [error, close] = line.codec.failed(Busy("Full.", retry_after=3))
    assert isinstance(error, Send) and isinstance(close, Close)
    assert (json.loads(error.text)["retry_after"], close.code) == (3, 1013)


def test_a_shutdown_says_to_come_back() -> None:
    line = Line()
    line.begin()
    [error] = said(line.codec.shutting_down())
    assert (error["type"], error["code"], error["done"]) == ("error", "shutting_down", True)
    assert said(line.codec.closing(1012, "Bye."))[0]["type"] == "system"


def test_the_task_that_keeps_a_recording_is_named() -> None:
    line = Line()
    line.begin(save_audio=True)
    [final] = said(line.codec.finished("text", language="en", duration=1, task_id="task_1"))
    assert final["task_id"] == "task_1"
