"""Every spoken word is in the finals once, whatever happens around it."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.unit.live.fakes import Recogniser, Replay, Script, Spoken, check_order

from kikitori.live.events import Final, Interim
from kikitori.live.jobs import Job
from kikitori.live.options import LiveOptions, TurnDetection

PAUSES = (0.0, 0.05, 0.15, 0.3, 0.45, 0.7, 1.3, 3.0, 6.0)
CHUNKS = (1, 160, 320, 511, 512, 513, 1600, 4096, 16_000, 80_000)
quick = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making a failing replay smaller takes minutes
)


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    at = draw(st.sampled_from((0.0, 0.3, 2.0)))
    words = []
    for n in range(draw(st.integers(0, 30))):
        seconds = draw(st.sampled_from((0.3, 0.4, 0.6)))
        words.append(Spoken(f"word{n}", at, at + seconds))
        at += seconds + draw(st.sampled_from(PAUSES))
    return Script(tuple(words), at + draw(st.sampled_from((0.0, 0.1, 0.4, 2.0))))


@st.composite
def replays(draw: st.DrawFn, turns: TurnDetection = TurnDetection.VAD, streaming: bool = False) -> Replay:
    script = draw(scripts())
    rng = random.Random(draw(st.integers(0, 1000)))
    slow = draw(st.sampled_from((0.0, 0.05, 0.5, 3.0)))
    kinds = {"fixed": lambda job: slow, "random": lambda job: rng.uniform(0, 2 * slow)}
    options = LiveOptions(
        turns=turns,
        interim=draw(st.booleans()),
        interim_seconds=draw(st.sampled_from((0.1, 0.5, 1.0))),
        endpoint_ms=draw(st.sampled_from((100, 300, 500, 2_000))),
        prefix_ms=draw(st.sampled_from((0, 400))),
        max_utterance_seconds=draw(st.sampled_from((5.0, 20.0))),
    )
    return Replay(
        script,
        options,
        chunks=draw(st.lists(st.sampled_from(CHUNKS[1:]), min_size=1, max_size=4)),
        vad_lag=draw(st.sampled_from((0, 512, 5_000, 48_000))),
        takes=kinds[draw(st.sampled_from(sorted(kinds)))],
        recogniser=Recogniser(script, rng=rng, jitter=0.05, truncates=True, unstable=0.3, marks=0.2),
        streaming=streaming,
        commits=draw(st.lists(st.floats(0, 20), max_size=4)),
    )


def check(replay: Replay) -> None:
    replay.run()
    check_order(replay.events)
    assert replay.words == replay.script.texts


@quick
@given(replays())
def test_with_voice_detection(replay: Replay) -> None:
    check(replay)


@quick
@given(replays(TurnDetection.SEMANTIC))
def test_with_semantic_detection(replay: Replay) -> None:
    check(replay)


@quick
@given(replays(TurnDetection.MANUAL))
def test_with_manual_turns(replay: Replay) -> None:
    check(replay)


@quick
@given(st.one_of(replays(streaming=True), replays(TurnDetection.MANUAL, streaming=True)))
def test_with_streaming_engines(replay: Replay) -> None:
    check(replay)


@pytest.mark.parametrize("turns", list(TurnDetection))
@pytest.mark.parametrize("lag", [0, 512, 20_000])
def test_the_end_right_after_speech(turns: TurnDetection, lag: int) -> None:
    script = Script((Spoken("one", 0.5, 0.9), Spoken("two", 1.0, 1.4)), 1.4)
    check(Replay(script, LiveOptions(turns=turns), vad_lag=lag))


def test_a_pass_of_thirty_seconds_delays_and_loses_nothing() -> None:
    words = tuple(Spoken(f"word{n}", at, at + 0.4) for n in range(60) for at in [n * 1.0 + 0.2])
    script = Script(words, 62.0)
    slow: list[Job] = []

    def takes(job: Job) -> float:
        if not slow and job.start > 100_000:
            slow.append(job)
            return 30.0
        return 0.1

    replay = Replay(script, takes=takes)
    check(replay)
    assert slow
    times = [told.at for told in replay.told if isinstance(told.event, Final)]
    assert times == sorted(times)


def test_interims_show_the_words_of_the_final() -> None:
    script = Script(tuple(Spoken(f"word{n}", n * 0.5, n * 0.5 + 0.4) for n in range(20)), 12.0)
    replay = Replay(script)
    check(replay)
    (final,) = replay.finals
    shown = [event for event in replay.events if isinstance(event, Interim)]
    assert len(shown) > 5
    assert final.text.startswith(final.stable.strip())
    assert len(final.stable.split()) > 12
