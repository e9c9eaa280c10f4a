"""Flags made from tables: the decode options, the subtitle layout and the settings each stand in one place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, get_type_hints

import typer


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One generated flag. Its value reaches the command as text, unread; a switch as a bool."""

    name: str
    help: str
    panel: str
    metavar: str = "TEXT"
    switch: bool = False
    """Two flags: ``--name`` and ``--no-name``."""
    others: tuple[str, ...] = ()
    """Further names, such as ``-l``."""
    choices: tuple[str, ...] = ()
    """Offered by shell completion."""

    @property
    def dashed(self) -> str:
        return "--" + self.name.replace("_", "-")

    def parameter(self) -> inspect.Parameter:
        """The flag as Typer reads it: None when it is not given."""
        declared = f"{self.dashed}/--no-{self.dashed[2:]}" if self.switch else self.dashed
        info = typer.Option(
            declared,
            *self.others,
            help=self.help,
            rich_help_panel=self.panel,
            show_default=False,
            metavar=None if self.switch else "|".join(self.choices) or self.metavar,
            autocompletion=(lambda: [*self.choices]) if self.choices else None,
        )
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[(bool if self.switch else str) | None, info],
        )


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def with_flags(into: str, flags: Iterable[Flag]) -> Decorator:
    """Give a command ``flags``; those that were given reach it as one dict, its argument ``into``."""
    table = {flag.name: flag for flag in flags}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_dict(*args: Any, **given: Any) -> Any:
            values = {name: given.pop(name) for name in table if name in given}
            given[into] = {name: value for name, value in values.items() if value is not None}
            return command(*args, **given)

        own = inspect.signature(command, eval_str=True)
        kept = [parameter for name, parameter in own.parameters.items() if name != into]
        return _with_signature(with_dict, own, [*kept, *(flag.parameter() for flag in table.values())])

    return decorate


def with_fields(into: str) -> Decorator:
    """Give a command the fields of its argument ``into``, a dataclass, as Typer's parameters; they reach it as one."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command, eval_str=True)
        line = own.parameters[into].annotation
        parameters = _parameters(line)

        @functools.wraps(command)
        def with_line(*args: Any, **given: Any) -> Any:
            given[into] = line(**{each.name: given.pop(each.name) for each in parameters})
            return command(*args, **given)

        kept = [parameter for name, parameter in own.parameters.items() if name != into]
        return _with_signature(with_line, own, [*parameters, *kept])

    return decorate


def _parameters(line: type[Any]) -> list[inspect.Parameter]:
    annotations = get_type_hints(line, include_extras=True)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if each.default is MISSING else each.default,
            annotation=annotations[each.name],
        )
        for each in fields(line)
    ]


def with_parameter(command: Callable[..., Any], wrapper: Callable[..., Any], extra: inspect.Parameter) -> Any:
    """``wrapper``, which Typer reads as ``command`` with one parameter more."""
    own = inspect.signature(command, eval_str=True)
    return _with_signature(wrapper, own, [*own.parameters.values(), extra])


def _with_signature(
    function: Callable[..., Any], signature: inspect.Signature, parameters: list[inspect.Parameter]
) -> Callable[..., Any]:
    keyword_only = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    function.__signature__ = signature.replace(parameters=keyword_only)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    return function


COMMON_OPTIONS = (
    *("language", "task", "mode", "channels"),
    *("initial_prompt", "hotwords", "word_timestamps", "vad_filter"),
)
"""Shown first, in this order."""
DESCRIPTIONS = {"language": "Of the speech: ko, ko-KR or korean; detected when not given."}
"""Of options that mean more on the command line than elsewhere."""
OTHER_NAMES = {"language": ("-l",), "task": ("-t",), "initial_prompt": ("--prompt",)}


def option_flags(names: Container[str] | None = None) -> list[Flag]:
    """A flag for each field of DecodeOptions in ``names``; for every one when None."""
    from kikitori.options import option_table
    from kikitori.types import Channels, DecodeMode, Task

    choices = {"task": Task, "mode": DecodeMode, "channels": Channels}
    common = COMMON_OPTIONS
    rows = [row for row in option_table() if names is None or row.name in names]
    rows.sort(key=lambda row: common.index(row.name) if row.name in common else len(common))
    return [
        Flag(
            name=row.name,
            help=_explained(
                DESCRIPTIONS.get(row.name, row.description), row.default, "" if row.name in choices else row.allowed
            ),
            panel="Decoding" if row.name in common else "All decode options",
            metavar=_metavar(row.type, row.many),
            switch=row.type.startswith("true/false"),
            others=OTHER_NAMES.get(row.name, ()),
            choices=tuple(choices.get(row.name, ())),
        )
        for row in rows
    ]


def with_language_code(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options``, where ``--language korean`` and ``--language ko-KR`` are ``ko``."""
    language = str(options.get("language", "")).strip().lower()
    return {**options, "language": _language_code(language)} if language else {**options}


def _language_code(language: str) -> str:
    """The code of a language in lower case; ``language`` where it is none, for whoever checks the options to say so."""
    from kikitori.text.languages import LANGUAGE_NAMES

    codes = {name: code for code, name in LANGUAGE_NAMES.items()}
    if code := codes.get(language):
        return code
    from kikitori.protocols.live_start import language_code

    try:
        return language_code(language) or language
    except ValueError:
        return language


def layout_flags() -> list[Flag]:
    """A flag for every option of the subtitle layout."""
    from kikitori.text.subtitle_options import layout_table

    return [
        Flag(
            name=row.name,
            help=_explained(row.description, row.default, row.allowed),
            panel="Subtitles",
            metavar=_metavar(row.type, row.many),
            switch=row.type.startswith("true/false"),
        )
        for row in layout_table()
    ]


def _explained(description: str, default: object, allowed: str) -> str:
    said = not allowed or allowed.startswith(("true, false", "text", "a language"))
    notes = [] if said else [f"Allowed: {allowed}."]
    if shown := shown_default(default):
        notes.append(f"Default: {shown}" + ("." if shown[-1].isalnum() else ""))
    return " ".join([description, *notes])


def shown_default(default: object) -> str:
    """A default for people; "" where there is none worth a word."""
    if default is None or default == () or default == "":
        return ""
    if isinstance(default, bool):
        return "yes" if default else ""
    if isinstance(default, tuple | list):
        return ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in default)
    if isinstance(default, float):
        return "no limit" if default == float("inf") else f"{default:g}"
    return str(default)


def _metavar(kind: str, many: bool) -> str:
    noun = next((shown for word, shown in (("whole", "N"), ("number", "X")) if word in kind), "TEXT")
    return f"{noun},…" if many else noun
