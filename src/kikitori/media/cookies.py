"""Cookies of video sites, from settings, in the format of Netscape's cookie files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kikitori.errors import InvalidOption
from kikitori.media.links import is_within

HEADER = "# Netscape HTTP Cookie File\n"
_HTTP_ONLY = "#HttpOnly_"
_FIELDS = 7
_FAR_AWAY = 4_102_444_800
"""2100-01-01: cookies given as text have no end of their own."""


def cookie_file(sites: Mapping[str, str]) -> str:
    """One file for all ``sites``: host → a cookie file's path, its text, or ``name=value; name=value``.

    A site's cookies are for its host and the hosts below it; others that a file may hold are left out.
    Raises InvalidOption.
    """
    return HEADER + "".join(line + "\n" for host, value in sites.items() for line in _lines(host, value))


def _lines(host: str, value: str) -> list[str]:
    host = host.lower().strip().strip(".")
    if not host or "." not in host or "/" in host:
        raise InvalidOption("site_cookies", host, 'hosts, as in {"douyin.com": "…"}')
    if "\t" in value or "\n" in value:
        return _within(host, value)
    if value.startswith(("/", "~", "./")) or (len(value) > 2 and value[1] == ":"):
        try:
            return _within(host, Path(value).expanduser().read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise InvalidOption("site_cookies", host, "a cookie file that can be read, or its text") from exc
    pairs = [pair.strip().partition("=") for pair in value.split(";") if "=" in pair]
    return [
        "\t".join((f".{host}", "TRUE", "/", "TRUE", str(_FAR_AWAY), name.strip(), content.strip()))
        for name, _, content in pairs
    ]


def _within(host: str, text: str) -> list[str]:
    """The lines of a cookie file that are for ``host`` or hosts below it."""
    kept = []
    for line in text.splitlines():
        fields = line.removeprefix(_HTTP_ONLY).split("\t")
        if len(fields) == _FIELDS and not fields[0].startswith("#") and is_within(fields[0].lstrip("."), host):
            kept.append(line)
    return kept
