"""Lines of transcripts."""

from __future__ import annotations

import pytest

from kikitori.console.lines import lines_from, time_label, transcript_of
from kikitori.text.formats import OutputFormat, render


@pytest.mark.parametrize(
    ("language", "label"),
    [
        ("ja", "[0分0秒 -> 1分4秒]"),
        ("zh", "[0分0秒 -> 1分4秒]"),
        ("ko", "[0분0초 -> 1분4초]"),
        ("en", "[0:00 -> 1:04]"),
    ],
)
def test_times_are_written_as_their_readers_write_them(language: str, label: str) -> None:
    assert time_label(0.4, 64.9, language) == label


def test_a_result_becomes_lines_and_the_lines_a_file() -> None:
    result = {"segments": [{"id": 0, "start": 0.0, "end": 1.5, "text": " Hello."}, {"id": 1, "start": 2, "end": 3}]}
    lines = lines_from(result)
    assert [(line.id, line.text) for line in lines] == [(0, " Hello."), (1, "")]
    assert render(transcript_of(lines, language="en"), OutputFormat.SRT).startswith(
        "1\n00:00:00,000 --> 00:00:01,500\nHello."
    )


def test_a_result_without_text_has_no_lines() -> None:
    assert lines_from({"segments": None}) == ()
