"""Thoughts that a language model writes down before it answers."""

from __future__ import annotations

import pytest

from kikitori.replies.thoughts import ThoughtFilter


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Hello. How are you?", "Hello. How are you?"),
        ("<think>They greet me.</think>\n\nHello.", "Hello."),
        ("\n<think>\nA\n</think>\nHello <think> you.", "Hello <think> you."),
        ("<think>without end", ""),
        ("<thinking is hard", "<thinking is hard"),
        ("<", "<"),
        ("  Hello", "  Hello"),
        ("<think></think><think>again</think>Hi", "Hi"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1_000])
def test_only_the_answer_is_told(text: str, told: str, step: int) -> None:
    thoughts = ThoughtFilter()
    parts = [thoughts.push(text[at : at + step]) for at in range(0, len(text), step)]
    assert "".join([*parts, thoughts.finish()]) == told


def test_long_thoughts_are_not_kept() -> None:
    thoughts = ThoughtFilter()
    for _ in range(1_000):
        assert thoughts.push("<think> a long thought ") == ""
    assert len(thoughts._held) < 50
    assert thoughts.push("</think>Yes.") == "Yes."
