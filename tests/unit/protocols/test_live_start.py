"""What the fields of a start ask of a session."""

from __future__ import annotations

import pytest

from kikitori.live.options import FinalFrom, LiveOptions, TurnDetection
from kikitori.options import DecodeOptions
from kikitori.protocols.actions import Encoding, InputFormat
from kikitori.protocols.live_start import language_code, read_start
from kikitori.types import Task


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("ko-KR", "ko"), ("ja-JP", "ja"), ("en-US", "en"), ("EN", "en"), ("zh-Hans", "zh"), ("zh-Hant-TW", "zh"),
        ("zh_CN", "zh"), ("yue-Hant-HK", "yue"), ("cmn-Hans-CN", "zh"), ("nb-NO", "no"), ("fil-PH", "tl"),
        ("haw", "haw"), ("auto", None), ("AUTO", None),
    ],
)  # fmt: skip
def test_a_tag_names_a_language(tag: str, code: str | None) -> None:
    assert language_code(tag) == code


@pytest.mark.parametrize("tag", ["", "e", "english", "en-", "-US", "日本語", "en US"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=f"^{tag}$"):
        language_code(tag)


def test_a_bare_start_listens_with_the_defaults() -> None:
    start = read_start({"type": "start"}, LiveOptions())
    assert start.lang == "auto"
    assert start.format == InputFormat()
    assert start.options == LiveOptions(decode=DecodeOptions(word_timestamps=True))
    assert not start.resumable
    assert not start.record


def test_defaults_of_the_server_hold_where_nothing_is_said() -> None:
    defaults = LiveOptions(model="small", endpoint_ms=800, decode=DecodeOptions(language="ja", beam_size=2))
    start = read_start({"lang": None, "endpoint_ms": None}, defaults)
    assert (start.options.model, start.options.endpoint_ms) == ("small", 800)
    assert (start.options.decode.language, start.options.decode.beam_size) == ("ja", 2)
    assert read_start({"lang": "auto"}, defaults).options.decode.language is None


def test_every_field_reaches_the_session() -> None:
    message = {
        "type": "start", "lang": "ko-KR", "sample_rate": 8000.0, "encoding": "mulaw", "model": "base", "prompt": "Kim",
        "hotwords": "Seoul", "task": "translate", "beam_size": 1, "interim": False, "endpoint_ms": 300, "words": False,
        "turns": "manual", "interim_seconds": 0.5, "resumable": True, "record": True, "final_from": "stable",
    }  # fmt: skip
    start = read_start(message, LiveOptions())
    assert start.format == InputFormat(encoding=Encoding.MULAW, rate=8_000)
    assert start.options == LiveOptions(
        model="base", turns=TurnDetection.MANUAL, interim=False, endpoint_ms=300, interim_seconds=0.5,
        final_from=FinalFrom.STABLE,
        decode=DecodeOptions(
            language="ko", initial_prompt="Kim", hotwords="Seoul", task=Task.TRANSLATE, beam_size=1
        ),
    )  # fmt: skip
    assert start.resumable
    assert start.record
    assert start.ignored == ()


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({"engine": "pocketsphinx"}, "pocketsphinx"),
        ({"engine": "whisper"}, "auto"),
        ({"engine": "whisper", "model": "small"}, "small"),
        ({"engine": "", "model": ""}, "usual"),
        ({}, "usual"),
    ],
)
def test_the_engine_alone_stands_for_its_model(fields: dict[str, str], model: str) -> None:
    assert read_start(fields, LiveOptions(model="usual")).options.model == model


def test_fields_that_mean_nothing_here_are_named() -> None:
    assert read_start({"type": "start", "userId": 7, "device": "phone"}, LiveOptions()).ignored == ("device", "userId")
