"""Every option of the subtitle layout, once: name, default, range and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from kikitori.errors import InvalidOption
from kikitori.options import OptionRow


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class SubtitleLayout:
    """How text is cut into cues. Widths are columns: a Chinese, Japanese or Korean character takes two."""

    max_line_width: Annotated[
        int, Field(ge=16, le=200, description="Most columns of a line; 42 are 21 Japanese characters.")
    ] = 42
    max_lines: Annotated[int, Field(ge=1, le=5, description="Most lines of a cue.")] = 2
    min_cue_seconds: Annotated[
        float, Field(ge=0, le=10, description="A shorter cue stays longer when silence follows it.")
    ] = 1.0
    max_cue_seconds: Annotated[float, Field(ge=1, le=60, description="No cue stays longer.")] = 7.0
    pause_seconds: Annotated[
        float, Field(ge=0.1, le=60, description="Silence of this length inside the speech starts a new cue.")
    ] = 0.8
    cue_gap_seconds: Annotated[
        float, Field(ge=0, le=1, description="The screen stays empty for this long between two cues.")
    ] = 0.0
    speaker_prefix: Annotated[
        bool, Field(description="Begin each cue and line with its speaker (`left: …`) when channels are split.")
    ] = True

    @model_validator(mode="after")
    def _consistent(self) -> SubtitleLayout:
        if self.min_cue_seconds > self.max_cue_seconds:
            raise InvalidOption("min_cue_seconds", self.min_cue_seconds, "at most max_cue_seconds")
        return self


DEFAULT_LAYOUT = SubtitleLayout()


@cache
def layout_table() -> tuple[OptionRow, ...]:
    """Every layout option in order, with its default and what is allowed: for docs, forms and flags."""
    properties = TypeAdapter(SubtitleLayout).json_schema()["properties"]
    return tuple(
        OptionRow(
            name=item.name,
            type={"integer": "whole number", "number": "number", "boolean": "true/false"}[schema["type"]],
            default=getattr(DEFAULT_LAYOUT, item.name),
            allowed=_allowed(schema),
            description=schema["description"],
            many=False,
        )
        for item in fields(SubtitleLayout)
        for schema in [properties[item.name]]
    )


def parse_layout(values: Mapping[str, object]) -> SubtitleLayout:
    """A layout from untyped input: strings of a form or flags. None and an empty string mean "not given".

    Raises InvalidOption naming the first wrong field, its value and what is allowed.
    """
    rows = {row.name: row for row in layout_table()}
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in rows:
            raise InvalidOption(name, value, "no subtitle option has this name")
        if value is not None and str(value).strip():
            given[name] = value
    try:
        return SubtitleLayout(**given)
    except ValidationError as exc:
        name = str(exc.errors()[0]["loc"][0])
        raise InvalidOption(name, given[name], rows[name].allowed) from exc


def _allowed(schema: Mapping[str, Any]) -> str:
    if schema["type"] == "boolean":
        return "true, false"
    noun = "a whole number" if schema["type"] == "integer" else "a number"
    return f"{noun}, {schema['minimum']:g} to {schema['maximum']:g}"
