"""Flags that several commands have, the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kikitori.cli.outputs import TASK_FORMATS

DEFAULT_URL = "http://127.0.0.1:8000"

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress: results and errors only.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]

ServerUrl = Annotated[
    str,
    typer.Option(metavar="URL", envvar="KIKITORI_URL", help="The Kikitori server to ask.", rich_help_panel="Server"),
]
"""Of commands that need a server; the default is ``DEFAULT_URL``."""

InsteadUrl = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        help="Let this Kikitori server hear it, not this machine.",
        show_default=False,
        rich_help_panel="Server",
    ),
]
"""Of commands that need none; the default is "": nothing leaves this machine unless it is asked for."""

ApiKey = Annotated[
    str,
    typer.Option(
        metavar="KEY",
        envvar="KIKITORI_API_KEY",
        help="API key of that server.",
        show_default=False,
        rich_help_panel="Server",
    ),
]

Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        "-f",
        metavar="|".join(TASK_FORMATS),
        help="Form of the text; several with commas or by repeating the flag. Default: txt.",
        autocompletion=lambda: [*TASK_FORMATS],
    ),
]
OutputFolder = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write NAME.FORMAT files into this folder.")
]
Microphone = Annotated[str, typer.Option(metavar="NAME|NUMBER", help="Which microphone. Default: the usual one.")]
