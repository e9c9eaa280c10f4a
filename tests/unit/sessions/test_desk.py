"""Live sessions from their opening to their end, on real speech and a fake model."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.conftest import MINI
from tests.unit.sessions.fakes import TEXT, FakePool

from kikitori.audio.decode import decode
from kikitori.errors import Busy, InvalidOption, ModelNotFound, NotFound, Unavailable
from kikitori.live.events import Committed, Final, FinalFailed, Interim, LiveEvent
from kikitori.live.options import LiveOptions, TurnDetection
from kikitori.metrics import Metrics
from kikitori.options import DecodeOptions
from kikitori.sessions import running
from kikitori.sessions.desk import RETRY_AFTER_SECONDS, LiveDesk, LiveListener, LivePlan, Wanted, live_desk
from kikitori.sessions.load import Load
from kikitori.sessions.running import RunningSession
from kikitori.testing import until

WANTED = Wanted(options=LiveOptions(model="fake", interim=False))
SILENCE = bytes(2 * 16_000)


@pytest.fixture(scope="module")
def speech() -> bytes:
    """Two seconds of somebody who speaks, s16le at 16 kHz."""
    audio = np.concatenate([block[0] for block in decode(MINI / "samples" / "en_01.wav")])
    return (audio * 32_767).astype("<i2").tobytes()


class Client:
    """Keeps what a session says."""

    def __init__(self) -> None:
        self.events: list[LiveEvent] = []

    def __call__(self, event: LiveEvent) -> None:
        self.events.append(event)

    @property
    def finals(self) -> list[Final]:
        return [event for event in self.events if isinstance(event, Final)]


@asynccontextmanager
async def at_work(
    pool: FakePool, plan: LivePlan | None = None, listener: LiveListener | None = None
) -> AsyncIterator[LiveDesk]:
    anything: Any = pool

    def check(model: str, options: DecodeOptions) -> None:
        pool.info(model)

    async with live_desk(anything, plan or LivePlan(), check=check, listener=listener) as desk:
        yield desk


def nothing_left() -> set[str]:
    """Tasks of live sessions that still run."""
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("kikitori-live-decoding")}


async def say(session: RunningSession, *sounds: bytes) -> None:
    for sound in sounds:
        for start in range(0, len(sound), 1_280):
            await session.feed(sound[start : start + 1_280])


async def test_what_is_said_is_heard_and_the_session_is_gone(speech: bytes) -> None:
    pool, client = FakePool(), Client()
    async with at_work(pool) as desk:
        session = await desk.open(WANTED, client)
        await say(session, speech, SILENCE, speech)
        session.end()
        await session.finished.wait()
        assert [final.text for final in client.finals] == [TEXT.strip()] * 2
        assert desk.sessions == 0
        await until(lambda: pool.model.running == 0 and pool.held == 0)


async def test_what_cannot_be_is_refused(speech: bytes) -> None:
    async with at_work(FakePool(), LivePlan(max_sessions=1)) as desk:
        for wanted, error in [
            (Wanted(options=LiveOptions(), encoding="mp3"), InvalidOption),
            (Wanted(options=LiveOptions(), rate=4_000), InvalidOption),
            (Wanted(options=LiveOptions(model="missing")), ModelNotFound),
        ]:
            with pytest.raises(error):
                await desk.open(wanted, Client())
        session = await desk.open(WANTED, Client())
        with pytest.raises(Busy):
            await desk.open(WANTED, Client())
        await desk.close(session)
        await desk.open(WANTED, Client())


async def test_those_who_come_together_find_no_more_room_than_there_is() -> None:
    """All of them ask before the first one is in."""
    async with at_work(FakePool(), LivePlan(max_sessions=2)) as desk:
        opened = await asyncio.gather(*(desk.open(WANTED, Client()) for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(each, Busy) for each in opened) == 6
        assert desk.sessions == 2


async def test_a_machine_that_is_full_takes_nobody_and_says_when_to_come_again() -> None:
    async with at_work(FakePool()) as desk:
        busy = await desk.open(WANTED, Client())
        desk._control.load = Load(level=2, stretch=4.0, full=True)
        with pytest.raises(Busy) as refused:
            await desk.open(WANTED, Client())
        assert refused.value.retry_after == RETRY_AFTER_SECONDS
        await desk.close(busy)
        await desk.open(WANTED, Client())  # nobody is left who keeps it busy


async def test_sessions_do_not_change_each_others_options(speech: bytes) -> None:
    pool = FakePool()
    languages = ["en", "ja", "ko"]
    async with at_work(pool) as desk:
        sessions = [
            await desk.open(
                Wanted(options=LiveOptions(interim=False, decode=DecodeOptions(language=code, beam_size=n))), Client()
            )
            for n, code in enumerate(languages, start=1)
        ]
        await asyncio.gather(*(say(session, speech) for session in sessions))
        for session in sessions:
            session.end()
        await asyncio.gather(*(session.finished.wait() for session in sessions))
        assert sorted((each.beam_size, each.language) for each in pool.model.asked) == [*enumerate(languages, start=1)]


async def test_decodings_and_sessions_are_measured(speech: bytes) -> None:
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    async with at_work(FakePool(), listener=metrics) as desk:
        session = await desk.open(Wanted(options=LiveOptions(interim=False, turns=TurnDetection.MANUAL)), Client())
        assert value("kikitori_live_sessions") == 1
        for _ in range(2):
            await say(session, speech)
            session.commit()
        session.end()
        await session.finished.wait()
        assert value("kikitori_live_sessions") == 0
    for name in ("wait", "decode"):
        assert value(f"kikitori_live_{name}_seconds_count", {"kind": "final"}) == 2
        seconds = value(f"kikitori_live_{name}_seconds_sum", {"kind": "final"})
        assert seconds is not None and seconds > 0, "it is measured, not only counted"


async def test_nothing_remembers_a_session_that_was_left(speech: bytes) -> None:
    async with at_work(FakePool()) as desk:
        left: list[weakref.ref[RunningSession]] = []
        for resumable in (False, True):
            client = Client()
            session = await desk.open(replace(WANTED, resumable=resumable), client)
            await say(session, speech)
            left.append(weakref.ref(session))
            if resumable:
                session.end()
                await session.finished.wait()
            desk.leave(session, client)
            await session.finished.wait()
            del session, client
        await until(lambda: gc.collect() >= 0 and left[0]() is None)
        assert left[1]() is not None, "its last words may have got lost"


async def test_a_session_that_nobody_takes_up_is_forgotten(speech: bytes) -> None:
    async with at_work(FakePool(), LivePlan(resume_seconds=0.01)) as desk:
        client = Client()
        session = await desk.open(replace(WANTED, resumable=True), client)
        await say(session, speech)
        desk.leave(session, client)
        await session.finished.wait()
        left = weakref.ref(session)
        del session, client
        await until(lambda: gc.collect() >= 0 and left() is None)


async def test_who_leaves_frees_everything_at_once(speech: bytes) -> None:
    pool, client = FakePool(), Client()
    async with at_work(pool) as desk:
        session = await desk.open(WANTED, client)
        pool.model.gate.clear()
        await say(session, speech, SILENCE)
        await until(lambda: pool.model.running == 1)
        desk.leave(session, client)
        await until(lambda: pool.model.running == 0)
        assert pool.model.given_up == 1
        assert desk.sessions == 0
        await until(lambda: not nothing_left())
        with pytest.raises(NotFound):
            desk.resume(session.facts.token, "", client)


async def test_a_lost_connection_loses_no_word(speech: bytes) -> None:
    pool, before, after = FakePool(), Client(), Client()
    async with at_work(pool) as desk:
        session = await desk.open(Wanted(options=WANTED.options, owner="ann", resumable=True), before)
        await say(session, speech, SILENCE, speech)
        desk.leave(session, before)
        await say(session, SILENCE)  # was on its way
        await until(lambda: len(pool.model.decoded) >= 2)
        with pytest.raises(NotFound):
            desk.resume(session.facts.token, "bob", after)
        again, missed = desk.resume(session.facts.token, "ann", after)
        assert again is session
        for event in missed:
            after(event)
        await say(session, speech)
        session.end()
        await session.finished.wait()
        assert session.received_samples == (3 * len(speech) + 2 * len(SILENCE)) // 2
        heard = {final.utterance for final in [*before.finals, *after.finals]}
        assert sorted(heard) == sorted(final.utterance for final in after.finals)
        assert len(heard) == 3


def gone(desk: LiveDesk, session: RunningSession) -> bool:
    try:
        desk.resume(session.facts.token, "", Client())
    except NotFound:
        return True
    return False


async def test_last_words_that_got_lost_are_said_again(speech: bytes) -> None:
    pool, before, after = FakePool(), Client(), Client()
    async with at_work(pool) as desk:
        session = await desk.open(Wanted(options=WANTED.options, resumable=True), before)
        await say(session, speech)
        session.end()
        await session.finished.wait()
        desk.leave(session, before)
        again, missed = desk.resume(session.facts.token, "", after)
        assert again.finished.is_set()
        assert [event for event in missed if isinstance(event, Final)] == before.finals


async def test_another_socket_takes_over(speech: bytes) -> None:
    pool, before, after = FakePool(), Client(), Client()
    async with at_work(pool) as desk:
        session = await desk.open(Wanted(options=WANTED.options, resumable=True), before)
        await session.feed(speech[:1_001])
        assert session.received_samples == 500
        desk.resume(session.facts.token, "", after)
        assert session.tells(after) and not session.tells(before)
        desk.leave(session, before)  # the first one notices late
        assert session.attached
        await say(session, speech[1_000:])  # half a sample of the first socket is forgotten
        session.end()
        await session.finished.wait()
        assert session.received_samples == len(speech) // 2
        assert len(after.finals) == 1 and not before.finals


async def test_nobody_comes_back(speech: bytes) -> None:
    pool, client = FakePool(), Client()
    async with at_work(pool, LivePlan(resume_seconds=0.01)) as desk:
        session = await desk.open(Wanted(options=WANTED.options, resumable=True), client)
        await say(session, speech)
        desk.leave(session, client)
        await session.finished.wait()
        assert len(pool.model.decoded) == 1  # what was said is still heard, for those who keep it
        assert desk.sessions == 0
        await until(lambda: gone(desk, session))


async def test_a_desk_that_drains_takes_nobody(speech: bytes) -> None:
    client = Client()
    async with at_work(FakePool()) as desk:
        session = await desk.open(Wanted(options=WANTED.options, resumable=True), client)
        desk.leave(session, client)
        desk.drain()
        await session.finished.wait()
        with pytest.raises(Unavailable):
            await desk.open(WANTED, Client())


async def test_a_final_is_tried_again_and_the_session_goes_on(speech: bytes) -> None:
    pool, client = FakePool(), Client()
    pool.model.errors = [RuntimeError("once")]
    async with at_work(pool) as desk:
        session = await desk.open(Wanted(options=LiveOptions(interim=False, turns=TurnDetection.MANUAL)), client)
        await say(session, speech)
        session.commit()
        await until(lambda: client.finals)
        pool.model.errors = [ValueError("always")] * 3
        await say(session, speech)
        session.commit()
        await until(lambda: any(isinstance(event, FinalFailed) for event in client.events))
        await say(session, speech)
        session.commit()
        await until(lambda: len(client.finals) == 2)
        assert sum(isinstance(event, Committed) for event in client.events) == 3
        session.end()
        await session.finished.wait()


async def test_a_client_that_is_too_fast_is_made_to_wait(speech: bytes) -> None:
    pool, client = FakePool(), Client()
    async with at_work(pool, LivePlan(buffer_seconds=5.0)) as desk:
        session = await desk.open(WANTED, client)
        pool.model.gate.clear()
        flood = asyncio.create_task(say(session, *[speech, SILENCE] * 10))
        await until(lambda: pool.model.running == 1 and session.seconds > 5)
        taken = -1.0
        while taken != session.seconds:
            taken = session.seconds
            await asyncio.sleep(0.1)
        assert not flood.done()
        assert taken < 15
        pool.model.gate.set()
        await flood
        session.end()
        await session.finished.wait()
        assert len(client.finals) == 10


async def test_a_streaming_engine_hears_each_utterance_once_and_is_let_go(speech: bytes) -> None:
    pool, client = FakePool(streaming=True), Client()
    async with at_work(pool) as desk:
        session = await desk.open(Wanted(options=LiveOptions(interim_seconds=0.2)), client)
        await say(session, speech, SILENCE, speech)
        session.end()
        await session.finished.wait()
        assert [final.text for final in client.finals] == [TEXT.strip()] * 2
        await until(lambda: pool.model.running == 0 and pool.held == 0)


@pytest.mark.parametrize("provisional", [False, True])
async def test_what_an_engine_may_still_change_is_not_stable(speech: bytes, provisional: bool) -> None:
    pool, client = FakePool(streaming=True), Client()
    pool.model.provisional = provisional
    async with at_work(pool) as desk:
        session = await desk.open(Wanted(options=LiveOptions(interim_seconds=0.2, turns=TurnDetection.MANUAL)), client)
        while len(pool.model.heard) < 3:  # as long as it takes on a busy machine
            await say(session, speech)
            await asyncio.sleep(0.01)
        session.end()
        await session.finished.wait()
    stable = {event.stable for event in client.events if isinstance(event, Interim)}
    assert (stable == {""}) is provisional
    assert [final.text for final in client.finals] == [TEXT.strip()]


async def test_who_leaves_a_streaming_engine_frees_it(speech: bytes) -> None:
    pool, client = FakePool(streaming=True), Client()
    async with at_work(pool) as desk:
        session = await desk.open(Wanted(options=LiveOptions(interim_seconds=0.2)), client)
        await say(session, speech)
        await until(lambda: pool.model.running == 1)
        desk.leave(session, client)
        await until(lambda: pool.model.running == 0 and pool.held == 0)


async def test_a_session_changes_its_model_and_its_format(speech: bytes) -> None:
    pool, client = FakePool(), Client()
    async with at_work(pool) as desk:
        session = await desk.open(WANTED, client)
        await say(session, speech, SILENCE)
        await desk.reconfigure(session, WANTED.options, encoding="f32le", rate=16_000)
        await say(session, (np.frombuffer(speech, "<i2") / 32_768).astype("<f4").tobytes())
        with pytest.raises(ModelNotFound):
            await desk.reconfigure(session, LiveOptions(model="missing"))
        session.end()
        await session.finished.wait()
        assert len(client.finals) == 2


async def test_a_turn_that_nobody_ends_is_ended(speech: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LONGEST_TURN_SECONDS", 3.0)
    pool, client = FakePool(), Client()
    async with at_work(pool) as desk:
        session = await desk.open(Wanted(options=LiveOptions(interim=False, turns=TurnDetection.MANUAL)), client)
        await say(session, *[speech] * 4)
        session.end()
        await session.finished.wait()
    committed = [event for event in client.events if isinstance(event, Committed)]
    assert len(committed) >= 3
    assert sum(len(event.audio) for event in committed) == 4 * len(speech) // 2
    assert len(client.finals) == len(committed)
