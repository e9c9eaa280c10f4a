"""The keys of terminals that say when a key is let go, and of those that do not."""

from __future__ import annotations

import asyncio
import os
import pty
import threading
from collections.abc import Iterator

import pytest

from kikitori.cli.talk.keys import Key, KeyReader, TerminalKeys, Toggle
from kikitori.errors import Unavailable


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b" ", [Key.PRESS]),
        (b"q", [Key.QUIT]),
        (b"\x03", [Key.QUIT]),
        (b"abc", []),
        (b"\x1b[32u", [Key.PRESS]),
        (b"\x1b[32;1:1u\x1b[32;1:2u\x1b[32;1:3u", [Key.PRESS, Key.PRESS, Key.RELEASE]),
        (b"\x1b[113;1:1u\x1b[113;1:3u", [Key.QUIT]),
        (b"\x1b[99;5u", [Key.QUIT]),
        (b"\x1b[99;1u", []),
        (b"\x1b[A\x1b[1;5C\x1bOP ", [Key.PRESS]),
        ("あ ".encode(), [Key.PRESS]),
    ],
)
def test_keys_are_read_however_they_are_cut(data: bytes, keys: list[Key]) -> None:
    assert KeyReader().push(data) == keys
    reader = KeyReader()
    assert [key for at in range(len(data)) for key in reader.push(data[at : at + 1])] == keys


def test_escape_alone_ends_it() -> None:
    reader = KeyReader()
    assert reader.push(b"\x1b") == []
    assert reader.idle() == [Key.QUIT]
    assert reader.idle() == []


def test_pushes_in_turn_begin_and_end() -> None:
    toggle = Toggle()
    assert [toggle.push(now) for now in (1.0, 3.0, 5.0)] == [Key.PRESS, Key.RELEASE, Key.PRESS]


def test_a_key_that_is_held_in_such_a_terminal_does_not_flicker() -> None:
    toggle = Toggle()
    held = [1.0, 1.5, *(1.5 + 0.03 * number for number in range(1, 60))]
    assert [toggle.push(now) for now in held] == [Key.PRESS] + [None] * (len(held) - 1)
    assert toggle.push(held[-1] + 1) is Key.RELEASE


@pytest.fixture
def terminal() -> Iterator[tuple[int, TerminalKeys]]:
    """A real one: its other side, and its keys."""
    outer, inner = pty.openpty()
    with os.fdopen(inner, "r", closefd=False) as stdin, os.fdopen(inner, "w", closefd=False) as out:
        yield outer, TerminalKeys(stdin, out)
    os.close(inner)
    os.close(outer)


@pytest.mark.parametrize("modern", [True, False])
async def test_a_terminal_is_asked_what_it_can_and_left_as_it_was(
    terminal: tuple[int, TerminalKeys], modern: bool
) -> None:
    outer, keys = terminal

    def answer() -> None:
        asked = b""
        while not asked.endswith(b"\x1b[c"):
            asked += os.read(outer, 100)
        os.write(outer, b"\x1b[?0u\x1b[?62c" if modern else b"\x1b[?62c")

    answering = threading.Thread(target=answer)
    answering.start()
    with keys.opened():
        answering.join()
        assert ("Hold" in keys.hint) is modern
        os.write(outer, b"\x1b[32u\x1b[32;1:3uq" if modern else b" q")
        async with asyncio.timeout(60):
            found = []
            coming = keys.keys()
            async for key in coming:
                found.append(key)
                if key is Key.QUIT:
                    break
            await coming.aclose()
    assert found == ([Key.PRESS, Key.RELEASE, Key.QUIT] if modern else [Key.PRESS, Key.QUIT])
    shown = b""
    while modern and not shown.endswith(b"\x1b[<u"):
        shown += os.read(outer, 1_000)
    assert (b"\x1b[>11u" in shown) is modern


def test_without_a_terminal_it_says_what_else_there_is(tmp_path: os.PathLike[str]) -> None:
    with open(os.devnull) as stdin, open(os.devnull, "w") as out, pytest.raises(Unavailable, match="--input"):
        TerminalKeys(stdin, out)
