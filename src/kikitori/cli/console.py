"""``kikitori console``: the web page for people, for a server that runs here or elsewhere."""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from kikitori.cli.apps import App
from kikitori.cli.exits import ExitCode, InvalidSetting, guarded, say
from kikitori.cli.flags import with_fields
from kikitori.cli.shared_flags import DEFAULT_URL, ServerUrl
from kikitori.errors import InvalidOption

if TYPE_CHECKING:
    from kikitori.console.launch import Place

app = App()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What was typed."""

    url: ServerUrl = DEFAULT_URL
    public_url: Annotated[
        str,
        typer.Option(metavar="URL", help="The same server as browsers reach it, where that is another address."),
    ] = ""
    server_cert: Annotated[
        str, typer.Option(metavar="FILE", help="Trust the server that shows exactly this certificate (PEM).")
    ] = ""
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=65_535, help="Port to listen on; 0 picks a free one. Default: 8501."),
    ] = None
    tls_cert: Annotated[str, typer.Option(metavar="FILE", help="Certificate chain (PEM): serve HTTPS.")] = ""
    tls_key: Annotated[str, typer.Option(metavar="FILE", help="Private key (PEM) of --tls-cert.")] = ""
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Let a network use a server without keys. Only for closed networks."),
    ] = False
    origins: Annotated[
        list[str] | None,
        typer.Option(
            "--origin", metavar="ORIGIN", help="Address of this console behind a reverse proxy; may be repeated."
        ),
    ] = None


@app.command()
@guarded
@with_fields("line")
def console(*, line: CommandLine) -> None:
    """Open a web page where recordings become text, for people.

    It talks to the server at --url, and needs nothing else. To start both at once: `kikitori serve --console`.
    """
    from kikitori.console.launch import Console

    place = _place(line)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with closing(Console(place)) as running:
            running.wait_until_ready()
            say(f"The console is at {place.url}, for the server {place.target.url}. Ctrl-C stops it.")
            code = running.wait()
    except KeyboardInterrupt:
        say("Stopped.")
        return
    finally:
        signal.signal(signal.SIGTERM, before)
    raise typer.Exit(ExitCode.FAILED if code else ExitCode.OK)


def _place(line: CommandLine) -> Place:
    """Where the console listens, and for which server. Raises InvalidOption, InvalidSetting, Unavailable."""
    from kikitori.console.launch import DEFAULT_PORT, Place
    from kikitori.console.target import Target, checked_url
    from kikitori.web import binding

    if bool(line.tls_cert) != bool(line.tls_key):
        raise InvalidSetting("HTTPS needs both --tls-cert and --tls-key.", param="tls_cert")
    for name in ("server_cert", "tls_cert", "tls_key"):
        if (path := getattr(line, name)) and not Path(path).is_file():
            raise InvalidOption(name, path, "a PEM file")
    return Place(
        target=Target(
            url=checked_url(line.url, "url"),
            public_url=checked_url(line.public_url, "public_url") if line.public_url else "",
            certificate=line.server_cert,
            open=line.insecure or binding.is_loopback(line.host),
        ),
        host=line.host,
        port=free_port(line.host, DEFAULT_PORT if line.port is None else line.port),
        tls_cert=line.tls_cert,
        tls_key=line.tls_key,
        origins=tuple(line.origins or ()),
    )


def free_port(host: str, port: int) -> int:
    """``port``, or a free one for 0. Raises Unavailable when it is taken."""
    from kikitori.web import binding

    sockets = binding.open_sockets(host, port)
    try:
        return int(sockets[0].getsockname()[1])
    finally:
        for each in sockets:
            each.close()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
