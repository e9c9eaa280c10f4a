"""Checks of what clients send. Each takes a value and its path, and gives the value or raises Problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kikitori.protocols.openai_realtime.problems import Problem, invalid, missing, shown, too_long, unknown, wrong_type

Check: TypeAlias = Callable[[Any, str], Any]
Fields: TypeAlias = Mapping[str, Check]

MAX_TEXT = 100_000
"""Characters of instructions and other long texts."""
MAX_NAME = 512
"""Characters of ids and names."""
MAX_ENTRIES = 500
MAX_DEPTH = 40
"""Levels of JSON whose content is not looked at."""


def obj(fields: Fields, *, required: tuple[str, ...] = ()) -> Check:
    """An object with these fields and no others."""

    def check(value: Any, path: str) -> dict[str, Any]:
        known = ", ".join(fields)
        checked = {}
        for name, part in mapping(value, path).items():
            if name not in fields:
                raise unknown(f"{path}.{name}", known)
            checked[name] = fields[name](part, f"{path}.{name}")
        for name in required:
            if name not in checked:
                raise missing(f"{path}.{name}")
        return checked

    return check


def tagged(kinds: Mapping[str, Check], *, implied: str | None = None) -> Check:
    """An object whose ``type`` says which check it has to meet; without one it is ``implied``."""

    def check(value: Any, path: str) -> Any:
        kind = mapping(value, path).get("type", implied)
        if kind is None:
            raise missing(f"{path}.type")
        if not isinstance(kind, str) or kind not in kinds:
            raise invalid(f"{path}.type", kind, ", ".join(kinds))
        return kinds[kind]({"type": kind, **value}, path)

    return check


def nullable(check: Check) -> Check:
    return lambda value, path: None if value is None else check(value, path)


def listed(check: Check, *, most: int = MAX_ENTRIES) -> Check:
    def check_all(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise wrong_type(path, value, "a list")
        if len(value) > most:
            raise Problem("array_above_max_length", f"{path} has {len(value)} entries; {most} at most.", path)
        return [check(entry, f"{path}[{number}]") for number, entry in enumerate(value)]

    return check_all


def text(most: int = MAX_TEXT) -> Check:
    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise wrong_type(path, value, "text")
        if len(value) > most:
            raise too_long(path, f"{most:,} characters")
        return value

    return check


def choice(*allowed: str) -> Check:
    def check(value: Any, path: str) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise invalid(path, value, ", ".join(allowed))
        return value

    return check


def integer(low: int, high: int) -> Check:
    def check(value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(path, value, "a whole number")
        _in_range(value, low, high, path, "integer")
        return value

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise wrong_type(path, value, "a number")
        _in_range(value, low, high, path, "decimal")
        return value

    return check


def flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(path, value, "true or false")
    return value


def either(first: Check, *others: Check) -> Check:
    """The first check that a value meets; if none, what the first one says."""

    def check(value: Any, path: str) -> Any:
        for attempt in others:
            try:
                return attempt(value, path)
            except Problem:
                continue
        return first(value, path)

    return check


def anything(value: Any, path: str) -> Any:
    """JSON that is kept and given back as it came."""
    if _depth(value) > MAX_DEPTH:
        raise Problem("invalid_value", f"{path} has more than {MAX_DEPTH} levels.", path)
    return value


def mapping(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong_type(path, value, "an object")
    return value


def _in_range(value: float, low: float, high: float, path: str, kind: str) -> None:
    if not low <= value <= high:
        where = "below_min" if value < low else "above_max"
        raise Problem(f"{kind}_{where}_value", f"{path} is {shown(value)}. Allowed: {low:g} to {high:g}.", path)


def _depth(value: Any) -> int:
    """Levels of JSON, counted without recursion."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                inner += part.values()
            elif isinstance(part, list):
                inner += part
        level = inner
    return depth
