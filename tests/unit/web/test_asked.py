import json

import pytest

from kikitori.errors import InvalidOption
from kikitori.options import DEFAULT_TEMPERATURES, DecodeOptions, option_table
from kikitori.text.subtitle_options import layout_table
from kikitori.types import Channels, DecodeMode, Task
from kikitori.web.asked import AnswerFormat, Asked, Granularity, language_code, read_asked
from kikitori.web.multipart import Fields


def asked(*items: tuple[str, str], task: Task | None = None) -> Asked:
    return read_asked(Fields(items), task=task)


def test_nothing_asked_is_every_default() -> None:
    found = asked()
    assert found.options == DecodeOptions()
    assert (found.model, found.format, found.stream) == ("", AnswerFormat.JSON, False)
    assert found.granularities == {Granularity.SEGMENT}
    assert found.ignored == ()


def test_empty_fields_mean_not_given() -> None:
    everything = [row.name for row in (*option_table(), *layout_table())]
    found = asked(*((name, "") for name in [*everything, "model", "prompt", "response_format", "stream"]))
    assert found == asked()


def test_every_option_is_a_field() -> None:
    found = asked(
        ("beam_size", "2"),
        ("mode", "sequential"),
        ("channels", "split"),
        ("compression_ratio_threshold", "none"),
        ("clip_timestamps", "0,1.5"),
        ("suppress_tokens", "-1"),
        ("suppress_tokens", "7"),
        ("append_punctuations", " ."),
        ("max_line_width", "30"),
    )
    assert found.options.beam_size == 2
    assert found.options.mode is DecodeMode.SEQUENTIAL
    assert found.options.channels is Channels.SPLIT
    assert found.options.compression_ratio_threshold is None
    assert found.options.clip_timestamps == (0.0, 1.5)
    assert found.options.suppress_tokens == (-1, 7)
    assert found.options.append_punctuations == " ."
    assert found.layout.max_line_width == 30
    assert found.ignored == ()


@pytest.mark.parametrize("zero", ["0", "0.0", " 0 ", "0e0"])
def test_temperature_zero_is_the_schedule(zero: str) -> None:
    assert asked(("temperature", zero)).options.temperature == DEFAULT_TEMPERATURES


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(["0.4"], (0.4,)), (["[0]"], (0.0,)), (["0,0.5"], (0.0, 0.5)), (["0", "0.5"], (0.0, 0.5))],
)
def test_other_temperatures_are_taken_as_they_are(given: list[str], wanted: tuple[float, ...]) -> None:
    assert asked(*(("temperature", value) for value in given)).options.temperature == wanted


@pytest.mark.parametrize(
    ("language", "code"),
    [("en", "en"), ("EN", "en"), ("English", "en"), ("japanese", "ja"), ("en-US", "en"), ("zh_CN", "zh"),
     ("Haitian Creole", "ht"), ("yue", "yue")],
)  # fmt: skip
def test_languages_by_code_and_name(language: str, code: str) -> None:
    assert language_code(language) == code
    assert asked(("language", language)).options.language == code


def test_languages_of_several_candidates() -> None:
    assert asked(("languages", "ja")).options.language == "ja"
    several = asked(("languages", "ja"), ("languages", "ko"))
    assert several.options.language is None
    assert several.ignored == ("languages",)


def test_openai_names_of_our_options() -> None:
    found = asked(("prompt", "Kikitori"), ("keywords", "birch"), ("keywords", "canoe"))
    assert found.options.initial_prompt == "Kikitori"
    assert found.options.hotwords == "birch, canoe"


@pytest.mark.parametrize(
    "items",
    [
        [("prompt", "a"), ("initial_prompt", "b")],
        [("beam_size", "0")],
        [("beam_size", "two")],
        [("beam_size", "1"), ("beam_size", "2")],
        [("temperature", "2")],
        [("temperature", "warm")],
        [("language", "klingon")],
        [("response_format", "odt")],
        [("stream", "perhaps")],
        [("timestamp_granularities", "letter")],
        [("chunking_strategy", "semantic")],
        [("chunking_strategy", "{")],
        [("chunking_strategy", "[]")],
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[speed]", "1")],
        [("chunking_strategy[threshold]", "7")],
        [("mode", "windowed"), ("condition_on_previous_text", "true")],
        [("max_lines", "9")],
    ],
)
def test_wrong_values_name_their_field(items: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidOption) as caught:
        asked(*items)
    assert caught.value.param
    assert "Allowed" in str(caught.value)


