"""Stable text, through whole sessions: it is what the final says, however passes differ."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from tests.unit.live.fakes import Recogniser, Replay, Script, Spoken, check_order, numbered, script

from kikitori.live.events import Final, Interim
from kikitori.live.guards import is_loop
from kikitori.live.jobs import Heard, Job, JobKind
from kikitori.live.options import Agreement, FinalFrom, LiveOptions, TurnDetection
from kikitori.live.words import norms, units
from kikitori.types import Word

quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@st.composite
def noisy_replays(draw: st.DrawFn) -> Replay:
    """Words of a small vocabulary, so that they come again and again; times jump, marks come and go."""
    at, words = 0.2, []
    vocabulary = draw(st.sampled_from((["no", "yes", "well", "so"], numbered(12).split())))
    for text in draw(st.lists(st.sampled_from(vocabulary), min_size=4, max_size=60)):
        seconds = draw(st.sampled_from((0.3, 0.4, 0.5)))
        words.append(Spoken(text, at, at + seconds))
        at += seconds + draw(st.sampled_from((0.0, 0.02, 0.1, 0.3, 2.0)))
    said = Script(tuple(words), at + 1.0)
    spoken = [Word(word=f" {word.text}", start=0, end=0, probability=1) for word in words]
    assume(not any(is_loop(units(spoken[:n])[-m:]) for n in range(1, len(spoken) + 1) for m in (8, 16, 32, 60)))
    options = LiveOptions(
        turns=draw(st.sampled_from((TurnDetection.VAD, TurnDetection.MANUAL))),
        agreement=draw(st.sampled_from(list(Agreement))),
        interim_seconds=draw(st.sampled_from((0.1, 0.3, 1.0))),
    )
    return Replay(
        said,
        options,
        chunks=(draw(st.sampled_from((320, 512, 1600))),),
        vad_lag=draw(st.sampled_from((0, 3_000))),
        takes=lambda job: 0.05,
        recogniser=Recogniser(
            said,
            rng=random.Random(draw(st.integers(0, 1000))),
            jitter=0.05,
            truncates=True,
            marks=0.3,
            probability=draw(st.sampled_from((0.5, 0.95))),
        ),
        streaming=draw(st.booleans()),
    )


@quick
@given(noisy_replays())
def test_a_final_begins_with_what_was_stable(replay: Replay) -> None:
    replay.run()
    check_order(replay.events)
    assert replay.words == replay.script.texts
    for final in replay.finals:
        stable = norms(final.stable)
        assert norms(final.text)[: len(stable)] == stable


class Lisping(Recogniser):
    """Hears every fifth word wrong until the end, always in the same way."""

    def hear(self, job: Job, *, streaming: bool = False) -> Heard:
        heard = Recogniser.hear(self, job, streaming=streaming)
        if job.kind is not JobKind.INTERIM:
            return heard
        return replace(heard, segments=tuple(replace(each, words=lisped(each.words)) for each in heard.segments))


def lisped(words: Sequence[Word] | None) -> tuple[Word, ...]:
    return tuple(
        replace(word, word=word.word.replace("word", "bird")) if word.word.endswith("5") else word
        for word in words or ()
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_a_final_may_be_bound_to_what_was_shown(streaming: bool) -> None:
    """Where nothing may be taken back, words that were misheard stay, and none is lost or doubled."""
    said = script(numbered(28), 1.0, numbered(20, "again"), gap=0.05, tail=1.0)
    right, shown = said.texts, [text.replace("word", "bird") if text.endswith("5") else text for text in said.texts]
    for way, wanted in ((FinalFrom.WHOLE, right), (FinalFrom.STABLE, shown)):
        options = LiveOptions(interim_seconds=0.3, final_from=way)
        replay = Replay(
            said, options, takes=lambda job: 0.02, recogniser=Lisping(said, jitter=0.05), streaming=streaming
        )
        replay.run()
        check_order(replay.events)
        assert replay.words == wanted
        for final in replay.finals:
            assert "".join(word.word for word in final.words).split() == final.text.split()
            assert [segment.text.strip() for segment in final.segments] == [final.text]
        begins = [final.text.startswith(final.stable.strip()) for final in replay.finals]
        assert begins == [way is FinalFrom.STABLE, True]


@pytest.mark.parametrize("interim_seconds", [0.1, 0.5])
@pytest.mark.parametrize("agreement", list(Agreement))
def test_misheard_words_at_the_edge_rarely_become_stable(interim_seconds: float, agreement: Agreement) -> None:
    """Passes every 0.1 s must not agree with themselves, and one doubtful word must not hold up all others."""
    said = script(numbered(150), gap=0.05, tail=1.0)
    recogniser = Recogniser(said, jitter=0.05, truncates=True, unstable=0.3, marks=0.2, probability=0.8)
    options = LiveOptions(turns=TurnDetection.MANUAL, interim_seconds=interim_seconds, agreement=agreement)
    replay = Replay(said, options, takes=lambda job: 0.02, recogniser=recogniser)
    replay.run()
    (final,) = replay.finals
    right, stable = set(norms(final.text)), norms(final.stable)
    assert len(stable) > 140
    assert sum(word not in right for word in stable) <= 4
    assert len(set(stable)) == len(stable), "no word twice"


def test_stable_text_keeps_up_with_speech() -> None:
    """Words become stable within seconds, also after minutes of speech without a pause."""
    said = script(numbered(300), gap=0.05)
    options = LiveOptions(turns=TurnDetection.MANUAL, interim_seconds=0.5)
    replay = Replay(said, options, recogniser=Recogniser(said, jitter=0.05, truncates=True, unstable=0.2))
    replay.run()
    shown: dict[str, float] = {}
    for told in replay.told:
        if isinstance(told.event, Interim):
            for word in norms(told.event.stable)[len(shown) :]:
                shown[word] = told.at
    delays = sorted(shown[word.text] - word.end for word in said.words if word.text in shown)
    assert len(delays) > 290
    assert delays[len(delays) // 2] < 1.5 and delays[-1] < 4.5


def test_joined_deltas_are_the_text() -> None:
    replay = Replay(script(numbered(20)))
    replay.run()
    for interim in replay.interims:
        assert interim.stable == "" or interim.stable.startswith(" ")
        assert interim.text == f"{interim.stable}{interim.tail}".strip()
    (final,) = (event for event in replay.events if isinstance(event, Final))
    assert final.text.startswith(final.stable.strip())
