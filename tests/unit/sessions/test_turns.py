"""Whose decoding is next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from kikitori.live.jobs import JobKind
from kikitori.sessions.turns import COMPANY_SECONDS, Turns
from kikitori.testing import FakeClock, until


class FakeModel:
    interims_at_once = 2


class FakeSpeaker:
    """Wants one thing after the other; each is done when it is let."""

    model = "fake"

    def __init__(self, name: str, order: list[str], *wishes: tuple[JobKind, float]) -> None:
        self.name, self.order, self.wishes = name, order, [*wishes]
        self.decoding = False
        self.hurries = False
        self.may_end = asyncio.Event()

    def wish(self, now: float) -> tuple[JobKind, float] | None:
        return self.wishes[0] if self.wishes else None

    def begin(self, now: float, wanted_at: float) -> Coroutine[Any, Any, Any] | None:
        kind, _ = self.wishes.pop(0)
        self.order.append(f"{self.name} {kind.value}")
        self.decoding = True
        return self._decode()

    async def _decode(self) -> FakeModel:
        await self.may_end.wait()
        self.decoding = False
        return FakeModel()


@pytest.fixture
def order() -> list[str]:
    return []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def turns(clock: FakeClock) -> AsyncIterator[Turns]:
    found = Turns(clock=clock)
    running = asyncio.create_task(found.run())
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


FINAL, INTERIM, DRAFT = JobKind.FINAL, JobKind.INTERIM, JobKind.SPECULATIVE


async def test_finals_go_first_and_the_oldest_wish_before_newer_ones(turns: Turns, order: list[str]) -> None:
    for speaker in (
        FakeSpeaker("interim", order, (INTERIM, 1.0)),
        FakeSpeaker("draft", order, (DRAFT, 2.0)),
        FakeSpeaker("late", order, (FINAL, 4.0)),
        FakeSpeaker("early", order, (FINAL, 3.0)),
    ):
        turns.want(speaker)
    await until(lambda: len(order) == 4)
    assert order == ["early final", "late final", "draft speculative", "interim interim"]


async def test_interims_wait_for_each_other_and_finals_for_none(turns: Turns, order: list[str]) -> None:
    interims = [FakeSpeaker(str(number), order, (INTERIM, float(number))) for number in range(4)]
    for speaker in interims:
        turns.want(speaker)
    await until(lambda: len(order) == 1)  # how many the model bears is not known yet
    turns.want(FakeSpeaker("final", order, (FINAL, 9.0)))
    await until(lambda: len(order) == 2)
    interims[0].may_end.set()
    await until(lambda: len(order) == 4)  # two at a time
    assert order == ["0 interim", "final final", "1 interim", "2 interim"]
    interims[1].may_end.set()
    await until(lambda: len(order) == 5)
    assert order[-1] == "3 interim"


async def test_a_session_has_one_job_at_a_time(turns: Turns, order: list[str]) -> None:
    speaker = FakeSpeaker("ann", order, (FINAL, 1.0), (FINAL, 2.0))
    turns.want(speaker)
    await until(lambda: order)
    turns.want(speaker)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == ["ann final"]
    speaker.may_end.set()
    await until(lambda: len(order) == 2)


async def test_the_longest_waits_are_known(turns: Turns, order: list[str]) -> None:
    for speaker in (
        FakeSpeaker("running", order, (INTERIM, 999.0)),
        FakeSpeaker("waiting", order, (INTERIM, 998.5), (FINAL, 0.0)),
        FakeSpeaker("longer", order, (INTERIM, 996.0)),
    ):
        turns.want(speaker)
    await until(lambda: order)
    assert order == ["longer interim"]
    assert turns.longest_waits(lambda speaker, seconds: seconds / 2) == (0.75, 0.0)


async def test_who_left_gets_no_turn(turns: Turns, order: list[str]) -> None:
    gone, here = FakeSpeaker("gone", order, (FINAL, 1.0)), FakeSpeaker("here", order, (FINAL, 2.0))
    turns.want(gone)
    turns.want(here)
    turns.forget(gone)
    await until(lambda: order)
    assert order == ["here final"]


class TestWhoHurries:
    async def _decoded(self, turns: Turns, clock: FakeClock, speaker: FakeSpeaker, *, seconds: float) -> None:
        """One job of ``speaker`` begins, and takes so long."""
        turns.want(speaker)
        await until(lambda: speaker.decoding)
        clock.advance(seconds)
        speaker.may_end.set()
        await until(lambda: not speaker.decoding)
        await asyncio.sleep(0)

    def _flooding(self, order: list[str], wishes: int = 9) -> FakeSpeaker:
        speaker = FakeSpeaker("flood", order, *[(FINAL, 0.0)] * wishes)
        speaker.hurries = True
        return speaker

    async def test_it_rests_after_a_job_while_somebody_else_speaks(
        self, turns: Turns, clock: FakeClock, order: list[str]
    ) -> None:
        flood = self._flooding(order)
        await self._decoded(turns, clock, FakeSpeaker("ann", order, (FINAL, 0.0)), seconds=0.1)
        await self._decoded(turns, clock, flood, seconds=0.5)
        for _ in range(3):
            turns.want(flood)
            await self._decoded(turns, clock, FakeSpeaker("ann", order, (FINAL, 0.0)), seconds=0.5)
        assert order == ["ann final", "flood final", *["ann final"] * 3]
        clock.advance(0.6)  # four times as long as its job have passed
        turns.want(flood)
        await until(lambda: order[-1] == "flood final")

    async def test_alone_it_need_not_rest(self, turns: Turns, clock: FakeClock, order: list[str]) -> None:
        await self._decoded(turns, clock, FakeSpeaker("ann", order, (FINAL, 0.0)), seconds=0.1)
        clock.advance(COMPANY_SECONDS)
        await self._decoded(turns, clock, self._flooding(order, wishes=3), seconds=0.5)
        await until(lambda: order == ["ann final", *["flood final"] * 3])

    async def test_its_waiting_is_no_sign_of_load(self, turns: Turns, clock: FakeClock, order: list[str]) -> None:
        busy = FakeSpeaker("ann", order, (FINAL, clock() - 1.0))
        flood = self._flooding(order)
        busy.decoding = flood.decoding = True
        turns.want(flood)
        assert turns.longest_waits(lambda speaker, waited: waited) == (0.0, 0.0)
        turns.want(busy)
        assert turns.longest_waits(lambda speaker, waited: waited) == (0.0, 1.0)
