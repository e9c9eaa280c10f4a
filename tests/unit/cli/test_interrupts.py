from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kikitori.cli.interrupts import StoppableInput, run_interruptibly

PROGRAM = """
import asyncio, sys, threading
from kikitori.cli.interrupts import run_interruptibly

async def main():
    print("ready", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        {ending}

try:
    run_interruptibly(main(), on_interrupt=lambda: print("asked", flush=True))
except KeyboardInterrupt:
    print("stopped", flush=True)
    sys.exit(130)
"""
CLEAN = 'print("cleaned", flush=True)'
STUCK = 'print("stuck", flush=True); await asyncio.shield(asyncio.Event().wait())'
HANGING = 'print("stuck", flush=True); threading.Event().wait()'


def start(ending: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(ending=ending)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_cleans_up(number: signal.Signals) -> None:
    process = start(CLEAN)
    process.send_signal(number)
    out, errors = process.communicate(timeout=120)
    assert (out, process.returncode) == ("asked\ncleaned\nstopped\n", 130), errors


@pytest.mark.parametrize("ending", [STUCK, HANGING])
def test_the_second_signal_ends_what_does_not_stop(ending: str) -> None:
    process = start(ending)
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    assert [process.stdout.readline() for _ in range(2)] == ["asked\n", "stuck\n"]
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert (out, process.returncode) == ("", 130)


def test_the_answer_comes_back_and_signals_are_as_before() -> None:
    async def answer() -> int:
        return 42

    before = signal.getsignal(signal.SIGINT)
    assert run_interruptibly(answer()) == 42
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def pipe() -> Callable[[], tuple[io.TextIOWrapper, int]]:
    def made() -> tuple[io.TextIOWrapper, int]:
        reading, writing = os.pipe()
        return io.TextIOWrapper(os.fdopen(reading, "rb")), writing

    return made


def test_input_is_read_to_its_end(pipe: Callable[[], tuple[io.TextIOWrapper, int]]) -> None:
    stdin, writing = pipe()
    data = bytes(range(256)) * 100
    os.write(writing, data)
    os.close(writing)
    with stdin, StoppableInput(stdin) as source:
        assert io.BufferedReader(source).read() == data
        assert not source.seekable()


def test_stopping_ends_a_read_that_waits(pipe: Callable[[], tuple[io.TextIOWrapper, int]]) -> None:
    stdin, writing = pipe()
    os.write(writing, b"begun")
    with stdin, StoppableInput(stdin) as source:
        assert source.read(5) == b"begun"
        got: list[bytes | None] = []
        reading = threading.Thread(target=lambda: got.append(source.read(5)))
        reading.start()
        source.stop()
        reading.join(timeout=120)
        assert got == [b""]
    os.close(writing)


def test_stopping_what_is_closed_does_nothing(pipe: Callable[[], tuple[io.TextIOWrapper, int]]) -> None:
    stdin, writing = pipe()
    os.close(writing)
    with stdin:
        source = StoppableInput(stdin)
        source.close()
        source.stop()


def test_a_file_is_input_too(tmp_path: Path) -> None:
    (tmp_path / "audio").write_bytes(b"x" * 100_000)
    with (tmp_path / "audio").open() as stdin, StoppableInput(stdin) as source:
        assert len(io.BufferedReader(source).read()) == 100_000
