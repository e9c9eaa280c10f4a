"""Lengths and points of time as people type them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from kikitori.errors import InvalidOption

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")


def parse_length(text: str, name: str) -> float:
    """``90``, ``90s``, ``10m``, ``2h``, ``7d`` → seconds. Raises InvalidOption."""
    if not (found := LENGTH.fullmatch(text.strip().lower())):
        raise InvalidOption(name, text, "seconds, or a number with s, m, h or d, such as 90s, 2h, 7d")
    return float(found[1]) * UNITS[found[2] or "s"]


def parse_moment(text: str, name: str, now: datetime) -> str:
    """``2h`` (ago), or ISO 8601, which is local time without a zone → ISO 8601. Raises InvalidOption."""
    text = text.strip()
    if LENGTH.fullmatch(text.lower()) and text[-1:].isalpha():
        try:
            return (now - timedelta(seconds=parse_length(text, name))).isoformat()
        except OverflowError as exc:
            raise InvalidOption(name, text, "not so long ago") from exc
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError) as exc:
        raise InvalidOption(name, text, "a time such as 2026-03-01 or 2026-03-01T12:30, or how long ago: 2h") from exc
