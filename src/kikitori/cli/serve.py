"""``kikitori serve``: start the server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kikitori.cli.apps import App
from kikitori.cli.config import blamed_on_settings, load_settings, settings_flags
from kikitori.cli.exits import guarded, say
from kikitori.cli.flags import Flag, with_flags
from kikitori.errors import InvalidOption

if TYPE_CHECKING:
    from kikitori.console.watching import Watched
    from kikitori.services.parts import Services
    from kikitori.settings import Settings

COMMON = (
    "config",
    "host",
    "port",
    "model",
    "data_dir",
    "device",
    "console",
    "wyoming_port",
    "tls_cert",
    "tls_key",
    "insecure",
    "log_format",
    "log_level",
)

app = App()


def serve_flags() -> list[Flag]:
    """A flag for every setting; those that most people need come first."""
    flags = {flag.name: flag for flag in settings_flags(panel="More settings")}
    first = [replace(flags[name], panel="Server") for name in COMMON]
    return [*first, *(flag for name, flag in flags.items() if name not in COMMON)]


@app.command()
@guarded
@with_flags("settings", serve_flags())
def serve(*, settings: dict[str, Any]) -> None:
    """Start the server. Each flag is also an environment variable: --data-dir is KIKITORI_DATA_DIR."""
    loaded = load_settings(settings)
    if loaded.console and loaded.console_port == loaded.port:
        raise InvalidOption("console_port", loaded.console_port, "another port than that of the server")
    from kikitori.web import server

    with ExitStack() as beside, blamed_on_settings():

        def ready(url: str) -> None:
            _tell(url)
            if loaded.console:
                beside.enter_context(closing(_console(loaded, url)))

        if loaded.wyoming_port is None:
            server.serve(loaded, on_ready=ready)
        else:
            server.serve(loaded, on_ready=ready, opener=_with_wyoming)


@asynccontextmanager
async def _with_wyoming(settings: Settings, admit: Callable[[bool], None]) -> AsyncGenerator[Services, None]:
    """The services, and beside the server the port for Home Assistant."""
    from kikitori.home.server import wyoming
    from kikitori.services.opening import open_services

    async with open_services(settings, admit) as services:
        async with wyoming(services, settings.wyoming_host, settings.wyoming_port or 0) as port:
            say(f"Home Assistant finds it by Wyoming at {settings.wyoming_host}, port {port}.")
            yield services


def _tell(url: str) -> None:
    say(f"Kikitori listens on {url}. Its documentation is at {url}/docs. Ctrl-C stops it.")


def _console(settings: Settings, url: str) -> Watched:
    """The console beside the server that listens on ``url``."""
    from kikitori.console.launch import Place
    from kikitori.console.target import Target
    from kikitori.console.watching import Watched
    from kikitori.web import binding

    certificate = str(settings.tls_cert or "")
    place = Place(
        target=Target(
            url=url,
            public_url=settings.public_url,
            certificate=certificate,
            open=settings.insecure or binding.is_loopback(settings.host),
        ),
        host=settings.host,
        port=settings.console_port,
        tls_cert=certificate,
        tls_key=str(settings.tls_key or ""),
        origins=tuple(settings.console_origins),
    )
    return Watched(place, tell=lambda where: say(f"The console for people is at {where}."))
