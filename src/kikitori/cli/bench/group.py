"""``kikitori bench``: measurements, from outside a server."""

from __future__ import annotations

from kikitori.cli.apps import App
from kikitori.cli.bench import live

app = App(help="Measure how a server does, from outside.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    pass


live.register(app)
