"""What a request for a task asks for, from a form or JSON, checked before anything is stored. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Any, TypeVar

from kikitori.errors import InvalidInput, InvalidOption
from kikitori.options import DecodeOptions, option_table, parse_options
from kikitori.store.task_records import TaskPriority
from kikitori.text.formats import OutputFormat
from kikitori.types import Task
from kikitori.web.asked import language_code
from kikitori.web.multipart import FILE_FIELD, Fields

MAX_URL = 4_000
"""Shared text with a link in it is longer than a link."""
MAX_CALLBACK_URL = 2_000
MAX_MODEL = 200
MAX_TAGS = 20
MAX_TAG = 64
MAX_PLATFORM = 50
MAX_IDEMPOTENCY_KEY = 200
MAX_EXPIRES_IN = 366 * 86_400.0

RESULT_FORMATS = (
    OutputFormat.SRT,
    OutputFormat.VTT,
    OutputFormat.ASS,
    OutputFormat.LRC,
    OutputFormat.TSV,
    OutputFormat.TXT,
    OutputFormat.JSON,
    OutputFormat.DOCX,
)
"""What ``/subtitles`` writes."""

TASK_FIELDS = (
    "url",
    "model",
    "task_type",
    "priority",
    "callback_url",
    "platform",
    "tags",
    "idempotency_key",
    "expires_in",
    "formats",
    "prompt",
)
"""Fields beside the decode options."""
LIST_FIELDS = ("tags", "formats")

Chosen = TypeVar("Chosen", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One task as its caller wants it; the recording, when it is an upload, comes beside it."""

    url: str | None
    model: str
    task_type: Task
    priority: TaskPriority
    decode: DecodeOptions
    options: Mapping[str, Any]
    """Those of ``decode`` that were given, as JSON values."""
    callback_url: str | None
    platform: str
    tags: tuple[str, ...]
    idempotency_key: str | None
    expires_in: float | None
    """Seconds."""
    formats: tuple[str, ...]


def read_wanted(values: Mapping[str, object]) -> Wanted:
    """What ``values`` (a form's or a JSON object's) ask for. Raises InvalidInput, InvalidOption."""
    check_names(values, known_fields())
    check_text(values)
    given = {name: value for name, value in values.items() if not _is_empty(name, value)}
    option_values = _option_values(given)
    task_type = _task_type(given, option_values)
    decode = parse_options({**option_values, "task": task_type.value})
    return Wanted(
        url=_text(given, "url", MAX_URL, lines=True) or None,
        model=_text(given, "model", MAX_MODEL),
        task_type=task_type,
        priority=read_choice(given, "priority", TaskPriority, TaskPriority.NORMAL),
        decode=decode,
        options=_stored(decode, option_values),
        callback_url=_text(given, "callback_url", MAX_CALLBACK_URL) or None,
        platform=_text(given, "platform", MAX_PLATFORM),
        tags=_tags(given),
        idempotency_key=_text(given, "idempotency_key", MAX_IDEMPOTENCY_KEY) or None,
        expires_in=_seconds(given, "expires_in"),
        formats=_formats(given),
    )


def form_values(fields: Fields) -> dict[str, object]:
    """The fields of a form as JSON would say them: fields that may be lists as lists, others as text."""
    lists = {*LIST_FIELDS, *(row.name for row in option_table() if row.many)}
    values: dict[str, object] = {}
    for name in fields.names():
        given = fields.many(name)
        if name in lists:
            values[name] = given if len(given) > 1 else given[0]
        else:
            # Space matters in the lists of punctuation, and nowhere else.
            values[name] = given[-1] if name.endswith("_punctuations") else fields.one(name)
    return values


def with_header_key(values: Mapping[str, object], header: str | None) -> Mapping[str, object]:
    """``Idempotency-Key`` is another way to say the field; raises InvalidOption when the two differ."""
    if not header or not header.strip():
        return values
    field = values.get("idempotency_key")
    if field not in (None, "") and str(field).strip() != header.strip():
        raise InvalidOption("idempotency_key", field, "the same as the header Idempotency-Key, or only one of them")
    return {**values, "idempotency_key": header.strip()}


@cache
def known_fields() -> tuple[str, ...]:
    return (*TASK_FIELDS, *(row.name for row in option_table()))


def check_names(values: Mapping[str, object], known: Sequence[str], *, what: str = "field") -> None:
    """Raise InvalidInput for the first name that means nothing: a misspelt one must not be lost silently."""
    for name in values:
        if name in known:
            continue
        shown = shortened(name)
        near = difflib.get_close_matches(shown, known, n=1)
        if name == FILE_FIELD:
            remedy = "Send a recording as multipart/form-data."
        else:
            remedy = f"Did you mean {near[0]}?" if near else "Leave it out."
        raise InvalidInput(f"There is no {what} {shown!r} here.", remedy=remedy, param=shown)


