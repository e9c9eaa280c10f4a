"""A group of commands that imports a command only when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer.main
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command: what ``--help`` says of it, and the module whose ``app`` it is."""

    name: str
    module: str
    help: str
    hidden: bool = False


class LazyGroup(TyperGroup):
    """Lists its entries from their descriptions alone; imports one to run it, or to show its own help."""

    entries: tuple[Entry, ...] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for entry in self.entries:
            self.add_command(TyperCommand(entry.name, help=entry.help, hidden=entry.hidden, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, self.load(name) if found and name else found, rest

    def load(self, name: str) -> Any:
        """The real command. Raises StopIteration for a name that is no entry."""
        entry = next(entry for entry in self.entries if entry.name == name)
        command = typer.main.get_command(import_module(entry.module).app)
        command.name = name
        return command
