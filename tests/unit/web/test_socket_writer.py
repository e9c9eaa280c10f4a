"""Frames on their way to a client."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from kikitori.testing import until
from kikitori.web.sockets import writer as writer_module
from kikitori.web.sockets.writer import SlowReader, Writer


class Client:
    """Takes frames while it is let."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.may_take = asyncio.Event()
        self.may_take.set()

    def has(self, frames: int) -> bool:
        return len(self.got) >= frames

    async def take(self, text: str) -> None:
        await self.may_take.wait()
        self.got.append(text)


async def test_everything_goes_out_in_order() -> None:
    client = Client()
    writer = Writer(client.take)
    for text in "abc":
        writer.put(text)
    writer.end()
    await writer.run()
    assert client.got == ["a", "b", "c"]


async def test_a_slow_reader_gets_the_newest_of_what_is_out_of_date_and_all_of_the_rest() -> None:
    client = Client()
    writer = Writer(client.take)
    writer.put("interim 1", "interim")
    writer.put("final 1")
    writer.put("interim 2", "interim")
    writer.put("interim 3", "interim")
    writer.put("final 2")
    writer.end()
    await writer.run()
    assert client.got == ["final 1", "interim 3", "final 2"]


async def test_a_slot_that_was_sent_is_free_again() -> None:
    client = Client()
    writer = Writer(client.take)
    running = asyncio.create_task(writer.run())
    writer.put("interim 1", "interim")
    await until(lambda: client.got)
    writer.put("interim 2", "interim")
    writer.end()
    await running
    assert client.got == ["interim 1", "interim 2"]


async def test_a_client_that_takes_nothing_is_too_slow() -> None:
    client = Client()
    client.may_take.clear()
    writer = Writer(client.take, stall_seconds=0.01)
    writer.put("a")
    with pytest.raises(SlowReader):
        await writer.run()


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MOST_CHARACTERS", 10)
    client = Client()
    writer = Writer(client.take)
    writer.put("123456789")
    writer.put("123")
    with pytest.raises(SlowReader):
        await writer.run()
    assert client.got == []


async def test_what_goes_out_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MOST_CHARACTERS", 10)
    client = Client()
    writer = Writer(client.take)
    running = asyncio.create_task(writer.run())
    for number in range(20):
        writer.put("123456789")
        await until(partial(client.has, number + 1))
    writer.end()
    await running


async def test_whoever_can_wait_waits_until_most_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "ROOM_CHARACTERS", 10)
    client = Client()
    client.may_take.clear()
    writer = Writer(client.take)
    running = asyncio.create_task(writer.run())
    writer.put("12345")
    await writer.room()
    writer.put("123456789012345")
    waiting = asyncio.create_task(writer.room())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    client.may_take.set()
    await waiting
    writer.end()
    await running
