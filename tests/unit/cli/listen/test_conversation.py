from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.cli.listen.captions import Said, Shown, Told
from kikitori.cli.listen.conversation import Conversation, State, Step, Transmit
from kikitori.errors import Busy, InvalidInput, ModelNotFound
from kikitori.types import Word

RATE, WIDTH = 100, 2
SECOND = RATE * WIDTH


def talk() -> Conversation:
    return Conversation(start={"lang": "ko"}, width=WIDTH, rate=RATE)


def sent(steps: list[Step]) -> list[Any]:
    """Messages as their type, audio as bytes."""
    frames = [step.frame for step in steps if isinstance(step, Transmit)]
    return [frame if isinstance(frame, bytes) else json.loads(frame)["type"] for frame in frames]


def hear(line: Conversation, kind: str, **fields: Any) -> list[Step]:
    return list(line.receive({"type": kind, **fields}))


def opened() -> Conversation:
    line = talk()
    list(line.connected())
    hear(line, "system", message="started")
    hear(line, "session", token="t1", samples=0)
    return line


def test_it_starts_and_sends_audio_when_the_server_listens() -> None:
    line = talk()
    assert sent(list(line.feed(b"abcd"))) == []
    (start,) = list(line.connected())
    assert json.loads(start.frame) == {"type": "start", "lang": "ko"}
    assert sent(list(line.feed(b"ef"))) == []
    assert sent(hear(line, "system", message="started")) == [b"abcdef"]
    assert sent(list(line.feed(b"gh"))) == [b"gh"]


def test_samples_are_sent_whole() -> None:
    line = opened()
    assert sent(list(line.feed(b"abc"))) == [b"ab"]
    assert sent(list(line.feed(b"d"))) == [b"cd"]


def test_the_end_comes_after_all_audio() -> None:
    line = opened()
    line.disconnected()
    list(line.feed(b"abcd"))
    assert sent(list(line.end())) == []
    assert sent(list(line.connected())) == ["resume"]
    assert sent(hear(line, "resumed", samples=0, token="t1")) == [b"abcd", "end"]
    assert hear(line, "ended") == []
    assert line.state is State.OVER


def test_captions_have_the_times_of_the_sound() -> None:
    line = opened()
    facts = {"word": " hi", "start": 0.5, "end": 0.9, "probability": 0.8}
    word = Word(word=" hi", start=0.5, end=0.9, probability=0.8)
    assert hear(line, "interim", utterance=1, revision=1, text="h", stable="") == [Shown(text="h")]
    assert hear(line, "final", utterance=1, text="hi", start=0.5, end=1.0, language="en", words=[facts]) == [
        Said(text="hi", start=0.5, end=1.0, language="en", words=(word,))
    ]


def test_what_comes_twice_is_told_once() -> None:
    line = opened()
    hear(line, "interim", utterance=1, revision=3, text="hell")
    assert hear(line, "interim", utterance=1, revision=2, text="hel") == []
    assert len(hear(line, "final", utterance=1, text="hello", start=0, end=1)) == 1
    assert hear(line, "final", utterance=1, text="hello", start=0, end=1) == []
    assert hear(line, "interim", utterance=1, revision=9, text="hello") == []


def test_an_interim_that_was_no_speech_is_taken_away() -> None:
    line = opened()
    hear(line, "interim", utterance=1, revision=3, text="uh")
    assert hear(line, "interim", utterance=1, text="", stable="") == [Shown(text="")]


def test_after_a_lost_socket_only_what_did_not_arrive_is_sent_again() -> None:
    line = opened()
    list(line.feed(bytes(range(200))))
    hear(line, "ack", samples=40)
    line.disconnected()
    list(line.feed(b"more"))
    assert sent(list(line.connected())) == ["resume"]
    assert sent(hear(line, "resumed", samples=60, token="t1")) == [bytes(range(120, 200)) + b"more"]