def test_word_granularity_makes_word_times() -> None:
    found = asked(("timestamp_granularities", "word"), ("response_format", "verbose_json"))
    assert found.granularities == {Granularity.WORD}
    assert found.options.word_timestamps
    both = asked(
        ("timestamp_granularities", "word"), ("timestamp_granularities", "segment"), ("response_format", "verbose_json")
    )
    assert both.granularities == {Granularity.WORD, Granularity.SEGMENT}
    listed = asked(("timestamp_granularities", '["word", "segment"]'), ("response_format", "verbose_json"))
    assert listed.granularities == both.granularities


@pytest.mark.parametrize("answer", ["json", "text", "tsv"])
def test_word_granularity_needs_an_answer_that_shows_it(answer: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        asked(("timestamp_granularities", "word"), ("response_format", answer))
    assert caught.value.param == "timestamp_granularities"


def test_word_granularity_and_word_timestamps_agree() -> None:
    fields = [("timestamp_granularities", "word"), ("response_format", "verbose_json")]
    assert asked(*fields, ("word_timestamps", "true")).options.word_timestamps
    assert asked(*fields, ("word_timestamps", "1")).options.word_timestamps
    with pytest.raises(InvalidOption) as caught:
        asked(*fields, ("word_timestamps", "false"))
    assert caught.value.param == "word_timestamps"


def test_the_default_granularity_is_harmless_anywhere() -> None:
    assert asked(("timestamp_granularities", "segment")).options == DecodeOptions()


@pytest.mark.parametrize("auto", [[], [("chunking_strategy", "auto")], [("chunking_strategy[type]", "auto")],
                                  [("chunking_strategy", '{"type": "auto"}')]])  # fmt: skip
def test_automatic_chunking_is_what_we_do_anyway(auto: list[tuple[str, str]]) -> None:
    assert asked(*auto).options == DecodeOptions()


SERVER_VAD = {"type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 100, "silence_duration_ms": 900}


@pytest.mark.parametrize(
    "items",
    [
        [("chunking_strategy", json.dumps(SERVER_VAD))],
        [(f"chunking_strategy[{name}]", str(value)) for name, value in SERVER_VAD.items()],
    ],
    ids=["JSON", "brackets"],
)
def test_server_vad_is_our_vad(items: list[tuple[str, str]]) -> None:
    options = asked(*items).options
    assert options.vad_filter
    assert options.vad_threshold == 0.7
    assert options.vad_speech_pad_ms == 100
    assert options.vad_min_silence_duration_ms == 900


def test_server_vad_has_openais_defaults_and_our_fields_win() -> None:
    options = asked(("chunking_strategy", "server_vad"), ("vad_threshold", "0.9")).options
    assert (options.vad_threshold, options.vad_speech_pad_ms, options.vad_min_silence_duration_ms) == (0.9, 300, 200)


def test_the_route_decides_on_the_task() -> None:
    assert asked(("task", "translate")).options.task is Task.TRANSLATE
    assert asked(task=Task.TRANSLATE).options.task is Task.TRANSLATE
    with pytest.raises(InvalidOption):
        asked(("task", "transcribe"), task=Task.TRANSLATE)


def test_speakers_need_channels() -> None:
    with pytest.raises(InvalidOption) as caught:
        asked(("response_format", "diarized_json"))
    assert caught.value.param == "response_format"
    assert asked(("response_format", "diarized_json"), ("channels", "split")).format is AnswerFormat.DIARIZED_JSON


def test_what_means_nothing_is_told() -> None:
    found = asked(("include", "logprobs"), ("user", "u"), ("beam_sise", "3"), ("known_speaker_references", "data:,"))
    assert found.ignored == ("include", "user", "beam_sise", "known_speaker_references")
