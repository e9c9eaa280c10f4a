from typing import Any

import pytest

from kikitori.errors import InvalidInput, InvalidOption
from kikitori.options import DecodeOptions, option_table, parse_options
from kikitori.store.task_records import TaskPriority
from kikitori.types import Task
from kikitori.web.multipart import Fields
from kikitori.web.task_creation import MAX_BATCH, read_batch, with_keys_apart
from kikitori.web.task_forms import (
    MAX_TAGS,
    MAX_URL,
    RESULT_FORMATS,
    form_values,
    known_fields,
    read_wanted,
    with_header_key,
)

LINK = "https://example.org/a.mp3"


def test_all_is_optional_but_the_recording() -> None:
    wanted = read_wanted({"url": LINK})
    assert wanted.url == LINK
    assert (wanted.task_type, wanted.priority) == (Task.TRANSCRIBE, TaskPriority.NORMAL)
    assert (wanted.options, wanted.decode) == ({}, DecodeOptions())
    assert (wanted.tags, wanted.formats, wanted.callback_url, wanted.expires_in) == ((), (), None, None)


def test_every_field_of_its_own() -> None:
    wanted = read_wanted(
        {
            "url": LINK,
            "model": "small",
            "task_type": "translate",
            "priority": "HIGH",
            "callback_url": "https://example.org/hook",
            "platform": "podcasts",
            "tags": ["a", " b", "a"],
            "idempotency_key": "k-1",
            "expires_in": "3600",
            "formats": "srt, vtt",
        }
    )
    assert (wanted.model, wanted.task_type, wanted.priority) == ("small", Task.TRANSLATE, TaskPriority.HIGH)
    assert wanted.decode.task is Task.TRANSLATE
    assert (wanted.callback_url, wanted.platform, wanted.idempotency_key) == (
        "https://example.org/hook",
        "podcasts",
        "k-1",
    )
    assert (wanted.tags, wanted.formats, wanted.expires_in) == (("a", "b"), ("srt", "vtt"), 3600.0)


EVERY_OPTION: dict[str, Any] = {
    row.name: list(row.default) if isinstance(row.default, tuple) else getattr(row.default, "value", row.default)
    for row in option_table()
    if row.name != "vad_max_speech_duration_s"  # infinite
}


def test_options_that_were_given_are_kept_as_json_and_mean_the_same_again() -> None:
    given = {**EVERY_OPTION, "beam_size": 3, "temperature": [0.0, 0.4], "word_timestamps": True, "language": "ja"}
    wanted = read_wanted(given)
    assert wanted.decode == parse_options({**wanted.options, "task": "transcribe"})
    assert wanted.decode.beam_size == 3
    assert wanted.options["temperature"] == [0.0, 0.4]
    assert {"beam_size", "word_timestamps", "language"} <= set(wanted.options)
    assert "task" not in wanted.options, "task_type says it"


def test_a_form_means_what_json_means() -> None:
    fields = (("beam_size", "3"), ("temperature", "0.2"), ("temperature", "0.4"), ("word_timestamps", "true"))
    tags = (("tags", "x"), ("tags", "y"), ("append_punctuations", " ."))
    form = read_wanted(form_values(Fields((*fields, *tags, ("language", "English"), ("log_prob_threshold", "none")))))
    assert form.options == {
        "language": "en",
        "beam_size": 3,
        "temperature": [0.2, 0.4],
        "log_prob_threshold": None,
        "word_timestamps": True,
        "append_punctuations": " .",
    }
    assert form.tags == ("x", "y")
    json = read_wanted({**form.options, "tags": ["x", "y"]})
    assert (json.options, json.decode) == (form.options, form.decode)


@pytest.mark.parametrize("zero", [0, 0.0, "0", "0.0"])
def test_a_lone_temperature_of_0_is_the_schedule_as_openai_has_it(zero: object) -> None:
    assert read_wanted({"temperature": zero}).options == {}
    assert read_wanted({"temperature": [0]}).options == {"temperature": [0.0]}


def test_null_and_blank_mean_not_given() -> None:
    nothing = {name: None for name in known_fields() if name not in ("compression_ratio_threshold",)}
    blank = {name: "  " for name in known_fields() if not name.endswith("_punctuations")}
    assert read_wanted(blank).options == {}
    assert {*read_wanted(nothing).options} == {
        "log_prob_threshold",
        "no_speech_threshold",
        "language_detection_threshold",
    }, "where none means something, null says it"


