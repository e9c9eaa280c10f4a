"""Quiet: silence after an utterance that is told once, on the clock of the samples."""

from __future__ import annotations

from tests.unit.live.fakes import Replay, script
from tests.unit.live.test_session import push

from kikitori.live.events import Final, Quiet
from kikitori.live.options import LiveOptions, TurnDetection
from kikitori.live.session import LiveSession
from kikitori.types import SAMPLE_RATE

OPTIONS = LiveOptions(quiet_ms=1_000)


def quiets(events: object) -> list[Quiet]:
    assert isinstance(events, list)
    return [event for event in events if isinstance(event, Quiet)]


def test_it_comes_once_for_each_utterance_after_the_silence() -> None:
    replay = Replay(script(1.0, "hello world", 3.0, "again", tail=3.0), OPTIONS)
    replay.run()
    finals = [event for event in replay.events if isinstance(event, Final)]
    told = quiets(replay.events)
    assert [quiet.utterance for quiet in told] == [final.utterance for final in finals]
    for quiet, final in zip(told, finals, strict=True):
        assert 1.0 <= quiet.end / SAMPLE_RATE - final.words[-1].end < 1.2


def test_who_goes_on_speaking_is_not_quiet() -> None:
    replay = Replay(script(1.0, "hello", 0.8, "again", tail=3.0), OPTIONS)
    replay.run()
    assert [quiet.utterance for quiet in quiets(replay.events)] == [2]


def test_nobody_asked_or_manual_turns_or_never_spoken() -> None:
    for options in (LiveOptions(), LiveOptions(quiet_ms=1_000, turns=TurnDetection.MANUAL)):
        replay = Replay(script(1.0, "hello", tail=3.0), options)
        replay.run()
        assert quiets(replay.events) == []
    assert quiets(push(LiveSession(OPTIONS), 30.0)) == []


def test_a_silence_shorter_than_the_endpoint_is_told_at_the_endpoint() -> None:
    session = LiveSession(LiveOptions(quiet_ms=200, endpoint_ms=500))
    push(session, 1.0, 0.9)
    assert quiets(push(session, 0.4)) == []
    assert len(quiets(push(session, 0.2))) == 1
    assert quiets(push(session, 9.0)) == []


def test_what_is_cleared_is_forgotten() -> None:
    session = LiveSession(OPTIONS)
    push(session, 1.0, 0.9)
    push(session, 0.6)
    session.clear()
    assert quiets(push(session, 5.0)) == []
