"""``kikitori serve``: start the server."""

from __future__ import annotations

from typing import Any

import typer

from kikitori.cli.config import load_settings, settings_flags
from kikitori.cli.exits import guarded, say
from kikitori.cli.flags import Flag, SectionedCommand, with_flags

COMMON = (
    "config",
    "host",
    "port",
    "model",
    "data_dir",
    "device",
    "tls_cert",
    "tls_key",
    "insecure",
    "log_format",
    "log_level",
)

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def serve_flags() -> list[Flag]:
    """A flag for every setting; those that most people need come first."""
    flags = {flag.name: flag for flag in settings_flags(panel="More settings")}
    first = [Flag(**{**_facts(flags[name]), "panel": "Server"}) for name in COMMON]
    return [*first, *(flag for name, flag in flags.items() if name not in COMMON)]


def _facts(flag: Flag) -> dict[str, Any]:
    return {name: getattr(flag, name) for name in Flag.__dataclass_fields__}


@app.command(cls=SectionedCommand)
@guarded
@with_flags("settings", serve_flags())
def serve(*, settings: dict[str, Any]) -> None:
    """Start the server. Each flag is also an environment variable: --data-dir is KIKITORI_DATA_DIR."""
    loaded = load_settings(settings)
    from kikitori.web import server

    server.serve(loaded, on_ready=_tell)


def _tell(url: str) -> None:
    say(f"Kikitori listens on {url}. Its documentation is at {url}/docs. Ctrl-C stops it.")
