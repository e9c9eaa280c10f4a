from __future__ import annotations

import inspect
import math
from dataclasses import fields
from typing import Any

import pytest
from faster_whisper import WhisperModel
from faster_whisper.vad import VadOptions

from kikitori.errors import InvalidOption
from kikitori.options import DEFAULT_TEMPERATURES, DecodeOptions, option_table, parse_options
from kikitori.types import Channels, DecodeMode, Task


def test_every_option_is_in_the_table_with_a_description() -> None:
    assert [row.name for row in option_table()] == [field.name for field in fields(DecodeOptions)]
    for row in option_table():
        assert row.description.endswith(".")
        assert row.allowed


def test_defaults_are_upstreams() -> None:
    ours = DecodeOptions()
    upstream = inspect.signature(WhisperModel.transcribe).parameters
    different = {"temperature", "suppress_tokens", "clip_timestamps", "condition_on_previous_text"}
    for row in option_table():
        if row.name in upstream and row.name not in different:
            assert getattr(ours, row.name) == upstream[row.name].default, row.name
    assert list(ours.temperature) == upstream["temperature"].default
    assert list(ours.suppress_tokens) == upstream["suppress_tokens"].default
    for name, value in vars(VadOptions()).items():
        assert getattr(ours, f"vad_{name}") == value


def test_upstream_has_no_option_that_is_missing_here() -> None:
    upstream = set(inspect.signature(WhisperModel.transcribe).parameters) - {"self", "audio", "log_progress"}
    assert upstream - {"vad_parameters"} <= {row.name for row in option_table()}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("7", "beam_size", 7),
        ("true", "word_timestamps", True),
        ("0", "vad_filter", False),
        ("ja", "language", "ja"),
        (" EN ", "language", "en"),
        ("auto", "language", None),
        ("", "language", None),
        ("translate", "task", Task.TRANSLATE),
        ("split", "channels", Channels.SPLIT),
        ("sequential", "mode", DecodeMode.SEQUENTIAL),
        ("0.2", "temperature", (0.2,)),
        ("0,0.4", "temperature", (0.0, 0.4)),
        ("[0, 0.4]", "temperature", (0.0, 0.4)),
        ("", "temperature", DEFAULT_TEMPERATURES),
        ("-1,50257", "suppress_tokens", (-1, 50257)),
        ("1.5,3", "clip_timestamps", (1.5, 3.0)),
        ("none", "compression_ratio_threshold", None),
        ("", "append_punctuations", ""),
        ("12", "vad_max_speech_duration_s", 12.0),
    ],
)
def test_text_becomes_values(text: str, name: str, value: object) -> None:
    assert getattr(parse_options({name: text}), name) == value


@pytest.mark.parametrize(
    ("values", "field", "allowed"),
    [
        ({"beam_size": "0"}, "beam_size", "1 to 50"),
        ({"beam_size": "many"}, "beam_size", "1 to 50"),
        ({"temperature": "0,2"}, "temperature", "0 to 1"),
        ({"temperature": ",".join(["0"] * 30)}, "temperature", "0 to 1"),
        ({"task": "summarise"}, "task", "transcribe, translate"),
        ({"language": "klingon!"}, "language", "language code"),
        ({"patience": "0"}, "patience", "above 0"),
        ({"word_timestamps": "perhaps"}, "word_timestamps", "true, false"),
        ({"clip_timestamps": "5,1"}, "clip_timestamps", "rising"),
        ({"hallucination_silence_threshold": "2"}, "hallucination_silence_threshold", "word_timestamps=true"),
        ({"mode": "windowed", "condition_on_previous_text": "true"}, "mode", "condition_on_previous_text"),
        ({"mode": "windowed", "clip_timestamps": "1,2"}, "mode", "clip_timestamps"),
        ({"vad_max_speech_duration_s": "nan"}, "vad_max_speech_duration_s", "1 or more"),
        ({"initial_prompt": "x" * 5_000}, "initial_prompt", "4000 characters"),
        ({"beem_size": "3"}, "beem_size", "no option has this name"),
    ],
)
def test_a_wrong_value_names_field_value_and_range(values: dict[str, object], field: str, allowed: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        parse_options(values)
    assert refused.value.param == field
    assert allowed in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, "1e999", "-Infinity"])
def test_no_number_is_infinite_but_the_longest_speech(value: Any) -> None:
    for row in option_table():
        if "number" in row.type and row.name != "vad_max_speech_duration_s":
            with pytest.raises(InvalidOption):
                parse_options({row.name: (value,) if row.many else value})


def test_options_are_values() -> None:
    assert DecodeOptions(beam_size=3) == DecodeOptions(beam_size=3)
    assert len({DecodeOptions(), DecodeOptions(), DecodeOptions(language="en")}) == 2
    with pytest.raises(AttributeError):
        DecodeOptions().beam_size = 4  # type: ignore[misc]


def test_a_beam_without_any_candidate_is_refused() -> None:
    with pytest.raises(InvalidOption, match=r"patience is 0\.05\..*0\.1 or more with this beam_size"):
        DecodeOptions(patience=0.05)
    DecodeOptions(patience=0.1)
    DecodeOptions(patience=0.05, beam_size=10)


def test_no_threshold_of_detection_is_an_option() -> None:
    assert parse_options({"language_detection_threshold": "none"}).language_detection_threshold is None
