"""Base64 → bytes, piece by piece."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.protocols.base64_text import decoded


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=50))
def test_any_bytes_come_back_however_they_are_cut(data: bytes, piece: int) -> None:
    text = base64.b64encode(data).decode()
    assert b"".join(decoded(text, piece_characters=piece)) == data
    assert b"".join(decoded(text.rstrip("="), piece_characters=piece)) == data


@given(st.binary(min_size=1, max_size=100), st.integers(min_value=1, max_value=20))
def test_line_breaks_and_what_browsers_put_before_a_file_are_forgiven(data: bytes, line: int) -> None:
    text = base64.b64encode(data).decode()
    broken = "\r\n".join(text[at : at + line] for at in range(0, len(text), line))
    assert b"".join(decoded(f"data:audio/wav;base64,{broken}", piece_characters=7)) == data


@pytest.mark.parametrize(
    "text", ["A", "AAAAA", "AA=A", "AA==AAAA", "AAA=AAAA", "====", "AAAA*", "AA-_", "é", "\ud800", "AA\0A"]
)
def test_anything_else_is_refused(text: str) -> None:
    for piece in (1, 4, 1_000):
        with pytest.raises(ValueError):
            list(decoded(text, piece_characters=piece))


def test_nothing_is_nothing() -> None:
    assert list(decoded("")) == []
    assert list(decoded(" \n")) == []
