"""Every decode option, once: name, default, range and meaning.

CLI flags, REST form fields and stored tasks use these names. Defaults are those of
faster-whisper 1.2, whose documentation and paper (arXiv 2212.04356) explain the thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import fields
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.dataclasses import dataclass

from kikitori.errors import InvalidOption
from kikitori.types import Channels, DecodeMode, Task

DEFAULT_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

Millis = Annotated[int, Field(ge=0, le=60_000)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Text = Annotated[str, Field(max_length=4_000)]


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=True))
class DecodeOptions:
    """How one recording is decoded; see docs/options.md, which is made from this class."""

    # What is asked
    language: Annotated[
        str | None,
        Field(pattern=r"^[a-z]{2,3}$", description="ISO 639-1 code of the speech; detected when not given."),
    ] = None
    task: Annotated[Task, Field(description="`transcribe`, or `translate` into English.")] = Task.TRANSCRIBE
    mode: Annotated[
        DecodeMode,
        Field(
            description="`windowed` decodes windows of up to 30 s side by side; `sequential` slides one window "
            "that sees the text before it; `auto` is windowed unless an option needs the other."
        ),
    ] = DecodeMode.AUTO
    channels: Annotated[
        Channels,
        Field(description="`mix` all channels, hear only `left` or `right`, or `split`: each channel is a speaker."),
    ] = Channels.MIX
    multilingual: Annotated[bool, Field(description="Detect the language again for every window.")] = False
    language_detection_threshold: Annotated[
        Probability | None,
        Field(description="Stop looking for the language at this probability; `none` looks at all windows."),
    ] = 0.5
    language_detection_segments: Annotated[
        int, Field(ge=1, le=100, description="Windows of 30 s that may be looked at to find the language.")
    ] = 1

    # Search
    beam_size: Annotated[int, Field(ge=1, le=50, description="Width of the beam at temperature 0.")] = 5
    best_of: Annotated[int, Field(ge=1, le=50, description="Candidates at temperatures above 0.")] = 5
    patience: Annotated[float, Field(gt=0, le=10, description="How long the beam goes on (arXiv 2204.05424).")] = 1.0
    length_penalty: Annotated[float, Field(ge=0, le=10, description="Exponent of the length penalty.")] = 1.0
    repetition_penalty: Annotated[
        float, Field(gt=0, le=10, description="Above 1 makes repeated tokens less likely.")
    ] = 1.0
    no_repeat_ngram_size: Annotated[
        int, Field(ge=0, le=100, description="Never repeat a run of so many tokens; 0 allows all.")
    ] = 0
    temperature: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1)], ...],
        Field(min_length=1, max_length=20, description="Tried in turn until the thresholds below are met."),
    ] = DEFAULT_TEMPERATURES
    compression_ratio_threshold: Annotated[
        float | None, Field(gt=0, le=100, description="Text that compresses better than this is a loop: try again.")
    ] = 2.4
    log_prob_threshold: Annotated[
        float | None, Field(ge=-100, le=0, description="Less sure than this on average: try again.")
    ] = -1.0
    no_speech_threshold: Annotated[
        Probability | None, Field(description="More likely silence than this, and unsure text: no text.")
    ] = 0.6

    # Context
    condition_on_previous_text: Annotated[
        bool | None,
        Field(
            description="Show the model the text before. Needs `sequential`, where it is on unless set to false; "
            "set to true it makes `auto` sequential."
        ),
    ] = None
    prompt_reset_on_temperature: Annotated[
        float, Field(ge=0, le=1, description="Forget the text before when a temperature above this was needed.")
    ] = 0.5
    initial_prompt: Annotated[
        Text | None, Field(description="Text put before the speech: spelling, names, style. Also named `prompt`.")
    ] = None
    previous_text: Annotated[
        Text | None,
        Field(
            description="What was said before this audio. Its last 16, 32, 64 or 96 tokens are shown to the model, "
            "so that requests share a batch; less text is left out."
        ),
    ] = None
    prefix: Annotated[Text | None, Field(description="Text the first window begins with.")] = None
    hotwords: Annotated[Text | None, Field(description="Words to listen for, shown to every window.")] = None

    # Tokens
    suppress_blank: Annotated[bool, Field(description="No blank at the beginning.")] = True
    suppress_tokens: Annotated[
        tuple[Annotated[int, Field(ge=-1, le=60_000)], ...],
        Field(max_length=1_000, description="Tokens never produced; -1 stands for the usual non-speech symbols."),
    ] = (-1,)
    without_timestamps: Annotated[bool, Field(description="Text only: one segment for each window.")] = False
    max_initial_timestamp: Annotated[
        float, Field(ge=0, le=30, description="A window's first segment starts no later than this, in seconds.")
    ] = 1.0
    max_new_tokens: Annotated[int | None, Field(ge=1, le=444, description="Most tokens of a window.")] = None
    chunk_length: Annotated[int | None, Field(ge=1, le=30, description="Length of a window, in seconds.")] = None
    audio_context: Annotated[
        int | None,
        Field(
            ge=1,
            le=30,
            description="Seconds that the encoder looks at where a window holds less audio; else the model's own 30. "
            "Less is faster, above all on a CPU, and only as accurate as the model allows.",
        ),
    ] = None

    # Times
    word_timestamps: Annotated[bool, Field(description="Times of each word.")] = False
    prepend_punctuations: Annotated[str, Field(max_length=100, description="Belong to the word after.")] = "\"'“¿([{-"
    append_punctuations: Annotated[str, Field(max_length=100, description="Belong to the word before.")] = (
        "\"'.。,，!！?？:：”)]}、"
    )
    clip_timestamps: Annotated[
        tuple[Annotated[float, Field(ge=0, le=604_800)], ...],
        Field(
            max_length=10_000,
            description="Decode only these stretches: start, end, start, … in seconds; the last end may be missing.",
        ),
    ] = ()
    hallucination_silence_threshold: Annotated[
        float | None,
        Field(
            gt=0,
            le=3_600,
            description="Skip silence longer than this around text that looks made up (seconds). "
            "Needs `word_timestamps`.",
        ),
    ] = None

    # Voice activity
    vad_filter: Annotated[bool, Field(description="Leave out what Silero VAD does not take for speech.")] = False
    vad_threshold: Annotated[Probability, Field(description="Speech above this probability.")] = 0.5
    vad_neg_threshold: Annotated[
        Probability | None, Field(description="Silence below this probability; default `vad_threshold` - 0.15.")
    ] = None
    vad_min_speech_duration_ms: Annotated[Millis, Field(description="Shorter speech is dropped.")] = 0
    vad_max_speech_duration_s: Annotated[
        float, Field(ge=1, description="Longer speech is split at its last pause, in seconds.")
    ] = math.inf
    vad_min_silence_duration_ms: Annotated[Millis, Field(description="Silence this long ends a stretch of speech.")] = (
        2_000
    )
    vad_speech_pad_ms: Annotated[Millis, Field(description="Kept around each stretch of speech.")] = 400

    @field_validator("language", mode="before")
    @classmethod
    def _blank_language_means_detect(cls, value: object) -> object:
        if isinstance(value, str):
            value = value.strip().lower()
        return None if value in ("", "auto") else value

    @field_validator("temperature", mode="before")
    @classmethod
    def _one_temperature(cls, value: object) -> object:
        """A lone 0 asks for the schedule, as OpenAI's ``temperature=0`` does; other lone values stand alone."""
        return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("vad_max_speech_duration_s")
    @classmethod
    def _a_number(cls, value: float, info: ValidationInfo) -> float:
        if math.isnan(value):
            raise ValueError("a number of seconds, 1 or more")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> DecodeOptions:
        clips = self.clip_timestamps
        if any(later < earlier for earlier, later in pairwise(clips)):
            raise InvalidOption("clip_timestamps", list(clips), "rising seconds: start, end, start, end, …")
        if self.hallucination_silence_threshold is not None and not self.word_timestamps:
            raise InvalidOption(
                "hallucination_silence_threshold",
                self.hallucination_silence_threshold,
                "only with word_timestamps=true",
            )
        if self.beam_size * self.patience < 0.5:  # the library counts candidates in whole numbers
            raise InvalidOption("patience", self.patience, f"{0.5 / self.beam_size:g} or more with this beam_size")
        if self.mode is DecodeMode.WINDOWED and (option := self.needs_sequential()):
            raise InvalidOption("mode", "windowed", f"sequential or auto, because {option} is set")
        return self

    def needs_sequential(self) -> str | None:
        """The name of the option that only sequential decoding can honour, if one is set."""
        if self.condition_on_previous_text:
            return "condition_on_previous_text"
        if self.clip_timestamps:
            return "clip_timestamps"
        if self.hallucination_silence_threshold is not None:
            return "hallucination_silence_threshold"
        return None


