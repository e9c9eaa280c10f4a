from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import aclosing

import pytest

from kikitori.errors import ChatFailed, InvalidInput
from kikitori.llm.client import CUT, Message
from kikitori.llm.mapreduce import tokens
from kikitori.llm.translation import BATCH_LINES, parse, translate
from kikitori.testing import FakeChatModel

LINES = [f" line {number}" for number in range(100)]


def numbered(messages: Sequence[Message]) -> list[tuple[int, str]]:
    return [(int(number), text) for number, text in re.findall(r"^\[(\d+)\] (.*)$", messages[-1].content, re.MULTILINE)]


def upper(messages: Sequence[Message]) -> str:
    return "\n".join(f"[{number}] {text.upper()}" for number, text in numbered(messages))


async def translated(model: FakeChatModel, lines: Sequence[str]) -> list[str | None]:
    async with aclosing(translate(model, lines, language="Loud")) as batches:
        return [line async for batch in batches for line in batch]


async def test_every_line_has_its_translation_in_order() -> None:
    model = FakeChatModel(upper)
    assert await translated(model, LINES) == [f"LINE {number}" for number in range(100)]
    assert [len(numbered(messages)) for messages in model.asked] == [BATCH_LINES, BATCH_LINES, 20]


async def test_batches_fit_the_model() -> None:
    model = FakeChatModel(upper, context_tokens=2_048)
    lines = ["x" * 600] * 10 + ["y" * 6_000] + ["z"]
    assert await translated(model, lines) == [line.upper() for line in lines]
    assert max(tokens(messages[-1]) for messages in model.asked if "y" not in messages[-1].content) < 2_048 // 3


async def test_a_prompt_that_fills_the_model_is_refused() -> None:
    model = FakeChatModel(upper, context_tokens=2_048)
    with pytest.raises(InvalidInput, match="too long"):
        async with aclosing(translate(model, LINES, language="Loud", prompt="Formal. " * 1_000)) as batches:
            await anext(batches)


async def test_lines_without_text_are_not_asked_about() -> None:
    model = FakeChatModel(upper)
    assert await translated(model, [" a", "  ", "", " b"]) == ["A", "", "", "B"]
    assert numbered(model.asked[0]) == [(1, "a"), (2, "b")]


async def test_nothing_to_translate_asks_nobody() -> None:
    model = FakeChatModel(upper)
    assert await translated(model, []) == []
    assert await translated(model, ["", " "]) == ["", ""]
    assert model.asked == []


def forgetting(forgotten: Callable[[int, str], bool]) -> Callable[[Sequence[Message]], str]:
    """Leaves out lines; with how many others it was asked decides."""

    def answer(messages: Sequence[Message]) -> str:
        lines = numbered(messages)
        return "\n".join(f"[{number}] {text.upper()}" for number, text in lines if not forgotten(len(lines), text))

    return answer


async def test_lines_left_out_are_asked_for_again_together() -> None:
    model = FakeChatModel(forgetting(lambda count, text: count > 5 and text in ("line 3", "line 7")))
    assert await translated(model, LINES[:10]) == [f"LINE {number}" for number in range(10)]
    assert [len(numbered(messages)) for messages in model.asked] == [10, 2]


async def test_and_then_each_alone() -> None:
    model = FakeChatModel(forgetting(lambda count, text: count > 1 and text in ("line 3", "line 7")))
    assert await translated(model, LINES[:10]) == [f"LINE {number}" for number in range(10)]
    assert [len(numbered(messages)) for messages in model.asked] == [10, 2, 1, 1]


async def test_a_line_that_is_always_left_out_is_none() -> None:
    model = FakeChatModel(forgetting(lambda count, text: text == "line 3"))
    assert await translated(model, LINES[:5]) == ["LINE 0", "LINE 1", "LINE 2", None, "LINE 4"]


async def test_a_model_that_does_not_keep_lines_is_told_apart() -> None:
    model = FakeChatModel(lambda messages: "A nice\nconversation.")
    with pytest.raises(ChatFailed, match="line by line"):
        await translated(model, LINES)
    assert len(model.asked) <= 2 * 3


@pytest.mark.parametrize(
    ("answer", "count", "found"),
    [
        ("[1] a\n[2] b", 2, {1: "a", 2: "b"}),
        ("Here you are:\n\n  [1]  a \n[2]\n[3] c\nAnything else?", 3, {1: "a", 3: "c"}),
        ("[1] a\n[1] b\n[7] c\n[0] d", 2, {1: "a"}),
        (f"[1] a\n[2] b{CUT}", 2, {1: "a"}),
        ("12:30 is the time", 20, {}),
        ("just the text", 1, {1: "just the text"}),
        (f"just the te{CUT}", 1, {}),
        ("a\nb", 1, {}),
        ("", 1, {}),
    ],
)
def test_answers_are_read_by_their_numbers(answer: str, count: int, found: dict[int, str]) -> None:
    assert parse(answer, count) == found
