"""Somebody is waited for: a silence that nothing breaks is told once and committed, on the clock of the samples."""

from __future__ import annotations

import pytest
from tests.unit.live.test_session import push

from kikitori.live.events import Committed, EndReason, Final, LiveEvent, NobodySpoke, SpeechStarted
from kikitori.live.options import LiveOptions, TurnDetection
from kikitori.live.session import LiveSession
from kikitori.types import SAMPLE_RATE

FRAME_SECONDS = 0.033


def told(events: list[LiveEvent]) -> list[NobodySpoke]:
    return [event for event in events if isinstance(event, NobodySpoke)]


def test_the_silence_is_told_and_committed_and_has_an_empty_final() -> None:
    session = LiveSession(LiveOptions())
    push(session, 2.0)
    session.await_speech(1.0, 5.0)
    assert push(session, 5.9) == []
    silence, committed, final = push(session, 0.2)
    assert isinstance(silence, NobodySpoke)
    assert silence.start == 3 * SAMPLE_RATE
    assert 8.0 <= silence.end / SAMPLE_RATE < 8.0 + FRAME_SECONDS
    assert isinstance(committed, Committed)
    assert isinstance(final, Final)
    assert silence.utterance == committed.utterance == final.utterance
    assert committed.reason is final.reason is EndReason.UNBROKEN
    assert final.text == ""
    assert len(committed.audio) == committed.end - committed.start > 0
    assert session.idle
    assert push(session, 30.0) == []


def test_speech_ends_the_waiting() -> None:
    session = LiveSession(LiveOptions())
    session.await_speech(0.0, 5.0)
    push(session, 4.0)
    assert any(isinstance(event, SpeechStarted) for event in push(session, 1.0, 0.9))
    assert told(push(session, 30.0)) == []


def test_speech_that_may_be_beginning_is_given_its_time() -> None:
    session = LiveSession(LiveOptions())
    session.await_speech(0.0, 5.0)
    push(session, 4.95)
    assert told(push(session, 0.06, 0.9)) == []
    assert len(told(push(session, 0.1))) == 1


def test_who_speaks_already_is_not_waited_for() -> None:
    session = LiveSession(LiveOptions())
    push(session, 1.0, 0.9)
    session.await_speech(0.0, 5.0)
    assert told(push(session, 30.0)) == []


@pytest.mark.parametrize("how", ["nobody", "commit", "manual"])
def test_the_waiting_can_be_ended(how: str) -> None:
    session = LiveSession(LiveOptions())
    session.await_speech(0.0, 5.0)
    push(session, 1.0)
    if how == "nobody":
        session.await_speech(0.0, None)
    elif how == "commit":
        session.commit(0.0)
    else:
        session.configure(LiveOptions(turns=TurnDetection.MANUAL))
    assert told(push(session, 30.0)) == []


def test_what_is_cleared_meanwhile_was_silence_too() -> None:
    session = LiveSession(LiveOptions())
    session.await_speech(0.0, 5.0)
    push(session, 4.99)
    session.clear()
    assert len(told(push(session, 0.2))) == 1


def test_the_silence_cannot_be_committed_again() -> None:
    session = LiveSession(LiveOptions())
    session.await_speech(0.0, 5.0)
    push(session, 6.0)
    assert not any(isinstance(event, Committed) for event in session.commit(0.0))
    push(session, 1.0, 0.9)
    assert any(isinstance(event, Committed) for event in session.commit(0.0))
