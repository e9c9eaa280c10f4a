"""``kikitori version``."""

from __future__ import annotations

import platform

import typer

from kikitori import __version__
from kikitori.cli.apps import App

app = App()


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo(f"kikitori {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