@plain_dataclass(frozen=True, slots=True, kw_only=True)
class OptionRow:
    """One line of the table of options: for docs, forms and flags."""

    name: str
    type: str
    default: Any
    allowed: str
    description: str
    many: bool
    """Takes a list, written with commas in forms and flags."""


LIST_OPTIONS = ("temperature", "suppress_tokens", "clip_timestamps")


@cache
def option_table() -> tuple[OptionRow, ...]:
    """Every option in order, with its default and what is allowed."""
    properties = TypeAdapter(DecodeOptions).json_schema()["properties"]
    definitions = TypeAdapter(DecodeOptions).json_schema().get("$defs", {})
    hints = get_type_hints(DecodeOptions, include_extras=False)
    rows = []
    for item in fields(DecodeOptions):
        schema = properties[item.name]
        rows.append(
            OptionRow(
                name=item.name,
                type=_type_name(hints[item.name]),
                default=getattr(DecodeOptions(), item.name),
                allowed=_allowed(schema, definitions),
                description=schema["description"],
                many=item.name in LIST_OPTIONS,
            )
        )
    return tuple(rows)


def parse_options(values: Mapping[str, object]) -> DecodeOptions:
    """Options from untyped input: strings of a form, an environment or a JSON body.

    Lists may be written with commas. An empty string means "not given".
    Raises InvalidOption naming the first wrong field, its value and what is allowed.
    """
    known = {row.name for row in option_table()}
    given: dict[str, object] = {}
    for name, value in values.items():
        if name not in known:
            raise InvalidOption(name, value, "no option has this name")
        if isinstance(value, str) and not value.strip() and name not in ("prepend_punctuations", "append_punctuations"):
            continue
        given[name] = _split(value) if name in LIST_OPTIONS else _none_from_text(name, value)
    try:
        return DecodeOptions(**given)  # type: ignore[arg-type]
    except ValidationError as exc:
        first = exc.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "options"
        row = next((row for row in option_table() if row.name == name), None)
        raise InvalidOption(name, values.get(name, first["input"]), row.allowed if row else first["msg"]) from exc


