"""Plain tables on stdout, for people and for ``awk``."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from kikitori.text.glyphs import width


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they must be, two spaces between them; no heads when ``head`` is empty."""
    lines = [*([head] if head else []), *rows]
    widths = [max(width(line[column]) for line in lines) for column in range(len(lines[0]))] if lines else []
    for line in lines:
        cells = (cell + " " * (most - width(cell)) for cell, most in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
