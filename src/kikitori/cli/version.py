"""``kikitori version``."""

from __future__ import annotations

import platform

import typer

from kikitori import __version__

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo(f"kikitori {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
