"""The root command: what there is, in one table."""

from __future__ import annotations

from typing import Annotated

import typer

from kikitori import __version__
from kikitori.cli.apps import App
from kikitori.cli.lazy import Entry, LazyGroup


class Commands(LazyGroup):
    entries = (
        Entry(name="transcribe", module="kikitori.cli.transcribe", help="Turn recordings into text or subtitles."),
        Entry(name="listen", module="kikitori.cli.listen.command", help="Show what is spoken, while it is spoken."),
        Entry(name="talk", module="kikitori.cli.talk.command", help="Speak with a server, and hear its replies."),
        Entry(name="serve", module="kikitori.cli.serve", help="Start the server."),
        Entry(name="console", module="kikitori.cli.console", help="Open a web page for people, beside a server."),
        Entry(
            name="tasks", module="kikitori.cli.tasks.group", help="Send tasks to a server, watch them, get their texts."
        ),
        Entry(name="worker", module="kikitori.cli.worker", help="Work on tasks without answering requests."),
        Entry(name="nodes", module="kikitori.cli.nodes", help="Show the processes that work on tasks."),
        Entry(name="db", module="kikitori.cli.db", help="Show and upgrade the database."),
        Entry(name="models", module="kikitori.cli.models", help="Show, download and remove models."),
        Entry(name="keys", module="kikitori.cli.keys", help="Make, show and revoke API keys."),
        Entry(name="bench", module="kikitori.cli.bench.group", help="Measure how a server does, from outside."),
        Entry(name="doctor", module="kikitori.cli.doctor", help="Check this installation and say how to mend it."),
        Entry(name="version", module="kikitori.cli.version", help="Show the version."),
    )


app = App(
    name="kikitori",
    cls=Commands,
    help="Kikitori turns speech into text: files, live audio and conversations, on your own machine.",
    epilog="`kikitori COMMAND --help` shows the options of a command.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=True,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kikitori {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass
