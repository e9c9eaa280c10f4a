"""What our commands look like: plain errors, plain help in sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

SECTIONS = ("Arguments", "Options", "Server", "Decoding", "Model", "Subtitles")
"""Those that most people need, in this order; the others come after."""


class SectionedCommand(TyperCommand):
    """Shows its flags in sections, each under its full name however long that is."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            plain = "Options"
            if parameter.param_type_name == "argument":
                plain, record = "Arguments", (parameter.metavar or parameter.name, record[1])  # without Python's type
            sections.setdefault(getattr(parameter, "rich_help_panel", None) or plain, []).append(record)
        first = [title for title in SECTIONS if title in sections]
        for title in [*first, *(title for title in sections if title not in first)]:
            with formatter.section(title):
                formatter.write_dl(sections[title])


class App(typer.Typer):
    """One command, or a group of them."""

    def __init__(self, **more: Any) -> None:
        plain: dict[str, Any] = {
            "add_completion": False,  # the root has it
            "rich_markup_mode": None,
            "pretty_exceptions_enable": False,
        }
        super().__init__(**{**plain, **more})

    def command(self, name: str | None = None, **more: Any) -> Callable[..., Any]:
        return super().command(name, **{"cls": SectionedCommand, **more})
