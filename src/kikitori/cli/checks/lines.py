"""One line of ``kikitori doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kikitori.settings import Settings


class State(StrEnum):
    OK = "ok"
    OFF = "off"  # not there, and not needed
    WARN = "warn"  # works, but not as it could
    FAIL = "fail"  # does not work


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one check found; ``remedy`` says what to do about it."""

    name: str
    state: State
    detail: str
    remedy: str = ""


Check = Callable[["Settings"], Iterator[Line]]
"""Gives one line or more, and never raises for what it looks for."""
