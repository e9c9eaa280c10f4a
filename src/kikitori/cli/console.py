"""``kikitori console``: the web page for people, for a server that runs here or elsewhere."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from kikitori.cli.exits import ExitCode, InvalidSetting, guarded, say
from kikitori.cli.flags import SectionedCommand
from kikitori.errors import InvalidOption

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=SectionedCommand)
@guarded
def console(
    *,
    url: Annotated[
        str,
        typer.Option(metavar="URL", envvar="KIKITORI_URL", help="The server. Default: http://127.0.0.1:8000."),
    ] = "",
    public_url: Annotated[
        str,
        typer.Option(metavar="URL", help="The same server as browsers reach it, where that is another address."),
    ] = "",
    server_cert: Annotated[
        str, typer.Option(metavar="FILE", help="Trust the server that shows exactly this certificate (PEM).")
    ] = "",
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on. Default: 127.0.0.1.")] = "",
    port: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=65_535, help="Port to listen on; 0 picks a free one. Default: 8501."),
    ] = None,
    tls_cert: Annotated[str, typer.Option(metavar="FILE", help="Certificate chain (PEM): serve HTTPS.")] = "",
    tls_key: Annotated[str, typer.Option(metavar="FILE", help="Private key (PEM) of --tls-cert.")] = "",
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Let a network use a server without keys. Only for closed networks."),
    ] = False,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Address of this console behind a reverse proxy; may be repeated."),
    ] = None,
) -> None:
    """Open a web page where recordings become text, for people.

    It talks to the server at --url, and needs nothing else. To start both at once: `kikitori serve --console`.
    """
    from kikitori.console.launch import DEFAULT_PORT, Console, Place
    from kikitori.console.target import DEFAULT_URL, Target, checked_url
    from kikitori.web import binding

    if bool(tls_cert) != bool(tls_key):
        raise InvalidSetting("HTTPS needs both --tls-cert and --tls-key.", param="tls_cert")
    for name, path in (("server_cert", server_cert), ("tls_cert", tls_cert), ("tls_key", tls_key)):
        if path and not Path(path).is_file():
            raise InvalidOption(name, path, "a PEM file")
    where = host or "127.0.0.1"
    place = Place(
        target=Target(
            url=checked_url(url or DEFAULT_URL, "url"),
            public_url=checked_url(public_url, "public_url") if public_url else "",
            certificate=server_cert,
            open=insecure or binding.is_loopback(where),
        ),
        host=where,
        port=free_port(where, DEFAULT_PORT if port is None else port),
        tls_cert=tls_cert,
        tls_key=tls_key,
        origins=tuple(origin or ()),
    )
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
