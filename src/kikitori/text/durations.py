"""Seconds as people and subtitle formats write them."""

from __future__ import annotations

import math

FURTHEST = 1e9
"""Stands for infinity where a finite number is needed (as seconds: 31 years)."""


def finite(value: float) -> float:
    """``value`` as JSON and timestamps can carry it: no NaN (0), no infinity (±1e9)."""
    if math.isnan(value):
        return 0.0
    return math.copysign(FURTHEST, value) if math.isinf(value) else value


def milliseconds(seconds: float) -> int:
    """The nearest whole millisecond, never below 0."""
    return max(0, round(finite(seconds) * 1000))


def format_timestamp(seconds: float, decimal: str = ".") -> str:
    """``HH:MM:SS.mmm`` of WebVTT, with ``decimal=","`` of SubRip; hours grow to three digits and more."""
    minutes, ms = divmod(milliseconds(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{ms // 1000:02d}{decimal}{ms % 1000:03d}"


def ass_timestamp(seconds: float) -> str:
    """``H:MM:SS.cc`` of Advanced SubStation Alpha, past 9:59:59.99 too."""
    minutes, hundredths = divmod(_hundredths(seconds), 6_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"


def lrc_timestamp(seconds: float) -> str:
    """``mm:ss.xx`` of lyrics files, which know no hours: minutes go past 99."""
    minutes, hundredths = divmod(_hundredths(seconds), 6_000)
    return f"{minutes:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"


def convert_seconds(seconds: float) -> str:
    """``2分30秒``: whole minutes, then whole seconds."""
    minutes, rest = divmod(int(max(0.0, finite(seconds))), 60)
    return f"{minutes}分{rest}秒"


def human_duration(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` below an hour."""
    minutes, rest = divmod(round(max(0.0, finite(seconds))), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _hundredths(seconds: float) -> int:
    return (milliseconds(seconds) + 5) // 10
