"""What live servers are known to get wrong: each a short story."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.unit.live.fakes import Recogniser, Replay, Script, Spoken, check_order, numbered, script

from kikitori.live.events import Final, Interim
from kikitori.live.jobs import Heard, Job, JobKind
from kikitori.live.options import Agreement, LiveOptions, TurnDetection
from kikitori.types import SAMPLE_RATE


def test_words_before_a_long_pause_are_not_forgotten() -> None:
    """A silence of 5 s and more must not throw away the words that passes disagreed on."""
    said = script(numbered(11), 6.0, numbered(5, "later"), tail=6.0)
    replay = Replay(said, recogniser=Recogniser(said, unstable=1.0, truncates=True))
    replay.run()
    assert replay.words == said.texts


def test_the_last_second_before_the_end_is_decoded() -> None:
    """Ending must not publish the last hypothesis: it has not heard the tail."""
    said = Script(tuple(Spoken(f"word{n}", n * 0.5, n * 0.5 + 0.4) for n in range(6)), 2.9)
    replay = Replay(said, LiveOptions(interim_seconds=2.0))
    replay.run()
    assert any(interim.end < 2.5 * SAMPLE_RATE for interim in replay.interims)
    assert replay.words == said.texts


def test_a_comma_does_not_hold_up_a_word() -> None:
    said = script(numbered(30))
    options = LiveOptions(agreement=Agreement.STRICT, turns=TurnDetection.MANUAL)
    replay = Replay(said, options, recogniser=Recogniser(said, marks=1.0))
    replay.run()
    assert len(replay.interims[-1].stable.split()) > 25


def test_audio_is_not_skipped_while_the_language_is_unknown() -> None:
    said = script(numbered(10), 1.0, numbered(10, "more"))
    replay = Replay(said, recogniser=Recogniser(said, language_probability=0.1))
    replay.run()
    assert {job.options.language for job in replay.jobs} == {None}
    assert replay.words == said.texts


def test_minutes_of_speech_without_interruption_go_on() -> None:
    """No freeze, no growing window, no growing memory."""
    said = script(*[part for n in range(20) for part in (numbered(30, f"u{n}w"), 0.3)])
    replay = Replay(said, chunks=(3200,), takes=lambda job: 0.4)
    replay.run()
    check_order(replay.events)
    assert replay.words == said.texts
    assert replay.most_held < 45
    assert max(len(job.audio) for job in replay.jobs) < 22 * SAMPLE_RATE


def test_pauses_do_not_fill_the_buffer() -> None:
    said = script(*[part for n in range(5) for part in (120.0, f"word{n}")])
    replay = Replay(said, chunks=(16_000,))
    replay.run()
    assert replay.words == said.texts
    assert replay.most_held < 5


def test_a_machine_that_is_too_slow_falls_behind_without_losing() -> None:
    """It says less in between, and all of it in the end."""
    said = script(*[part for n in range(15) for part in (numbered(6, f"u{n}w"), 0.7)])
    replay = Replay(said, takes=lambda job: 3.0 + len(job.audio) / SAMPLE_RATE)
    replay.run()
    check_order(replay.events)
    assert replay.words == said.texts


def test_after_a_slow_pass_interims_are_up_to_date_at_once() -> None:
    """One long pass must not be followed by passes over the audio that came meanwhile, one after the other."""
    slow: list[int] = []

    def takes(job: Job) -> float:
        slow.append(job.id)
        return 6.0 if len(slow) == 2 else 0.1

    replay = Replay(script(numbered(30)), LiveOptions(turns=TurnDetection.MANUAL), takes=takes)
    replay.play()
    assert replay.jobs[2].start + len(replay.jobs[2].audio) >= 8 * SAMPLE_RATE


def test_a_burst_of_audio_is_heard_like_any_other() -> None:
    said = script(*[part for n in range(6) for part in (numbered(6, f"u{n}w"), 1.0)])
    replay = Replay(said, chunks=(said.samples,))
    replay.run()
    check_order(replay.events)
    assert replay.words == said.texts
    assert len(replay.finals) == 6


def test_a_pass_that_hears_nothing_takes_nothing_back() -> None:
    said = script(numbered(20))

    class Flaky(Recogniser):
        def hear(self, job: Job, *, streaming: bool = False) -> Heard:
            if job.kind is JobKind.INTERIM and job.id % 2 == 0:
                return Heard(language="en", language_probability=1.0)
            return Recogniser.hear(self, job, streaming=streaming)

    replay = Replay(said, recogniser=Flaky(said))
    replay.run()
    check_order(replay.events)
    assert replay.words == said.texts
    assert replay.interims


@pytest.mark.parametrize("seed", range(5))
def test_any_job_may_fail_or_be_slow(seed: int) -> None:
    rng = random.Random(seed)
    said = script(*[part for n in range(8) for part in (numbered(5, f"u{n}w"), 1.0)])
    replay = Replay(
        said, takes=lambda job: rng.choice((0.05, 0.3, 2.5)), fails=lambda job: rng.random() < 0.3, vad_lag=2_000
    )
    replay.run()
    check_order(replay.events)
    heard = replay.words
    assert heard == [word for word in said.texts if word in heard], "in order, and none twice"
    for final in replay.finals:
        assert len(final.text.split()) in (0, 5), "an utterance is heard wholly or fails"


def test_a_final_is_never_changed() -> None:
    replay = Replay(script(*[part for n in range(4) for part in (numbered(4, f"u{n}w"), 0.8)]))
    replay.run()
    decided: set[int] = set()
    for event in replay.events:
        if isinstance(event, Interim | Final):
            assert event.utterance not in decided
        if isinstance(event, Final):
            decided.add(event.utterance)


def test_chinese_is_compared_by_character() -> None:
    """Engines cut it anew in each pass."""
    text = "今天天气很好我们一起去公园散步吧"
    said = Script(tuple(Spoken(char, n * 0.3, n * 0.3 + 0.3) for n, char in enumerate(text)), 7.0)

    class Joined(Recogniser):
        """Words of one or of two characters, as it likes."""

        def hear(self, job: Job, *, streaming: bool = False) -> Heard:
            heard = Recogniser.hear(self, job)
            return join_pairs(heard, self.rng.randrange(2))

    replay = Replay(said, LiveOptions(interim_seconds=0.5), recogniser=Joined(said, language="zh"))
    replay.run()
    (final,) = replay.finals
    assert final.text == text
    assert final.text.startswith(final.stable) and len(final.stable) > 10


def join_pairs(heard: Heard, first: int) -> Heard:
    """Characters without spaces, joined in pairs from the ``first`` on."""
    segments = []
    for segment in heard.segments:
        words = [replace(word, word=word.word.strip()) for word in segment.words or ()]
        joined = words[:first]
        for n in range(first, len(words), 2):
            pair = words[n : n + 2]
            joined.append(replace(pair[0], word="".join(word.word for word in pair), end=pair[-1].end))
        text = "".join(word.word for word in joined)
        segments.append(replace(segment, text=text, words=tuple(joined)))
    return replace(heard, segments=tuple(segments))