def test_infinity_is_the_default_and_not_stored() -> None:
    assert read_wanted({"vad_max_speech_duration_s": "inf"}).options == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beam_size", 99),
        ("beam_size", {}),
        ("language", 7),
        ("task_type", "summarise"),
        ("task_type", ["translate"]),
        ("priority", "urgent"),
        ("priority", 1),
        ("platform", "a\nb"),
        ("platform", "x" * 51),
        ("url", ["https://example.org"]),
        ("url", "x" * (MAX_URL + 1)),
        ("model", 5),
        ("tags", [1]),
        ("tags", ["x" * 65]),
        ("tags", [f"tag {number}" for number in range(MAX_TAGS + 1)]),
        ("tags", {"a": 1}),
        ("formats", ["odt"]),
        ("formats", ["text"]),
        ("expires_in", 0),
        ("expires_in", -5),
        ("expires_in", "soon"),
        ("expires_in", True),
        ("expires_in", "nan"),
        ("expires_in", 1e12),
        ("expires_in", 10**400),
        ("idempotency_key", "x" * 201),
        ("callback_url", 5),
        ("initial_prompt", "a\0b"),
        ("initial_prompt", "\ud800"),
        ("tags", ["\udfff"]),
        ("task", "sing"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_wanted({"url": LINK, name: value})
    assert caught.value.param == name
    assert caught.value.remedy


def test_formats_are_those_of_the_subtitles() -> None:
    names = [each.value for each in RESULT_FORMATS]
    assert read_wanted({"formats": names}).formats == tuple(names)


def test_a_name_that_means_nothing_is_an_error_that_knows_the_next_best() -> None:
    with pytest.raises(InvalidInput, match="beam_size") as caught:
        read_wanted({"beamsize": 5})
    assert caught.value.param == "beamsize"
    with pytest.raises(InvalidInput, match="multipart"):
        read_wanted({"file": "RIFF"})


def test_task_is_task_type() -> None:
    assert read_wanted({"task": "translate"}).task_type is Task.TRANSLATE
    assert read_wanted({"task": "translate", "task_type": "translate"}).task_type is Task.TRANSLATE
    with pytest.raises(InvalidOption) as caught:
        read_wanted({"task": "translate", "task_type": "transcribe"})
    assert caught.value.param == "task"


def test_prompt_is_initial_prompt() -> None:
    assert read_wanted({"prompt": "Names."}).options == {"initial_prompt": "Names."}
    with pytest.raises(InvalidOption):
        read_wanted({"prompt": "Names.", "initial_prompt": "Others."})


def test_the_key_may_come_as_a_header() -> None:
    assert with_header_key({}, " k ")["idempotency_key"] == "k"
    assert with_header_key({"idempotency_key": "k"}, None)["idempotency_key"] == "k"
    assert with_header_key({"idempotency_key": "k"}, "k")["idempotency_key"] == "k"
    with pytest.raises(InvalidOption) as caught:
        with_header_key({"idempotency_key": "k"}, "other")
    assert caught.value.param == "idempotency_key"


# Batches ---------------------------------------------------------------------------------------------------------


def test_links_share_the_other_fields() -> None:
    wanted = read_batch({"urls": [f"{LINK}?1", f"{LINK}?2"], "priority": "low", "beam_size": 2})
    assert [each.url for each in wanted] == [f"{LINK}?1", f"{LINK}?2"]
    assert {each.priority for each in wanted} == {TaskPriority.LOW}
    assert [each.options for each in wanted] == [{"beam_size": 2}] * 2


def test_tasks_have_fields_of_their_own() -> None:
    tasks = [{"url": LINK, "language": "ko"}, {"url": LINK, "beam_size": 1}]
    first, second = read_batch({"tasks": tasks, "beam_size": 2})
    assert first.options == {"language": "ko", "beam_size": 2}
    assert second.options == {"beam_size": 1}


def test_a_shared_key_is_told_apart_and_the_same_again() -> None:
    values = {"urls": [LINK, LINK], "idempotency_key": "k" * 200}
    keys = [each.idempotency_key for each in read_batch(values)]
    assert len({*keys}) == 2
    assert all(key and len(key) <= 200 for key in keys)
    assert [each.idempotency_key for each in read_batch(values)] == keys


def test_one_task_keeps_its_key() -> None:
    [wanted] = with_keys_apart([read_wanted({"idempotency_key": "k"})])
    assert wanted.idempotency_key == "k"


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({}, "urls"),
        ({"urls": [LINK], "tasks": [{"url": LINK}]}, "urls"),
        ({"urls": []}, "urls"),
        ({"urls": LINK}, "urls"),
        ({"urls": [LINK] * (MAX_BATCH + 1)}, "urls"),
        ({"urls": [LINK, 5]}, "urls[1]"),
        ({"urls": [LINK, ""]}, "urls[1]"),
        ({"tasks": [{"url": LINK}, {"beam_size": 2}]}, "tasks[1].url"),
        ({"tasks": [{"url": LINK, "beam_size": 99}]}, "tasks[0].beam_size"),
        ({"tasks": [{"url": LINK, "beam": 5}]}, "tasks[0].beam"),
        ({"tasks": [[]]}, "tasks[0]"),
        ({"urls": [LINK], "url": LINK}, "url"),
        ({"urls": [LINK], "beams": 5}, "beams"),
        ({"tasks": [{"url": LINK, "idempotency_key": "k"}] * 2}, "idempotency_key"),
    ],
)
def test_a_wrong_batch_names_the_place(values: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_batch(values)
    assert caught.value.param == param
