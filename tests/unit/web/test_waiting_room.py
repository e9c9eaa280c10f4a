"""Places for files, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kikitori.errors import Busy
from kikitori.testing import until
from kikitori.web.sockets.waiting_room import WaitingRoom


@dataclass(eq=False)
class File:
    """One that wants a place, and stays until it is let go."""

    name: str
    positions: list[int] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def stay(self, room: WaitingRoom, heard: list[str]) -> None:
        async with room.place(self.name[0], self.positions.append):
            heard.append(self.name)
            await self.go.wait()


class Day:
    """Files come, are heard, and leave; the first letter of a file is its caller."""

    def __init__(self, room: WaitingRoom) -> None:
        self.room = room
        self.heard: list[str] = []
        self.files: dict[str, File] = {}

    async def come(self, *names: str) -> None:
        for name in names:
            file = self.files[name] = File(name)
            file.task = asyncio.create_task(file.stay(self.room, self.heard))
            await asyncio.sleep(0)
        await self.settle()

    async def leave(self, *names: str) -> None:
        for name in names:
            file = self.files.pop(name)
            assert file.task
            if name in self.heard:
                file.go.set()
            else:
                file.task.cancel()
            await asyncio.gather(file.task, return_exceptions=True)
        await self.settle()

    async def settle(self) -> None:
        await until(lambda: len(set(self.heard) & self.files.keys()) == self.room.running)


@asynccontextmanager
async def day(places: int, most_waiting: int = 100) -> AsyncIterator[Day]:
    room = WaitingRoom(places, most_waiting=most_waiting)
    today = Day(room)
    yield today
    await today.leave(*sorted(today.files))
    assert (room.running, room.waiting) == (0, 0)


async def test_nobody_waits_while_there_is_room() -> None:
    async with day(4) as today:
        await today.come("a1", "a2", "b1", "b2")
        assert today.heard == ["a1", "a2", "b1", "b2"]
        assert all(file.positions == [] for file in today.files.values())


async def test_one_caller_has_half_of_the_places_at_most() -> None:
    async with day(4) as today:
        await today.come("a1", "a2", "a3", "a4")
        assert today.heard == ["a1", "a2"]
        await today.come("b1")
        assert today.heard == ["a1", "a2", "b1"]
        assert today.files["a3"].positions == [1]
        assert today.files["a4"].positions == [2]


async def test_callers_take_turns_however_much_one_has_brought() -> None:
    async with day(1) as today:
        await today.come("a1", "a2", "a3", "a4", "b1", "b2", "c1")
        for name in ("a1", "b1", "c1", "a2", "b2", "a3"):
            await today.leave(name)
        assert today.heard == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_positions_are_told_when_they_change() -> None:
    async with day(1) as today:
        await today.come("a1", "a2", "a3", "b1")
        assert {name: today.files[name].positions for name in ("a2", "a3", "b1")} == {
            "a2": [1, 2],
            "a3": [2, 3],
            "b1": [1],
        }
        await today.leave("a1")
        assert today.files["a2"].positions == [1, 2, 1]


async def test_who_leaves_while_waiting_makes_room_for_those_behind() -> None:
    async with day(1) as today:
        await today.come("a1", "b1", "c1")
        await today.leave("b1")
        assert today.files["c1"].positions == [2, 1]
        await today.leave("a1")
        assert today.heard == ["a1", "c1"]


async def test_a_place_that_comes_with_the_leaving_is_not_lost() -> None:
    async with day(1) as today:
        await today.come("a1", "b1", "c1")
        leaving = today.files.pop("b1").task
        assert leaving
        today.files["a1"].go.set()
        await until(lambda: today.room.running == 1 and today.room.waiting == 1)
        leaving.cancel()  # it has the place, and does not know it yet
        await asyncio.gather(leaving, return_exceptions=True)
        await today.leave("a1")
        await until(lambda: "c1" in today.heard)


async def test_who_was_cancelled_is_passed_over() -> None:
    async with day(1) as today:
        await today.come("a1", "b1", "c1")
        leaving, first = today.files.pop("b1").task, today.files["a1"]
        assert leaving and first.task
        first.go.set()
        leaving.cancel()  # in the same moment
        await today.leave("a1")
        await asyncio.gather(leaving, return_exceptions=True)
        await until(lambda: "c1" in today.heard)
        assert "b1" not in today.heard


async def test_a_full_room_says_so() -> None:
    async with day(1, most_waiting=1) as today:
        await today.come("a1", "a2")
        with pytest.raises(Busy):
            today.room.check()
        with pytest.raises(Busy):
            async with today.room.place("b", lambda position: None):
                raise AssertionError
