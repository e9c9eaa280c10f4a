"""``kikitori bench``: measurements, from outside a server."""

from __future__ import annotations

import typer

from kikitori.cli.bench import live

app = typer.Typer(
    help="Measure how a server does, from outside.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def bench() -> None:
    pass


live.register(app)
