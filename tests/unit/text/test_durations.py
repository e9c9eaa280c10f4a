import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.text.durations import (
    FURTHEST,
    ass_timestamp,
    convert_seconds,
    finite,
    format_timestamp,
    human_duration,
    lrc_timestamp,
    milliseconds,
)


@pytest.mark.parametrize(
    ("seconds", "srt", "vtt", "ass", "lrc"),
    [
        (0.0, "00:00:00,000", "00:00:00.000", "0:00:00.00", "00:00.00"),
        (1.8800000000000001, "00:00:01,880", "00:00:01.880", "0:00:01.88", "00:01.88"),
        (59.9996, "00:01:00,000", "00:01:00.000", "0:01:00.00", "01:00.00"),
        (3599.996, "00:59:59,996", "00:59:59.996", "1:00:00.00", "60:00.00"),
        (6000.5, "01:40:00,500", "01:40:00.500", "1:40:00.50", "100:00.50"),
        (36_000.0, "10:00:00,000", "10:00:00.000", "10:00:00.00", "600:00.00"),
        (363_845.678, "101:04:05,678", "101:04:05.678", "101:04:05.68", "6064:05.68"),
        (-3.0, "00:00:00,000", "00:00:00.000", "0:00:00.00", "00:00.00"),
        (math.nan, "00:00:00,000", "00:00:00.000", "0:00:00.00", "00:00.00"),
    ],
)
def test_timestamps(seconds: float, srt: str, vtt: str, ass: str, lrc: str) -> None:
    assert format_timestamp(seconds, ",") == srt
    assert format_timestamp(seconds) == vtt
    assert ass_timestamp(seconds) == ass
    assert lrc_timestamp(seconds) == lrc


@given(st.integers(0, 10**9))
def test_a_timestamp_says_the_millisecond(ms: int) -> None:
    hours, minutes, seconds = format_timestamp(ms / 1000).split(":")
    assert (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * 1000) == ms


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0分0秒"),
        (4.2, "0分4秒"),
        (59.99, "0分59秒"),
        (60, "1分0秒"),
        (150.2, "2分30秒"),
        (3_725, "62分5秒"),
        (-1, "0分0秒"),
        (math.nan, "0分0秒"),
    ],
)
def test_convert_seconds(seconds: float, text: str) -> None:
    assert convert_seconds(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (123, "2:03"), (3_723, "1:02:03"), (360_000, "100:00:00"), (-5, "0:00")],
)
def test_human_duration(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_finite() -> None:
    assert [finite(value) for value in (1.5, math.nan, math.inf, -math.inf)] == [1.5, 0.0, FURTHEST, -FURTHEST]
    assert milliseconds(math.inf) == 10**12
