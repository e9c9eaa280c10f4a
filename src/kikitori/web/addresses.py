"""The addresses of this server and its console, as whoever sent a request knows them."""

from __future__ import annotations

import re

from fastapi import Request

from kikitori.settings import Settings

SAFE_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""A name or address that means the same in a shell, in Python, in HTML and in a header. No other is repeated."""
SAFE_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


def base_url(request: Request, settings: Settings) -> str:
    """The server's address, with a slash at its end. A Host that is no name is not repeated."""
    host, path = request.headers.get("host", ""), request.scope.get("root_path", "")
    if not SAFE_HOST.fullmatch(host):
        host = f"127.0.0.1:{settings.port}"
    scheme = "https" if request.url.scheme == "https" else "http"
    return f"{scheme}://{host}{path if SAFE_PATH.fullmatch(path) else ''}/"


def console_origin(base: str, settings: Settings) -> str:
    """The origin of the console that this server started, for a browser that has the server at ``base``.

    Empty: there is none.
    """
    if not settings.console:
        return ""
    scheme, _, rest = base.partition("://")
    host = rest.partition("/")[0]
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return f"{scheme}://{name}:{settings.console_port}"
