"""Settings for a command: its flags over the environment, ``.env`` and the TOML file."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from kikitori.cli.exits import InvalidSetting
from kikitori.cli.flags import Flag, shown_default
from kikitori.errors import InvalidInput, InvalidOption

if TYPE_CHECKING:
    from kikitori.settings import Settings

COMMON = ("data_dir",)
MODEL_FLAGS = (
    *("model", "device", "device_index", "compute_type", "cpu_threads", "cpu_workers"),
    *("max_batch_size", "offline"),
)
METAVARS = (("dict", "JSON"), ("list", "TEXT,…"), ("Path", "PATH"), ("int", "N"), ("float", "X"))
"""What the help shows for a kind of value."""
NO_FLAG = frozenset(
    {
        *("callback_secret", "former_callback_secret", "llm_api_key", "openai_api_key", "tts_api_key"),
        *("site_cookies", "site_proxy"),
    }
)
"""Secrets: every user of the machine can read the arguments of a process."""


def settings_flags(names: Iterable[str] | None = None, *, panel: str = "Settings") -> list[Flag]:
    """A flag for each setting of ``names``; of all that may be flags when None. ``config`` comes first."""
    from kikitori.settings import Settings

    wanted = [name for name in Settings.model_fields if names is None or name in set(names)]
    flags = [_flag(name, Settings.model_fields[name], panel) for name in wanted if name not in NO_FLAG]
    config = Flag(name="config", help="TOML file with settings.", panel=panel, metavar="FILE")
    return [config, *flags]


def _flag(name: str, field: FieldInfo, panel: str) -> Flag:
    shown = "" if field.default is PydanticUndefined else shown_default(_plain(field.default))
    note = f" Default: {shown}." if shown else ""
    return Flag(
        name=name,
        help=f"{field.description}{note}",
        panel=panel,
        metavar=next((metavar for kind, metavar in METAVARS if kind in str(field.annotation)), "TEXT"),
        switch=field.annotation is bool,
        choices=_choices(field),
    )


def load_settings(values: Mapping[str, Any]) -> Settings:
    """The settings, where ``values`` (from ``settings_flags``) win. Raises InvalidSetting naming flag and variable."""
    given = dict(values)
    with _config_file(given.pop("config", None)):
        return _load(given)


def _load(given: dict[str, Any]) -> Settings:
    from kikitori.settings import Settings

    _check_config()
    for name in [name for name in given if _is_json(Settings.model_fields[name])]:
        given[name] = _json(name, given[name])
    try:
        return Settings(**given)
    except ValidationError as exc:
        first = exc.errors()[0]
        raise _named(str(first["loc"][0]) if first["loc"] else "settings", first["input"], first["msg"]) from exc
    except ValueError as exc:  # a variable that is not the JSON it should be
        raise InvalidSetting(
            f"The settings cannot be read: {exc}.", remedy="docs/settings.md shows their forms."
        ) from exc


@contextmanager
def blamed_on_settings() -> Iterator[None]:
    """What cannot be built from the settings is wrong usage, by its exit code too."""
    try:
        yield
    except InvalidInput as exc:
        raise InvalidSetting(exc.message, remedy=exc.remedy, param=exc.param) from exc


@contextmanager
def _config_file(named: str | None) -> Iterator[None]:
    """``--config`` is KIKITORI_CONFIG while the settings are read."""
    before = os.environ.get("KIKITORI_CONFIG")
    if named is not None:
        os.environ["KIKITORI_CONFIG"] = named
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("KIKITORI_CONFIG", None)
        else:
            os.environ["KIKITORI_CONFIG"] = before


def _check_config() -> None:
    """A TOML file that is named must be there and be TOML: settings that are silently left out do harm."""
    named = os.environ.get("KIKITORI_CONFIG")
    if not named:
        return
    try:
        tomllib.loads(Path(named).read_text("utf-8"))
    except OSError as exc:
        raise InvalidOption("config", named, f"a TOML file ({exc.strerror})") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidOption("config", named, f"a TOML file ({exc})") from exc


def _named(name: str, value: object, problem: str) -> InvalidSetting:
    flag = "--" + name.replace("_", "-")
    shown = "(secret)" if name in NO_FLAG or isinstance(value, SecretStr) or "url" in name else repr(value)
    return InvalidSetting(
        f"{flag} (KIKITORI_{name.upper()}) is {shown}: {problem}.", remedy="docs/settings.md lists them.", param=name
    )


def _json(name: str, value: object) -> object:
    try:
        return json.loads(str(value))
    except ValueError as exc:
        raise _named(name, value, f"not JSON ({exc})") from exc


def _is_json(field: FieldInfo) -> bool:
    return str(field.annotation).startswith("dict")


def _choices(field: FieldInfo) -> tuple[str, ...]:
    values = getattr(field.annotation, "__args__", ()) or getattr(field.annotation, "__members__", {}).values()
    return tuple(str(value) for value in values if isinstance(value, str))


def _plain(default: object) -> object:
    return default.get_secret_value() if isinstance(default, SecretStr) else default
