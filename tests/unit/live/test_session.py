"""A session's rules: commits, clear, drafts, overload, failures, silence, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.unit.live.fakes import Recogniser, Replay, Script, Spoken, check_order, numbered, positions, script

from kikitori.audio.vad import FRAME_SAMPLES
from kikitori.live.events import (
    Cleared,
    CommitRefused,
    Committed,
    Degraded,
    EndReason,
    Final,
    FinalFailed,
    Interim,
    Lag,
    LiveEvent,
    SpeechStarted,
    SpeechStopped,
)
from kikitori.live.jobs import Heard, Job, JobKind
from kikitori.live.options import Eagerness, LiveOptions, TurnDetection
from kikitori.live.session import LiveSession
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Segment, Word

MANUAL = LiveOptions(turns=TurnDetection.MANUAL)


def kinds(events: Sequence[LiveEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def push(session: LiveSession, seconds: float, probability: float = 0.0, *, now: float = 0.0) -> list[LiveEvent]:
    """Audio of ``seconds``, of which all is speech or none."""
    start = session.position
    session.push_audio(positions(start, start + int(seconds * SAMPLE_RATE)))
    frames = (session.position - session.judged) // FRAME_SAMPLES
    return session.push_speech([probability] * frames, now)


def heard(*words: str, start: float = 0.0, seconds: float = 0.4, probability: float = 0.9, **more: float) -> Heard:
    """A segment of words, one after the other."""
    spoken = tuple(
        Word(word=f" {word}", start=start + n * seconds, end=start + (n + 1) * seconds, probability=probability)
        for n, word in enumerate(words)
    )
    segment = Segment(
        id=0,
        start=start,
        end=start + len(words) * seconds,
        text="".join(word.word for word in spoken),
        words=spoken,
        **more,  # type: ignore[arg-type]
    )
    return Heard(segments=(segment,), language="en", language_probability=1.0)


class TestTurnsByVoice:
    def test_the_order_of_events(self) -> None:
        replay = Replay(script(1.0, "hello world", 1.5, "again", tail=1.5))
        replay.run()
        check_order(replay.events)
        assert [name for name in kinds(replay.events) if name != "Interim"] == [
            "SpeechStarted",
            "SpeechStopped",
            "Committed",
            "Final",
        ] * 2
        assert [final.text for final in replay.finals] == ["hello world", "again"]
        assert {final.reason for final in replay.finals} == {EndReason.PAUSE}

    def test_audio_before_the_speech_is_kept(self) -> None:
        replay = Replay(script(1.0, "hello", tail=1.5))
        replay.run()
        (started,) = [event for event in replay.events if isinstance(event, SpeechStarted)]
        assert started.start == 32 * FRAME_SAMPLES - 400 * 16 - FRAME_SAMPLES
        stopped = next(event for event in replay.events if isinstance(event, SpeechStopped))
        assert stopped.end == next(event for event in replay.events if isinstance(event, Committed)).end

    def test_times_are_those_of_the_session(self) -> None:
        replay = Replay(script(1.0, "one", 4.0, "two", tail=1.0))
        replay.run()
        words = [word for final in replay.finals for word in final.words]
        assert [word.word for word in words] == [" one", " two"]
        assert [word.start for word in words] == pytest.approx([1.0, 5.35])
        assert replay.finals[1].segments[0].start == pytest.approx(5.35)

    def test_a_sound_that_is_too_short_costs_no_decoding(self) -> None:
        click = Script((Spoken("click", 1.0, 1.15),), 3.0)
        replay = Replay(click)
        replay.run()
        check_order(replay.events)
        assert [final.text for final in replay.finals] == [""]
        assert replay.jobs == []

    def test_an_hour_of_silence_makes_no_job_and_takes_no_memory(self) -> None:
        for options in (LiveOptions(), MANUAL):
            session = LiveSession(options)
            for _ in range(360):
                assert push(session, 10.0) == []
                assert session.next_job(0.0) is None
                assert session.buffered_seconds < 42
            assert session.lag_seconds < 1

    def test_memory_is_given_back_after_each_utterance(self) -> None:
        replay = Replay(script(*[part for n in range(40) for part in (numbered(8), 1.0)]))
        replay.run()
        assert replay.most_held < 12
        assert replay.session.buffered_seconds == 0

    def test_long_speech_is_cut_and_goes_on(self) -> None:
        replay = Replay(script(numbered(150), gap=0.05))
        replay.run()
        check_order(replay.events)
        assert replay.words == numbered(150).split()
        assert {final.reason for final in replay.finals[:-1]} == {EndReason.LONGEST}
        assert all(final.end - final.start <= 20.5 * SAMPLE_RATE for final in replay.finals)


class TestCommit:
    @pytest.mark.parametrize("options", [MANUAL, LiveOptions()])
    def test_less_than_100_ms_is_refused_and_kept(self, options: LiveOptions) -> None:
        session = LiveSession(options)
        assert session.commit(0.0) == [CommitRefused(samples=0)]
        push(session, 0.05)
        assert session.commit(0.0) == [CommitRefused(samples=800)]
        push(session, 0.06)
        committed, final = session.commit(0.0)
        assert isinstance(committed, Committed) and (committed.start, committed.end) == (0, 1760)
        assert isinstance(final, Final) and final.text == "" and final.reason is EndReason.COMMIT

    def test_silence_is_committed_without_decoding(self) -> None:
        session = LiveSession(MANUAL)
        push(session, 1.0)
        assert kinds(session.commit(0.0)) == ["Committed", "Final"]
        assert session.next_job(0.0) is None

    def test_audio_that_was_not_judged_may_be_speech(self) -> None:
        session = LiveSession(MANUAL)
        session.push_audio(positions(0, SAMPLE_RATE))
        assert kinds(session.commit(0.0)) == ["Committed"]
        job = session.next_job(0.0)
        assert job is not None and job.kind is JobKind.FINAL and len(job.audio) == SAMPLE_RATE

    def test_in_the_middle_of_speech(self) -> None:
        """No SpeechStopped, and the number that was announced."""
        session = LiveSession(LiveOptions(interim=False))
        push(session, 0.5)
        (started,) = push(session, 1.0, 0.9)
        assert isinstance(started, SpeechStarted)
        (committed,) = session.commit(1.5)
        assert isinstance(committed, Committed)
        assert (committed.utterance, committed.start, committed.end) == (started.utterance, started.start, 24_000)
        again = push(session, 0.5, 0.9)
        assert isinstance(again[0], SpeechStarted) and again[0].start == 24_000

    def test_right_after_a_pause_there_is_nothing_to_commit(self) -> None:
        session = LiveSession(LiveOptions())
        push(session, 1.0, 0.9)
        assert kinds(push(session, 1.0))[-2:] == ["SpeechStopped", "Committed"]
        (refused,) = session.commit(2.0)
        assert isinstance(refused, CommitRefused) and refused.samples < SAMPLE_RATE // 10
        push(session, 60.0)
        assert kinds(session.commit(62.0)) == ["CommitRefused"]

    def test_speech_that_was_not_announced_yet_can_be_committed(self) -> None:
        session = LiveSession(LiveOptions())
        push(session, 1.0, 0.9)
        push(session, 1.0)
        session.push_audio(positions(session.position, session.position + SAMPLE_RATE))
        assert kinds(session.commit(3.0)) == ["Committed"]

    def test_manual_turns_may_be_longer_than_a_window(self) -> None:
        replay = Replay(script(numbered(120)), MANUAL, chunks=(1600,))
        replay.run()
        check_order(replay.events)
        (final,) = replay.finals
        assert final.text == numbered(120)
        assert replay.jobs[-1].kind is JobKind.FINAL and len(replay.jobs[-1].audio) > 50 * SAMPLE_RATE
        interims = [job for job in replay.jobs if job.kind is JobKind.INTERIM]
        assert all(len(job.audio) <= 28 * SAMPLE_RATE for job in interims)
        assert final.text.startswith(final.stable.strip()) and len(final.stable.split()) > 110

    def test_a_long_pause_in_a_manual_turn_is_not_heard_again_and_again(self) -> None:
        replay = Replay(script("one two three", 15.0, "four five six", tail=3.0), MANUAL)
        replay.run()
        assert replay.words == "one two three four five six".split()
        interims = [job for job in replay.jobs if job.kind is JobKind.INTERIM]
        assert len(interims) < 8
        assert all(len(job.audio) < 4 * SAMPLE_RATE for job in interims)
        assert replay.finals[0].stable.startswith(" one two three four")

    def test_silence_around_the_speech_of_a_manual_turn_is_not_decoded(self) -> None:
        replay = Replay(script(9.0, "hello", tail=9.0), MANUAL, commits=(18.0,))
        replay.run()
        assert replay.words == ["hello"]
        assert len(replay.jobs[-1].audio) < 1.5 * SAMPLE_RATE


class TestClear:
    def test_it_is_always_answered(self) -> None:
        assert LiveSession(LiveOptions()).clear() == [Cleared(utterance=None)]

    def test_open_speech_is_gone(self) -> None:
        session = LiveSession(LiveOptions())
        (started,) = push(session, 2.0, 0.9)
        job = session.next_job(2.0)
        assert job is not None and isinstance(started, SpeechStarted) and not session.obsolete
        assert session.clear() == [Cleared(utterance=started.utterance)]
        assert session.obsolete
        assert session.complete(job, heard("gone"), 2.1) == []
        assert push(session, 2.0) == []
        assert session.end(4.0) == [] and session.done

    def test_then_there_is_nothing_to_commit(self) -> None:
        session = LiveSession(MANUAL)
        push(session, 1.0, 0.9)
        session.clear()
        assert session.commit(1.0) == [CommitRefused(samples=0)]

    def test_probabilities_of_audio_that_is_gone_do_not_count(self) -> None:
        session = LiveSession(LiveOptions())
        session.push_audio(positions(0, SAMPLE_RATE))
        session.clear()
        assert session.push_speech([0.9] * 31, 1.0) == []
        assert session.next_job(1.0) is None

    def test_what_was_committed_stays(self) -> None:
        session = LiveSession(MANUAL)
        push(session, 1.0, 0.9)
        session.commit(1.0)
        session.clear()
        job = session.next_job(1.0)
        assert job is not None
        assert kinds(session.complete(job, heard("kept"), 1.1)) == ["Final"]


class TestJobs:
    def test_one_at_a_time_and_the_newest_audio(self) -> None:
        session = LiveSession(LiveOptions())
        push(session, 1.1, 0.9, now=1.1)
        assert session.next_due(1.2) == (JobKind.INTERIM, 1.1)
        push(session, 3.0, 0.9, now=4.1)
        assert session.next_due(4.1) == (JobKind.INTERIM, 1.1)
        job = session.next_job(4.1)
        assert job is not None and job.start + len(job.audio) == session.position
        assert session.next_due(4.1) is None and session.next_job(4.1) is None

    def test_finals_come_first_and_in_order(self) -> None:
        session = LiveSession(LiveOptions(interim_seconds=0.5))
        push(session, 0.45, 0.9)
        for _ in range(3):
            push(session, 0.6)
            push(session, 0.45, 0.9)
        order = []
        events: list[LiveEvent] = []
        while (job := session.next_job(0.0)) is not None:
            order.append((job.kind, job.utterance))
            events += session.complete(job, heard(f"word{job.utterance}"), 0.0)
        assert order == [(JobKind.FINAL, 1), (JobKind.FINAL, 2), (JobKind.FINAL, 3)]
        assert [event.utterance for event in events if isinstance(event, Final)] == [1, 2, 3]

    def test_a_final_without_speech_waits_for_its_turn(self) -> None:
        session = LiveSession(MANUAL)
        push(session, 1.0, 0.9)
        session.commit(1.0)
        push(session, 1.0)
        assert kinds(session.commit(2.0)) == ["Committed"]
        job = session.next_job(2.0)
        assert job is not None
        assert [event.text for event in session.complete(job, heard("first"), 2.0) if isinstance(event, Final)] == [
            "first",
            "",
        ]

    def test_a_failed_final_fails_alone(self) -> None:
        replay = Replay(
            script("one two", 1.5, "three four", 1.5, "five six"),
            fails=lambda job: job.utterance == 2,
        )
        replay.run()
        check_order(replay.events)
        (failed,) = [event for event in replay.events if isinstance(event, FinalFailed)]
        assert (failed.utterance, failed.code, failed.message) == (2, "unavailable", "broken")
        assert replay.words == ["one", "two", "five", "six"]

    def test_failed_interims_are_forgotten(self) -> None:
        replay = Replay(script(numbered(12)), fails=lambda job: job.kind is not JobKind.FINAL)
        replay.run()
        assert replay.interims == [] and replay.words == numbered(12).split()
        assert len(replay.jobs) < 10, "a job that fails is not begun again at once"

    def test_a_final_that_was_cancelled_is_due_again(self) -> None:
        session = LiveSession(MANUAL)
        push(session, 1.0, 0.9)
        session.commit(1.0)
        job = session.next_job(1.0)
        assert job is not None
        session.drop(job)
        again = session.next_job(1.0)
        assert again is not None and again.kind is JobKind.FINAL and again.id != job.id
        assert session.complete(job, heard("late"), 1.0) == [], "what was cancelled says nothing any more"
        assert kinds(session.complete(again, heard("yes"), 1.0)) == ["Final"]

    def test_without_interims_there_are_none(self) -> None:
        replay = Replay(script(numbered(20)), LiveOptions(interim=False))
        replay.run()
        assert {job.kind for job in replay.jobs} == {JobKind.SPECULATIVE}

    def test_slow_passes_make_longer_steps(self) -> None:
        fast = Replay(script(numbered(30)), LiveOptions(interim_seconds=0.5))
        slow = Replay(script(numbered(30)), LiveOptions(interim_seconds=0.5), takes=lambda job: 1.2)
        fast.run()
        slow.run()
        assert len(slow.jobs) < len(fast.jobs) / 2

    def test_the_text_before_is_shown_to_the_next_utterance(self) -> None:
        said = numbered(14)
        for carry in (True, False):
            replay = Replay(script(said, 1.0, "next one"), LiveOptions(carry_context=carry))
            replay.run()
            shown = {job.options.previous_text for job in replay.jobs if job.utterance == 2}
            assert shown == ({said} if carry else {None})

    def test_the_language_is_asked_until_it_is_known(self) -> None:
        replay = Replay(script(numbered(10), 1.0, "next"))
        assert replay.recogniser is not None
        replay.recogniser.language_probability = 0.6
        replay.run()
        asked = [job.options.language for job in replay.jobs]
        assert asked[:2] == [None, None] and asked[-1] == "en"
        assert replay.words == [*numbered(10).split(), "next"]


class TestDrafts:
    def test_the_final_is_ready_at_the_endpoint(self) -> None:
        replay = Replay(script(0.5, "hello world", tail=2.0), takes=lambda job: 0.2)
        replay.run()
        assert replay.jobs[-1].kind is JobKind.SPECULATIVE
        assert replay.jobs[-1].options.beam_size == 5
        at = {type(told.event): told.at for told in replay.told}
        assert at[Final] == at[Committed]

    def test_a_draft_that_is_late_is_waited_for(self) -> None:
        replay = Replay(script(0.5, "hello world", tail=3.0), LiveOptions(interim=False), takes=lambda job: 0.6)
        replay.run()
        assert [job.kind for job in replay.jobs] == [JobKind.SPECULATIVE]
        at = {type(told.event): told.at for told in replay.told}
        assert at[Committed] < at[Final] < at[Committed] + 0.6

    def test_a_draft_is_an_interim_when_speech_goes_on(self) -> None:
        replay = Replay(script(0.5, "hello world", 0.3, "again", tail=2.0))
        replay.run()
        assert [job.kind for job in replay.jobs].count(JobKind.SPECULATIVE) == 2
        assert [final.text for final in replay.finals] == ["hello world again"]
        assert any(interim.text == "hello world" for interim in replay.interims)

    def test_an_interim_gives_way_to_a_draft(self) -> None:
        session = LiveSession(LiveOptions())
        push(session, 1.5, 0.9)
        job = session.next_job(1.5)
        assert job is not None and job.kind is JobKind.INTERIM and not session.obsolete
        push(session, 0.2)
        assert session.obsolete
        session.drop(job)
        assert session.next_due(1.7) == (JobKind.SPECULATIVE, 1.7)

    def test_a_draft_of_another_end_is_obsolete(self) -> None:
        session = LiveSession(LiveOptions())
        push(session, 1.0, 0.9)
        push(session, 0.2)
        job = session.next_job(1.2)
        assert job is not None and job.kind is JobKind.SPECULATIVE
        push(session, 0.5, 0.9)
        assert not session.obsolete, "it still serves as an interim"
        push(session, 0.7)
        assert session.obsolete
        session.drop(job)
        final = session.next_job(2.4)
        assert final is not None and final.kind is JobKind.FINAL

    def test_a_failed_draft_is_decoded_again_at_the_end(self) -> None:
        replay = Replay(script(0.5, "hello", tail=2.0), fails=lambda job: job.kind is JobKind.SPECULATIVE)
        replay.run()
        assert [job.kind for job in replay.jobs] == [JobKind.SPECULATIVE, JobKind.FINAL]
        assert replay.words == ["hello"]


class TestSemanticTurns:
    @pytest.mark.parametrize(
        ("last", "eagerness", "silence"),
        [
            ("done.", Eagerness.LOW, 0.5),
            ("done", Eagerness.LOW, 8.0),
            ("done", Eagerness.MEDIUM, 4.0),
            ("done...", Eagerness.HIGH, 2.0),
        ],
    )
    def test_an_unfinished_sentence_is_given_time(self, last: str, eagerness: Eagerness, silence: float) -> None:
        options = LiveOptions(turns=TurnDetection.SEMANTIC, eagerness=eagerness)
        replay = Replay(script(0.5, f"I am {last}", tail=12.0), options)
        replay.run()
        (stopped,) = [event for event in replay.events if isinstance(event, SpeechStopped)]
        assert stopped.end / SAMPLE_RATE == pytest.approx(replay.script.words[-1].end + silence, abs=0.15)
        assert replay.words == f"I am {last}".split()

    def test_who_goes_on_is_not_interrupted(self) -> None:
        options = LiveOptions(turns=TurnDetection.SEMANTIC)
        replay = Replay(script("well I think", 2.0, "so.", tail=3.0), options)
        replay.run()
        assert [final.text for final in replay.finals] == ["well I think so."]


class TestLoad:
    def test_changes_are_told(self) -> None:
        session = LiveSession(LiveOptions())
        assert session.set_load(0, 1.0, 0.0) == []
        assert session.set_load(1, 2.0, 0.0) == [Degraded(level=1)]
        assert session.set_load(1, 3.0, 0.0) == []
        assert session.set_load(0, 1.0, 0.0) == [Degraded(level=0)]

    def test_longer_steps_then_no_interims(self) -> None:
        session = LiveSession(LiveOptions())
        session.set_load(1, 2.0, 0.0)
        push(session, 1.5, 0.9)
        assert session.next_job(0.0) is None
        push(session, 0.6, 0.9)
        assert session.next_due(0.0) is not None
        session.set_load(2, 2.0, 0.0)
        assert session.next_job(0.0) is None
        push(session, 0.2)
        assert session.next_job(0.0) is None, "no draft either: it is a decoding more"
        push(session, 0.5)
        job = session.next_job(0.0)
        assert job is not None and job.kind is JobKind.FINAL

    def test_a_backlog_is_told_and_heard_in_order(self) -> None:
        said = [part for n in range(12) for part in (numbered(10, f"u{n}w"), 1.0)]
        busy = Replay(script(*said), takes=lambda job: 40.0 if job.utterance == 1 else 0.5)
        busy.run()
        check_order(busy.events)
        assert busy.words == busy.script.texts
        lags = [event.seconds for event in busy.events if isinstance(event, Lag)]
        assert lags[0] >= 30 and lags[-1] == 0


class TestGuards:
    def decided(self, session: LiveSession, *answers: Heard) -> list[Final]:
        finals: list[Final] = []
        for answer in answers:
            job = session.next_job(0.0)
            assert job is not None
            finals += [event for event in session.complete(job, answer, 0.0) if isinstance(event, Final)]
        return finals

    def committed(self, options: LiveOptions = MANUAL) -> LiveSession:
        session = LiveSession(options)
        push(session, 1.0)
        push(session, 6.0, 0.9)
        push(session, 6.0)
        session.commit(13.0)
        return session

    def test_a_loop_is_decoded_once_more_without_prompt(self) -> None:
        session = self.committed()
        loop = heard(*["la"] * 12, start=0.5)
        assert self.decided(session, loop) == []
        job = session.next_job(0.0)
        assert job is not None and job.options.temperature == (0.2,)
        (final,) = [event for event in session.complete(job, heard("good", start=0.5), 0.0) if isinstance(event, Final)]
        assert final.text == "good"

    def test_what_loops_again_is_said_once(self) -> None:
        loop = heard("so", *["we", "go", "on"] * 5, "now", start=0.5, seconds=0.2)
        (final,) = self.decided(self.committed(), loop, loop)
        assert final.text == "so we go on now"

    def test_text_without_speech_is_left_out(self) -> None:
        real, made_up = heard("hello", start=0.6), heard("thanks", "everyone", start=6.9)
        (final,) = self.decided(self.committed(), replace(real, segments=real.segments + made_up.segments))
        assert final.text == "hello"

    def test_what_whisper_itself_takes_for_silence_is_left_out(self) -> None:
        (final,) = self.decided(self.committed(), heard("you", start=0.6, no_speech_prob=0.9, avg_logprob=-1.4))
        assert final.text == ""

    def test_a_known_phrase_needs_speech(self) -> None:
        session = LiveSession(MANUAL)
        push(session, 2.0)
        push(session, 0.2, 0.9)
        push(session, 2.0)
        session.commit(4.0)
        (final,) = self.decided(session, heard("Thanks", "for", "watching!", start=0.45, seconds=0.1))
        assert final.text == ""

    def test_a_short_thank_you_is_heard(self) -> None:
        session = LiveSession(MANUAL)
        push(session, 0.5, 0.9)
        session.commit(0.5)
        (final,) = self.decided(session, heard("Thank", "you.", seconds=0.2))
        assert final.text == "Thank you."

    def test_an_unsure_echo_of_the_utterance_before_is_left_out(self) -> None:
        session = LiveSession(MANUAL)
        texts = []
        for probability in (0.9, 0.4, 0.9):
            push(session, 1.0, 0.9)
            session.commit(0.0)
            texts += [final.text for final in self.decided(session, heard("Hello", "you", probability=probability))]
        assert texts == ["Hello you", "", "Hello you"]

    def test_a_loop_is_never_shown(self) -> None:
        session = LiveSession(LiveOptions())
        push(session, 3.0, 0.9)
        job = session.next_job(3.0)
        assert job is not None
        assert session.complete(job, heard(*["la"] * 12, seconds=0.2), 3.0) == []

    def test_less_text_than_before_is_not_believed_at_once(self) -> None:
        """An interim that is only shorter would make the text jump."""
        session = LiveSession(LiveOptions())
        shown = []
        for words in (("a", "b", "c"), ("a", "b"), ("a", "b")):
            push(session, 1.1, 0.9)
            job = session.next_job(0.0)
            assert job is not None
            events = session.complete(job, heard(*words, probability=0.1), 0.0)
            shown.append([event.text for event in events if isinstance(event, Interim)])
        assert shown == [["a b c"], [], ["a b"]]


class TestStreaming:
    def test_jobs_carry_only_what_is_new(self) -> None:
        replay = Replay(script(numbered(20), 1.0, numbered(5, "next")), streaming=True)
        replay.run()
        check_order(replay.events)
        assert replay.words == replay.script.texts
        assert [job.first for job in replay.jobs if job.utterance == 1] == [True] + [False] * (
            len([job for job in replay.jobs if job.utterance == 1]) - 1
        )
        assert {job.kind for job in replay.jobs} == {JobKind.INTERIM, JobKind.FINAL}
        assert len(replay.interims) > 5

    def test_what_the_end_may_change_is_shown_and_never_stable(self) -> None:
        said = script(numbered(20))

        class Wavering(Recogniser):
            def hear(self, job: Job, *, streaming: bool = False) -> Heard:
                heard = Recogniser.hear(self, job, streaming=streaming)
                return replace(heard, provisional=job.kind is not JobKind.FINAL)

        replay = Replay(said, recogniser=Wavering(said, probability=1.0), streaming=True)
        replay.run()
        assert len(replay.interims) > 5 and replay.interims[-1].tail.split() == said.texts
        assert {interim.stable for interim in replay.interims} == {""}
        assert [(final.stable, final.text) for final in replay.finals] == [("", numbered(20))]

    def test_after_a_failure_the_utterance_is_given_anew(self) -> None:
        failed: list[int] = []

        def fails(job: Job) -> bool:
            failed.append(1)
            return len(failed) == 3

        replay = Replay(script(numbered(20)), streaming=True, fails=fails)
        replay.run()
        assert [job.first for job in replay.jobs[:5]] == [True, False, False, True, False]
        assert replay.words == numbered(20).split()


class TestConfigure:
    def test_from_voice_to_manual_and_back(self) -> None:
        session = LiveSession(LiveOptions())
        push(session, 1.0, 0.9)
        session.configure(MANUAL)
        assert push(session, 5.0) == []
        assert kinds(session.commit(6.0)) == ["Committed"]
        push(session, 1.0, 0.9)
        session.configure(LiveOptions())
        assert kinds(push(session, 1.0)) == ["SpeechStarted", "SpeechStopped", "Committed"]
        assert kinds(session.commit(8.0)) == ["CommitRefused"]
        assert session.end(8.0) == []

    def test_silence_of_a_manual_turn_is_no_speech(self) -> None:
        session = LiveSession(MANUAL)
        push(session, 3.0)
        session.configure(LiveOptions())
        assert kinds(push(session, 1.0, 0.9)) == ["SpeechStarted"]

    def test_what_is_open_keeps_its_options(self) -> None:
        session = LiveSession(LiveOptions(decode=DecodeOptions(language="en")))
        push(session, 2.0, 0.9)
        session.configure(LiveOptions(decode=DecodeOptions(language="de")))
        job = session.next_job(0.0)
        assert job is not None and job.options.language == "en"
        session.complete(job, heard("one"), 0.0)
        push(session, 1.0)
        last = session.next_job(0.0)
        assert last is not None and last.options.language == "en"
        session.complete(last, heard("one"), 0.0)
        push(session, 2.0, 0.9)
        first = session.next_job(0.0)
        assert first is not None and first.options.language == "de"


def test_after_the_end_nothing_is_taken() -> None:
    session = LiveSession(LiveOptions())
    assert session.end(0.0) == [] and session.done
    push(session, 1.0, 0.9)
    assert session.position == 0
    assert session.commit(0.0) == [CommitRefused(samples=0)]
    assert session.end(0.0) == []


def test_probabilities_may_be_an_array() -> None:
    session = LiveSession(LiveOptions())
    session.push_audio(positions(0, 4 * FRAME_SAMPLES))
    assert kinds(session.push_speech(np.full(4, 0.9, np.float32), 0.1)) == ["SpeechStarted"]


def test_lag_is_what_was_not_heard() -> None:
    session = LiveSession(LiveOptions())
    session.push_audio(positions(0, 3 * SAMPLE_RATE))
    assert session.lag_seconds == pytest.approx(3.0)
    session.push_speech([0.9] * 93, 3.0)
    assert session.lag_seconds == pytest.approx(3.0)
    job = session.next_job(3.0)
    assert job is not None
    session.complete(job, Recogniser(Script((), 3.0)).hear(job), 3.0)
    assert session.lag_seconds < 0.05