def _none_from_text(name: str, value: object) -> object:
    """``none`` switches an option off that may be none."""
    nullable = next(row.type.endswith("or none") for row in option_table() if row.name == name)
    return None if nullable and isinstance(value, str) and value.strip().lower() in ("none", "null") else value


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.strip("[]() ").split(",") if part.strip())
    if isinstance(value, Sequence) and len(value) == 1 and isinstance(value[0], str) and "," in value[0]:
        return _split(value[0])
    return tuple(value) if isinstance(value, Sequence) else value


def _type_name(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, type(int | None)):
        return " or ".join("none" if part is type(None) else _type_name(part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {_type_name(get_args(hint)[0])}"
    if hint in (Task, DecodeMode, Channels):
        return "text"
    return {bool: "true/false", int: "whole number", float: "number", str: "text"}.get(hint, str(hint))


def _allowed(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in words: ``1 to 50``, ``transcribe, translate``, ``true, false``."""
    if "$ref" in schema:
        return _allowed(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in schema:
        return " or ".join(_allowed(part, definitions) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    kind = schema.get("type")
    if kind == "null":
        return "none"
    if kind == "boolean":
        return "true, false"
    if kind == "array":
        return f"a list, each {_allowed(schema['items'], definitions)}"
    if kind in ("integer", "number"):
        noun = "a whole number" if kind == "integer" else "a number"
        low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
        above = "above " if "exclusiveMinimum" in schema else ""
        if low is None:
            return noun
        return f"{noun}, {above}{low:g} to {high:g}" if high is not None else f"{noun}, {above}{low:g} or more"
    if schema.get("pattern"):
        return "a language code such as en, ja, ko"
    return f"text of up to {schema['maxLength']} characters" if "maxLength" in schema else "text"


def given_options(options: DecodeOptions) -> dict[str, Any]:
    """What differs from the defaults, as JSON values."""
    usual = DecodeOptions()
    values = {item.name: getattr(options, item.name) for item in fields(DecodeOptions)}
    return {
        name: list(value) if isinstance(value, tuple) else getattr(value, "value", value)
        for name, value in values.items()
        if value != getattr(usual, name)
    }
