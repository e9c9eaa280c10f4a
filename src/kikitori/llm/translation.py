"""Line by line into another language, in batches, so that times stay."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeAlias

from kikitori.errors import ChatFailed
from kikitori.llm.client import CUT, ChatModel, Message, complete
from kikitori.llm.mapreduce import PARTS_AT_ONCE, room_beside, tokens
from kikitori.llm.prompts import translation
from kikitori.ordered import in_order

BATCH_LINES = 40
BATCH_SHARE = 3
"""A batch takes a third of the room, so that its translation fits too, also in a wordier language."""

Say: TypeAlias = Callable[[Sequence[str]], list[Message]]
"""Lines as a request to translate them."""

_NUMBERED = re.compile(r"\s*\[(\d{1,4})\]\s*(.*)")


async def translate(
    model: ChatModel, lines: Sequence[str], *, language: str, prompt: str = ""
) -> AsyncGenerator[list[str | None], None]:
    """Batches of translated lines, in order; None for one that the model left out each time it was asked.

    Closing the generator stops the model. Raises as ``mapreduce.read``.
    """
    say = partial(translation, language=language, prompt=prompt)
    room = room_beside(model, say([])) // BATCH_SHARE
    calls = (partial(_translated, model, say, batch) for batch in _batches(lines, room))
    async with aclosing(in_order(calls, at_once=PARTS_AT_ONCE)) as batches:
        async for batch in batches:
            yield batch


def parse(answer: str, count: int) -> dict[int, str]:
    """The lines of ``answer`` that are numbered 1 to ``count``, by number; the first of each counts."""
    found: dict[int, str] = {}
    for line in answer.splitlines():
        match = _NUMBERED.match(line)
        if match and 1 <= int(match[1]) <= count and match[2].strip() and not line.endswith(CUT):
            found.setdefault(int(match[1]), match[2].strip())
    rest = [line.strip() for line in answer.splitlines() if line.strip()]
    if count == 1 and not found and len(rest) == 1 and not rest[0].endswith(CUT):
        return {1: rest[0]}  # of a single line, models forget the number
    return found


async def _translated(model: ChatModel, say: Say, lines: Sequence[str]) -> list[str | None]:
    """What an answer leaves out is asked for again: together, then line by line."""
    missing = [index for index, line in enumerate(lines) if line.strip()]
    done = {index: "" for index in range(len(lines)) if index not in missing}
    asked = len(missing)
    for _ in range(2):
        done |= await _asked(model, say, lines, missing)
        missing = [index for index in missing if index not in done]
    if len(missing) == asked > 1:
        raise ChatFailed("The language model does not translate line by line.", remedy="Use a larger model.")
    for index in missing:
        done |= await _asked(model, say, lines, [index])
    return [done.get(index) for index in range(len(lines))]


async def _asked(model: ChatModel, say: Say, lines: Sequence[str], wanted: Sequence[int]) -> dict[int, str]:
    """Translations of the ``wanted`` lines, by their index; fewer when the model leaves some out."""
    if not wanted:
        return {}
    answer = await complete(model, say([lines[index] for index in wanted]))
    return {wanted[number - 1]: text for number, text in parse(answer, len(wanted)).items()}


def _batches(lines: Sequence[str], room: int) -> Iterator[Sequence[str]]:
    """Up to ``BATCH_LINES``, and up to ``room`` tokens; a longer line is a batch of its own."""
    first, size = 0, 0
    for at, line in enumerate(lines):
        size += tokens(line)
        if at > first and (size > room or at - first == BATCH_LINES):
            yield lines[first:at]
            first, size = at, tokens(line)
    if lines:
        yield lines[first:]
