"""Transcripts of any length through a model that takes in only so much: notes on parts, an answer from the notes."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from kikitori.errors import InvalidInput
from kikitori.llm.client import ChatModel, Message, complete
from kikitori.llm.prompts import Reading
from kikitori.ordered import in_order

BYTES_PER_TOKEN = 3
"""Rather few in every script: English has about 4 letters a token, Chinese and Japanese one character of 3 bytes."""
TOKENS_PER_LINE = 4
"""The mark and the end of a line are split finely."""
ANSWER_SHARE = 4
"""A quarter of the context is kept for the answer."""
NOTES_SHARE = 4
"""Notes on a part are at most a quarter of what fits, so that every round leaves less to read."""
TOKENS_PER_WORD = 2
PARTS_AT_ONCE = 4

_MARK = re.compile(r"\[\d+(?::\d\d){1,2}\] ?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRead:
    """Progress: ``done`` of ``parts`` are read; notes that are too long are read again, as parts of their own."""

    done: int
    parts: int


async def read(model: ChatModel, lines: Sequence[str], reading: Reading) -> AsyncGenerator[PartRead | str, None]:
    """The answer, piece by piece, from the ``lines`` of a transcript, each with its mark.

    Closing the generator stops the model. Raises as ``ChatModel.stream``, and InvalidInput when the request itself
    leaves no room for a transcript.
    """
    room = room_for(model, reading)
    parts = split(lines, room)
    from_notes = False
    while len(parts) > 1:
        notes: list[str] = []
        async with aclosing(in_order(_calls(model, parts, reading, room), at_once=PARTS_AT_ONCE)) as answers:
            async for answer in answers:
                notes.append(shortened(answer, room // NOTES_SHARE))
                yield PartRead(done=len(notes), parts=len(parts))
        parts, from_notes = split(filter(None, notes), room), True
    async with aclosing(model.stream(reading.whole("".join(parts), notes=from_notes))) as pieces:
        async for piece in pieces:
            yield piece


def room_for(model: ChatModel, reading: Reading) -> int:
    """Tokens of a transcript that fit beside the request and the answer. Raises InvalidInput."""
    answer = model.context_tokens // ANSWER_SHARE
    return room_beside(model, reading.part("", number=1, count=1, words=1)) - answer


def room_beside(model: ChatModel, messages: Iterable[Message]) -> int:
    """Tokens that fit beside what has to be said anyway. Raises InvalidInput when it takes half of the context."""
    room = model.context_tokens - sum(map(tokens, messages))
    if room < model.context_tokens // 2:
        raise InvalidInput(
            "The request is too long for the language model.",
            remedy=f"Shorten prompt, question and history: they may take half of its {model.context_tokens} tokens.",
        )
    return room


def tokens(text: str | Message) -> int:
    """An estimate, rather too high than too low."""
    content = text if isinstance(text, str) else text.content
    return len(content.encode()) // BYTES_PER_TOKEN + TOKENS_PER_LINE


def split(lines: Iterable[str], room: int) -> list[str]:
    """``lines`` as texts that fit, cut between lines; a line that does not fit goes on with its mark repeated."""
    parts: list[list[str]] = []
    left = 0
    for line in lines:
        for piece in _pieces(line, room):
            size = tokens(piece)
            if size > left or not parts:
                parts.append([])
                left = room
            parts[-1].append(piece)
            left -= size
    return ["\n".join(part) for part in parts]


def shortened(note: str, room: int) -> str:
    """As much of a note as fits; a line without a word is none."""
    parts = split((line for line in note.splitlines() if any(char.isalnum() for char in line)), room)
    return parts[0] if parts else ""


def _pieces(line: str, room: int) -> Iterator[str]:
    if tokens(line) <= room:
        yield line
        return
    mark = _MARK.match(line)
    prefix = mark[0] if mark else ""
    size = max(1, (room - tokens(prefix)) * BYTES_PER_TOKEN // 4)  # characters; the longest has 4 bytes
    text = line[len(prefix) :]
    for at in range(0, len(text), size):
        yield f"{prefix}{text[at : at + size]}"


def _calls(
    model: ChatModel, parts: Sequence[str], reading: Reading, room: int
) -> Iterator[Callable[[], Awaitable[str]]]:
    words = room // NOTES_SHARE // TOKENS_PER_WORD
    for number, part in enumerate(parts, start=1):
        yield partial(complete, model, reading.part(part, number=number, count=len(parts), words=words))