def shortened(name: str) -> str:
    """A name of a client's, as far as an error shows it."""
    return name if len(name) <= 80 else name[:79] + "…"


def check_text(value: object, name: str = "") -> None:
    """Raise InvalidOption for text that no database stores: NUL, and halves of characters."""
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise InvalidOption(name, value.encode(errors="replace").decode(), "text without NUL and half characters")
    elif isinstance(value, Mapping):
        for key, part in value.items():
            check_text(key, name or "field")
            check_text(part, name or str(key))
    elif isinstance(value, list):
        for part in value:
            check_text(part, name)


def read_choice(values: Mapping[str, object], name: str, kind: type[Chosen], default: Chosen) -> Chosen:
    value = values.get(name, default)
    text = value.strip().lower() if isinstance(value, str) else ""
    if text not in set(kind):
        raise InvalidOption(name, value, ", ".join(kind))
    return kind(text)


def _is_empty(name: str, value: object) -> bool:
    """Not given: null (but for options that may be none) or blank."""
    if value is None:
        return name not in _nullable()
    return isinstance(value, str) and not value.strip() and not name.endswith("_punctuations")


@cache
def _nullable() -> frozenset[str]:
    return frozenset(row.name for row in option_table() if row.type.endswith("or none") and row.default is not None)


def _option_values(given: Mapping[str, object]) -> dict[str, object]:
    names = {row.name for row in option_table()}
    values = {name: value for name, value in given.items() if name in names}
    if (prompt := given.get("prompt")) is not None:
        if values.setdefault("initial_prompt", prompt) != prompt:
            raise InvalidOption("initial_prompt", values["initial_prompt"], "the same as prompt, or only one of them")
    if isinstance(language := values.get("language"), str):
        values["language"] = language_code(language)
    if _is_zero(values.get("temperature")):
        del values["temperature"]  # as OpenAI has it: 0 asks for the schedule of fallbacks, which is the default
    return values


def _is_zero(value: object) -> bool:
    """A lone 0; a list is meant as one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    try:
        return float(value) == 0.0
    except (ValueError, OverflowError):
        return False


def _task_type(given: Mapping[str, object], option_values: dict[str, object]) -> Task:
    """``task`` is the option's own name of ``task_type``."""
    by_option = read_choice(option_values, "task", Task, Task.TRANSCRIBE)
    chosen = read_choice(given, "task_type", Task, by_option)
    if "task" in option_values and by_option is not chosen:
        raise InvalidOption("task", by_option.value, f"{chosen.value}, because task_type says so")
    option_values.pop("task", None)
    return chosen


def _stored(decode: DecodeOptions, given: Mapping[str, object]) -> dict[str, Any]:
    """The options that were given, in the order of the table, as JSON can say them."""
    return {name: value for row in option_table() if (name := row.name) in given for value in _plain(decode, name)}


def _plain(decode: DecodeOptions, name: str) -> Iterator[Any]:
    value = getattr(decode, name)
    if isinstance(value, float) and not math.isfinite(value):
        return  # JSON has no infinity; where it is allowed it is the default
    if isinstance(value, tuple):
        yield list(value)
    else:
        yield value.value if isinstance(value, Enum) else value


def _text(given: Mapping[str, object], name: str, most: int, *, lines: bool = False) -> str:
    value = given.get(name, "")
    text = value.strip() if isinstance(value, str) else None
    if text is None or len(text) > most or not (lines or text.isprintable()):
        raise InvalidOption(name, value, f"text of up to {most:,} characters{'' if lines else ' on one line'}")
    return text


def _seconds(given: Mapping[str, object], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]  # or TypeError
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 < seconds <= MAX_EXPIRES_IN:
        raise InvalidOption(name, value, f"a number of seconds, above 0 to {MAX_EXPIRES_IN:.0f}")
    return seconds


def _tags(given: Mapping[str, object]) -> tuple[str, ...]:
    tags = tuple(dict.fromkeys(_names(given, "tags", "a list of texts")))
    for tag in tags:
        if len(tag) > MAX_TAG or not tag.isprintable():
            raise InvalidOption("tags", tag, f"each up to {MAX_TAG} characters on one line")
    if len(tags) > MAX_TAGS:
        raise InvalidOption("tags", list(tags), f"up to {MAX_TAGS} of them")
    return tags


def _formats(given: Mapping[str, object]) -> tuple[str, ...]:
    allowed = [format.value for format in RESULT_FORMATS]
    names = [name.lower() for name in _names(given, "formats", ", ".join(allowed))]
    for name in names:
        if name not in allowed:
            raise InvalidOption("formats", name, ", ".join(allowed))
    return tuple(dict.fromkeys(names))


def _names(given: Mapping[str, object], name: str, allowed: str) -> Iterator[str]:
    """The parts of a list, also one written with commas."""
    value = given.get(name, [])
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, str):
            raise InvalidOption(name, part, allowed)
        yield from (piece.strip() for piece in part.split(",") if piece.strip())
