"""Which server the console is for: handed to the console's process in its environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from kikitori.errors import InvalidOption

VARIABLE = "KIKITORI_CONSOLE_TARGET"
DEFAULT_URL = "http://127.0.0.1:8000"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The server's addresses. They end without a slash."""

    url: str = DEFAULT_URL
    """As this process reaches it."""
    public_url: str = ""
    """As browsers reach it; empty: found from the address that the browser opened the console with."""
    certificate: str = ""
    """A PEM file: trust the server that shows exactly this certificate, whatever name stands in it."""
    open: bool = True
    """Whoever reaches the console may use a server without keys. Not so where a network reaches it."""

    def browser_url(self, console_url: str) -> str:
        """The server's address for a browser that opened the console as ``console_url``.

        A server that is on loopback for us is on the machine of the console, so it has the same name for the browser.
        """
        if self.public_url:
            return self.public_url
        server, console = urlsplit(self.url), urlsplit(console_url)
        if server.hostname not in LOOPBACK or not console.hostname:
            return self.url
        name = f"[{console.hostname}]" if ":" in console.hostname else console.hostname
        port = f":{server.port}" if server.port else ""
        return f"{server.scheme}://{name}{port}{server.path}"


def from_environment() -> Target:
    """The target of this process."""
    return Target(**json.loads(os.environ.get(VARIABLE, "{}")))


def to_environment(target: Target) -> dict[str, str]:
    """The inverse of ``from_environment``."""
    return {VARIABLE: json.dumps(asdict(target))}


def checked_url(url: str, field: str) -> str:
    """``url`` without a slash at its end, with a scheme. Raises InvalidOption."""
    text = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and text.isprintable()
    except ValueError:
        right = False
    if not right or " " in text or parts.username is not None or parts.query or parts.fragment:
        raise InvalidOption(field, url, f"the address of a server, such as {DEFAULT_URL}")
    return text.rstrip("/").removesuffix("/v1")
