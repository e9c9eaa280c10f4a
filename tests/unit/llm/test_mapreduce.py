from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.errors import ChatFailed, InvalidInput
from kikitori.llm.client import Message
from kikitori.llm.mapreduce import PARTS_AT_ONCE, PartRead, read, room_for, shortened, split, tokens
from kikitori.llm.prompts import question, summary
from kikitori.testing import FakeChatModel

MARK = re.compile(r"\[\d+:\d\d\]")
LINES = [f"[{minute}:00] This is what was said in minute {minute}, and a little more." for minute in range(600)]


def marks_of(messages: Sequence[Message]) -> list[str]:
    return MARK.findall(messages[-1].content)


def first_and_last_mark(messages: Sequence[Message]) -> str:
    """A model that notes where its text begins and ends."""
    marks = marks_of(messages)
    return f"{marks[0]} begins\n-\n{marks[-1]} ends" if marks else "-"


async def everything(model: FakeChatModel, lines: Sequence[str]) -> tuple[list[PartRead], str]:
    async with aclosing(read(model, lines, summary())) as pieces:
        got = [piece async for piece in pieces]
    progress = [piece for piece in got if isinstance(piece, PartRead)]
    return progress, "".join(piece for piece in got if isinstance(piece, str))


async def test_a_short_transcript_is_read_at_once() -> None:
    model = FakeChatModel(first_and_last_mark)
    progress, text = await everything(model, LINES[:9])
    assert progress == [] and len(model.asked) == 1
    assert marks_of(model.asked[0])[:9] == [f"[{minute}:00]" for minute in range(9)]
    assert text.startswith("[0:00] begins")


async def test_a_long_transcript_is_read_in_parts_and_answered_from_notes_with_their_marks() -> None:
    model = FakeChatModel(first_and_last_mark, context_tokens=4_096)
    progress, text = await everything(model, LINES)
    *parts, last = model.asked
    assert [step.done for step in progress] == [*range(1, len(parts) + 1)]
    assert {step.parts for step in progress} == {len(parts)} and len(parts) > 3
    seen = {mark for part in parts for mark in marks_of(part)}
    assert seen >= {f"[{minute}:00]" for minute in range(600)}
    assert "<notes>" in last[-1].content and set(marks_of(last)) <= seen
    assert text.split()[0] == "[0:00]" and "[599:00]" in text


async def test_every_request_fits_the_model() -> None:
    model = FakeChatModel(first_and_last_mark, context_tokens=3_000)
    await everything(model, LINES)
    assert max(sum(map(tokens, messages)) for messages in model.asked) <= 3_000 * 3 // 4


async def test_notes_that_are_too_long_are_read_again() -> None:
    model = FakeChatModel(lambda messages: messages[-1].content, context_tokens=2_048)  # no condensing at all
    progress, _ = await everything(model, LINES)
    rounds = list(dict.fromkeys(step.parts for step in progress))
    assert len(rounds) > 1 and rounds == sorted(rounds, reverse=True)
    assert "<notes>" in model.asked[-1][-1].content


async def test_parts_that_hold_nothing_leave_no_notes() -> None:
    model = FakeChatModel(lambda messages: "-", context_tokens=4_096)
    _, text = await everything(model, LINES)
    assert text == "-"
    assert "<notes>\n\n</notes>" in model.asked[-1][-1].content


async def test_a_few_parts_are_read_at_once_and_their_notes_stay_in_order() -> None:
    running, most = 0, 0

    class Slow(FakeChatModel):
        async def stream(self, messages):  # type: ignore[no-untyped-def]
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(100 - int(marks_of(messages)[0][1:-4]) // 6):  # the first parts take longest
                await asyncio.sleep(0)
            async for piece in super().stream(messages):
                yield piece
            running -= 1

    model = Slow(first_and_last_mark, context_tokens=4_096)
    await everything(model, LINES)
    assert most == PARTS_AT_ONCE
    minutes = [int(mark[1:-4]) for mark in marks_of(model.asked[-1])]
    assert minutes == sorted(minutes)


async def test_a_failure_ends_everything() -> None:
    def breaks(messages: Sequence[Message]) -> str:
        raise ChatFailed("out of order")

    with pytest.raises(ChatFailed, match="out of order"):
        await everything(FakeChatModel(breaks, context_tokens=4_096), LINES)


def test_a_request_that_fills_the_model_is_refused() -> None:
    model = FakeChatModel(lambda messages: "", context_tokens=2_048)
    assert room_for(model, question("Who?")) > 500
    with pytest.raises(InvalidInput, match="too long"):
        room_for(model, question("Who? " * 1_000))


LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))


@given(st.lists(LINE, max_size=40), st.integers(30, 400))
def test_parts_fit_and_together_are_the_transcript(texts: list[str], room: int) -> None:
    lines = [f"[{number}:00] {text}" for number, text in enumerate(texts)]
    parts = split(lines, room)
    # Lines of a part are joined by a character that its lines have paid for.
    assert all(sum(tokens(line) for line in part.split("\n")) <= room for part in parts)
    rejoined: dict[str, str] = {}
    for line in "\n".join(parts).split("\n") if parts else []:
        mark, _, text = line.partition(" ")
        rejoined[mark] = rejoined.get(mark, "") + text
    assert rejoined == {f"[{number}:00]": text for number, text in enumerate(texts)}


def test_a_note_is_cut_at_a_line() -> None:
    note = "\n".join(f"[{minute}:00] A point of interest." for minute in range(100))
    short = shortened(note, 100)
    assert note.startswith(short) and tokens(short) <= 100
    assert short.endswith("interest.")


def test_a_note_without_words_is_none() -> None:
    assert shortened("-\n\n — \n", 100) == ""
