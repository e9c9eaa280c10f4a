"""Programs that speak, and how they fail."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from kikitori.errors import SpeechFailed
from kikitori.tts.processes import SpareProcesses


def program(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", f"import sys, time\n{code}")


ECHO = program("sys.stdout.buffer.write(sys.stdin.buffer.read())")


@pytest.fixture
async def processes() -> AsyncGenerator[SpareProcesses, None]:
    processes = SpareProcesses(silence_seconds=60)
    yield processes
    await processes.close()


async def spoken(processes: SpareProcesses, command: tuple[str, ...], text: bytes = b"text") -> list[bytes]:
    async with aclosing(processes.speak(command, text)) as pieces:
        return [piece async for piece in pieces]


async def test_pieces_are_whole_samples(processes: SpareProcesses) -> None:
    text = bytes(range(251)) * 100 + b"x"
    pieces = await spoken(processes, ECHO, text)
    assert all(len(piece) % 2 == 0 for piece in pieces)
    assert b"".join(pieces) == text[:-1], "half a sample at the end is none"


async def test_spares_of_another_command_are_not_used(processes: SpareProcesses) -> None:
    processes.prepare(ECHO)
    assert await spoken(processes, program("sys.stdout.write('other')"))
    assert b"".join(await spoken(processes, ECHO)) == b"text"


async def test_a_spare_that_died_is_not_used(processes: SpareProcesses) -> None:
    dying = program("sys.exit(0)")
    for _ in range(3):
        assert await spoken(processes, dying) == []


async def test_a_program_that_fails_says_why_in_the_log(
    processes: SpareProcesses, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SpeechFailed, match="failed"):
        await spoken(processes, program("sys.stdin.read(); sys.exit('no voice\\nhere')"))
    await processes.close()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.__dict__["reason"] == "no voice here"


async def test_a_program_that_is_not_there(processes: SpareProcesses) -> None:
    with pytest.raises(SpeechFailed, match="cannot be started"):
        await spoken(processes, ("/nonexistent/program",))


async def test_a_program_that_hangs_is_given_up() -> None:
    processes = SpareProcesses(silence_seconds=0.05)
    with pytest.raises(SpeechFailed, match="says nothing"):
        await spoken(processes, program("time.sleep(600)"))
    await processes.close()


async def test_a_program_that_does_not_read_its_text(processes: SpareProcesses) -> None:
    pieces = await spoken(processes, program("sys.stdin.close(); sys.stdout.write('done')"), bytes(1_000_000))
    assert b"".join(pieces) == b"done"
