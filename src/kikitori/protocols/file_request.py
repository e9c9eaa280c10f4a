"""``transcribe`` of the file WebSocket: its fields → what is to be done with which file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kikitori.errors import InvalidInput, InvalidOption, TooLarge
from kikitori.options import DecodeOptions, option_table, parse_options
from kikitori.protocols.live_start import language_code
from kikitori.text.languages import LANGUAGE_NAMES

OTHER_FIELDS = ("type", "audio", "size", "model", "save_audio", "file_name", "prompt")
"""Fields beside the decode options that mean something here."""
MOST_NAMED = 20
"""Fields that mean nothing and are named to the client."""
LONGEST_NAME = 64
"""Characters of a field's name that are repeated to the client."""
LONGEST_MODEL = 200
"""Characters of the name of a model."""
MIB = 1024**2

_CODES = {name: code for code, name in LANGUAGE_NAMES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    """A ``transcribe``, read; the file itself is beside it, or on its way."""

    options: DecodeOptions = field(default_factory=DecodeOptions)
    model: str = ""
    """"" is the default model."""
    file_name: str = ""
    """As the client wrote it: a label, never a path."""
    save_audio: bool = False
    size_bytes: int | None = None
    """What binary frames will bring; None: the file was in the message."""
    ignored: tuple[str, ...] = ()
    """Fields that mean nothing here."""


def read_request(message: Mapping[str, Any], *, max_bytes: int) -> FileRequest:
    """What ``message`` asks for. Raises InvalidInput or TooLarge, naming the field."""
    given = {name: value for name, value in message.items() if value is not None or name in _nullable()}
    size = _size(given, max_bytes)
    save = given.get("save_audio", False)
    if not isinstance(save, bool):
        raise InvalidOption("save_audio", save, "true, false")
    names = sorted(given.keys() - {*OTHER_FIELDS, *_option_names()})
    return FileRequest(
        options=parse_options(_option_values(given)),
        model=_model(given),
        file_name=_text(given, "file_name"),
        save_audio=save,
        size_bytes=size,
        ignored=tuple(name[:LONGEST_NAME] for name in names[:MOST_NAMED]),
    )


def upload_too_large(max_bytes: int, *, param: str) -> TooLarge:
    return TooLarge(
        f"The file is too large: this server takes up to {max_bytes / MIB:,.1f} MiB.",
        remedy="Send it in parts, or as a format that takes less room.",
        param=param,
    )


def announced_bytes(message: Mapping[str, Any]) -> int:
    """How many binary bytes will follow ``message``, whatever else is wrong with it."""
    size = message.get("size")
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else 0


def _size(given: Mapping[str, Any], max_bytes: int) -> int | None:
    """The announced size; None when the file is in the message."""
    audio, size = given.get("audio"), given.get("size")
    if audio is not None and size is not None:
        raise InvalidInput("There is audio and a size.", remedy="Send one of them.", param="size")
    if size is None:
        if audio is None:
            raise InvalidInput("There is no file.", remedy=_NO_FILE_REMEDY, param="audio")
        if not isinstance(audio, str):
            raise InvalidInput("audio is no text.", remedy="Send the file in base64.", param="audio")
        return None
    if not announced_bytes(given):
        raise InvalidOption("size", size, "the bytes of the file: a whole number, 1 or more")
    if size > max_bytes:
        raise upload_too_large(max_bytes, param="size")
    return int(size)


def _option_values(given: Mapping[str, Any]) -> dict[str, object]:
    values: dict[str, object] = {name: value for name, value in given.items() if name in _option_names()}
    if (prompt := given.get("prompt")) is not None and values.setdefault("initial_prompt", prompt) != prompt:
        raise InvalidOption("initial_prompt", values["initial_prompt"], "the same as prompt, or only one of them")
    if isinstance(language := values.get("language"), str):
        values["language"] = _language(language)
    temperature = values.get("temperature")
    if isinstance(temperature, int | float) and not isinstance(temperature, bool) and not temperature:
        del values["temperature"]  # as OpenAI has it: 0 asks for the schedule of fallbacks, which is the default
    for name, value in values.items():
        if isinstance(value, str) and not _is_storable(value):
            raise InvalidOption(name, value.encode(errors="replace").decode(), "text without NUL and half characters")
    return values


def _language(text: str) -> str:
    """``English``, ``en-US`` and ``EN`` are ``en``; ``auto`` is no language."""
    plain = text.strip()
    if not plain:
        return ""
    try:
        return _CODES.get(plain.lower()) or language_code(plain) or ""
    except ValueError as exc:
        raise InvalidOption("language", text, "a language such as ja, en-US, korean, or auto") from exc


def _model(given: Mapping[str, Any]) -> str:
    name = _text(given, "model").strip()
    if len(name) > LONGEST_MODEL or not name.isprintable():
        raise InvalidOption("model", name, f"text of up to {LONGEST_MODEL} characters on one line")
    return name


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise InvalidOption(name, value, "text")
    return value.encode(errors="replace").decode()


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


@cache
def _option_names() -> frozenset[str]:
    return frozenset(row.name for row in option_table())


@cache
def _nullable() -> frozenset[str]:
    """Options that null switches off; anywhere else it means: not given."""
    return frozenset(row.name for row in option_table() if row.type.endswith("or none") and row.default is not None)


_NO_FILE_REMEDY = (
    "Send it in base64 as `audio`, up to about 23 MiB of it; "
    "or send its bytes as `size`, and then the file itself in binary frames, which may be larger."
)
