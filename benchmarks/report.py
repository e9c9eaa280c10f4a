"""Tables on the terminal and in docs/benchmarks.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Made by `make bench`, one section for each part of it. Only ratios within one run mean anything on another machine.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One measured table: what was run, where, and what came out."""

    name: str
    """Its section; also what ``python -m benchmarks NAME`` takes."""
    title: str
    command: str
    machine: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def show(table: Table) -> None:
    """Print the table on the terminal."""
    console = Console(width=140)
    rich = RichTable(title=table.title, title_justify="left")
    for number, column in enumerate(table.columns):
        rich.add_column(column, justify="left" if number == 0 else "right")
    for row in table.rows:
        rich.add_row(*row)
    console.print(rich)
    for note in table.notes:
        console.print(f"  {note}")
    console.print(f"  [dim]{table.machine}[/dim]\n")


def write(table: Table) -> None:
    """Put the table into its section of the page; other sections stay."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else HEAD
    begin, end = f"<!-- begin {table.name} -->", f"<!-- end {table.name} -->"
    section = f"{begin}\n{_markdown(table)}\n{end}"
    if begin in page:
        page = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: section, page, flags=re.DOTALL)
    else:
        page = f"{page.rstrip()}\n\n{section}\n"
    PAGE.write_text(page, encoding="utf-8")


def _markdown(table: Table) -> str:
    lines = [
        f"## {table.title}",
        "",
        f"`{table.command}` · {table.machine}",
        "",
        "| " + " | ".join(table.columns) + " |",
        "|" + "|".join(" --- " if number == 0 else " ---: " for number in range(len(table.columns))) + "|",
        *("| " + " | ".join(row) + " |" for row in table.rows),
    ]
    return "\n".join([*lines, *([""] if table.notes else []), *table.notes])