def test_a_session_that_is_gone_is_followed_by_one_that_hears_what_has_no_final() -> None:
    line = opened()
    list(line.feed(bytes(4 * SECOND)))
    hear(line, "ack", samples=4 * RATE)
    hear(line, "final", utterance=1, text="first", start=0.0, end=1.5)
    line.disconnected()
    list(line.connected())
    steps = hear(line, "error", message="There is no such session any more.", code="not_found")
    assert sent(steps) == ["start"]
    assert [step.problem for step in steps if isinstance(step, Told)] == [True]
    assert hear(line, "ended") == [], "that of the session which was not there"
    assert sum(len(frame) for frame in sent(hear(line, "system", message="again"))) == 2.5 * SECOND
    hear(line, "session", token="t2", samples=0)
    assert hear(line, "final", utterance=1, text="second", start=0.0, end=1.0) == [
        Said(text="second", start=1.5, end=2.5)
    ]


def test_a_session_that_ends_by_itself_is_followed_by_another() -> None:
    line = opened()
    list(line.feed(bytes(2 * SECOND)))
    hear(line, "final", utterance=1, text="first", start=0.0, end=1.0)
    assert sent(hear(line, "ended")) == ["start"]
    assert sum(len(frame) for frame in sent(hear(line, "system", message="again"))) == SECOND
    assert line.state is State.OPEN


@pytest.mark.parametrize(
    ("code", "error"),
    [("model_not_found", ModelNotFound), ("rate_limit_exceeded", Busy), ("invalid_value", InvalidInput)],
)
def test_a_server_that_refuses_to_listen_ends_it(code: str, error: type[Exception]) -> None:
    line = talk()
    list(line.connected())
    with pytest.raises(error, match="No such thing"):
        hear(line, "error", code=code, message="No such thing.")
    assert line.state is State.OVER


def test_other_errors_are_told() -> None:
    assert hear(opened(), "error", message="An utterance failed.") == [
        Told(message="An utterance failed.", problem=True)
    ]


def test_a_lag_is_told() -> None:
    line = opened()
    assert hear(line, "lag", seconds=7.4) == [Told(message="The server is 7 s behind.", problem=True)]
    assert hear(line, "lag", seconds=0) == [Told(message="The server has caught up.")]


def test_what_it_does_not_know_is_passed_over() -> None:
    assert hear(opened(), "weather", sun=True) == []


def test_audio_is_kept_no_longer_than_it_may_be_needed() -> None:
    line = opened()
    for second in range(1, 201):
        list(line.feed(bytes(SECOND)))
        hear(line, "ack", samples=second * RATE)
    assert line.unsafe_seconds == 0
    assert len(line._kept) == 60 * SECOND
    hear(line, "final", utterance=1, text="x", start=199.0, end=199.5)
    assert len(line._kept) == SECOND // 2


@given(
    st.binary(min_size=2, max_size=400),
    st.lists(
        st.one_of(
            st.tuples(st.just("feed"), st.integers(0, 60)),
            st.tuples(st.just("lose"), st.integers(0, 400)),
            st.tuples(st.just("ack"), st.integers(0, 100)),
        ),
        max_size=30,
    ),
)
def test_the_server_gets_every_sample_once_and_in_order(sound: bytes, steps: list[tuple[str, int]]) -> None:
    """The server takes in what comes, and loses with a socket what was on its way."""
    sound = sound[: len(sound) // WIDTH * WIDTH]
    line = opened()
    taken = bytearray()
    position = 0

    def take(frames: list[Any], lost: int = 0) -> None:
        data = b"".join(frame for frame in frames if isinstance(frame, bytes))
        kept = max(0, len(data) - lost)
        taken.extend(data[: kept - kept % WIDTH])

    for kind, number in steps:
        if kind == "feed":
            take(sent(list(line.feed(sound[position : position + number]))))
            position += number
        elif kind == "ack":
            hear(line, "ack", samples=min(number, len(taken) // WIDTH))
        else:
            take(sent(list(line.feed(sound[position : position + 40]))), lost=number)
            position += 40
            line.disconnected()
            list(line.connected())
            take(sent(hear(line, "resumed", samples=len(taken) // WIDTH, token="t1")))
    take(sent(list(line.feed(sound[position:]))))
    assert bytes(taken) == sound
