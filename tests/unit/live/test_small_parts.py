"""Steps, language, context, trimming, and the options of a pass."""

from __future__ import annotations

import pytest
from tests.unit.live.test_agreement import said

from kikitori.live.context import KEPT_CHARACTERS, Context
from kikitori.live.decoding import final_options, interim_options
from kikitori.live.language import LanguageVote
from kikitori.live.options import LiveOptions
from kikitori.live.steps import Steps
from kikitori.live.trimming import cut_after, window_end
from kikitori.live.words import Unit
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Segment

AUTO = DecodeOptions()
MULTI = DecodeOptions(multilingual=True)


class TestSteps:
    def test_a_fast_machine_does_as_wished(self) -> None:
        steps = Steps()
        steps.learn(0.0, 0.1)
        assert steps.seconds(0.5) == 0.5

    def test_a_slow_machine_takes_longer_steps_up_to_a_limit(self) -> None:
        steps = Steps()
        steps.learn(0.5, 1.1)
        assert steps.seconds(0.5) == pytest.approx(2.0)
        steps.learn(60.0, 60.0)
        assert steps.seconds(0.5) == 4.0
        assert steps.seconds(6.0) == 6.0

    def test_one_slow_pass_is_forgotten(self) -> None:
        steps = Steps()
        for took in [0.1] * 5 + [3.0] + [0.1] * 12:
            steps.learn(0.0, took)
        assert steps.seconds(0.5) == 0.5

    def test_load_stretches(self) -> None:
        assert Steps().seconds(1.0, 2.5) == 2.5


class TestLanguage:
    def test_what_was_given_is_not_asked(self) -> None:
        vote = LanguageVote()
        vote.hear("de", 1.0, 5.0)
        assert vote.language(DecodeOptions(language="ja")) == "ja"

    def test_one_sure_pass_decides(self) -> None:
        vote = LanguageVote()
        assert vote.language(AUTO) is None
        vote.hear("de", 0.7, 1.0)
        assert vote.language(AUTO) == "de"
        vote.hear("en", 1.0, 9.0)
        assert vote.language(AUTO) == "de"

    def test_or_two_likely_ones_of_one_opinion(self) -> None:
        vote = LanguageVote()
        for language in ("de", "en", "de"):
            vote.hear(language, 0.6, 2.0)
        assert vote.language(AUTO) is None
        vote.hear("de", 0.5, 2.0)
        assert vote.language(AUTO) == "de"

    def test_too_little_audio_and_strange_languages_have_no_vote(self) -> None:
        vote = LanguageVote(frozenset({"en", "de"}))
        vote.hear("en", 0.99, 0.9)
        vote.hear("cy", 0.99, 9.0)
        vote.hear("", 0.99, 9.0)
        assert vote.language(AUTO) is None

    def test_an_engine_with_one_language_needs_no_vote(self) -> None:
        vote = LanguageVote(frozenset({"en"}))
        assert vote.language(AUTO) == "en"
        vote.begin(MULTI)
        assert vote.language(MULTI) == "en"

    def test_multilingual_sessions_vote_for_each_utterance_and_switch_when_sure(self) -> None:
        vote = LanguageVote()
        vote.begin(MULTI)
        vote.hear("en", 0.9, 2.0)
        assert vote.language(MULTI) == "en"
        vote.begin(MULTI)
        assert vote.language(MULTI) is None
        vote.hear("fr", 0.9, 1.0)
        assert vote.language(MULTI) is None
        vote.hear("fr", 0.9, 1.5)
        assert vote.language(MULTI) == "fr"

    def test_a_new_model_votes_anew(self) -> None:
        vote = LanguageVote()
        vote.hear("de", 1.0, 2.0)
        vote.forget()
        assert vote.language(AUTO) is None


class TestContext:
    def test_only_the_end_is_kept(self) -> None:
        context = Context()
        for number in range(1_000):
            context.add(f"word{number}", "en", float(number))
        assert context.before(999.0, "en").endswith("word998 word999")
        assert len(context.before(999.0, "en")) <= KEPT_CHARACTERS

    def test_a_long_gap_or_another_language_forgets(self) -> None:
        context = Context()
        context.add("hello there", "en", 10.0)
        assert context.before(14.0, "en") == context.before(14.0, None) == "hello there"
        assert context.before(15.1, "en") == ""
        assert context.before(11.0, "de") == ""
        context.add("guten Tag", "de", 12.0)
        assert context.before(12.0, "de") == "guten Tag"
        context.drop()
        assert context.before(12.0, "de") == ""


class TestTrimming:
    def test_whole_segments_go_first(self) -> None:
        words = said("a b. c d e")
        segments = [Segment(id=0, start=0.0, end=0.4, text=" a"), Segment(id=1, start=0.4, end=9.0, text=" b. c d e f")]
        assert cut_after(words, segments, 0.0, 12.0) == pytest.approx(0.4)

    def test_then_sentences(self) -> None:
        assert cut_after(said("a b. c d e"), (), 0.0, 12.0) == pytest.approx(0.8)

    def test_then_the_longest_pause(self) -> None:
        words = [*said("a b c"), *said("d e", start=2.0)]
        assert cut_after(words, (), 0.0, 12.5) == pytest.approx(1.2)

    def test_a_cut_that_leaves_too_much_is_none(self) -> None:
        assert cut_after(said("a b. c d e"), (), 0.0, 13.9) == pytest.approx(2.0)

    def test_what_lies_before_the_window_does_not_count(self) -> None:
        words: list[Unit] = said("a b. c")
        assert cut_after(words, (), 1.25, 13.0) is None
        assert cut_after(words, (), 0.9, 13.0) == pytest.approx(1.2)

    def test_no_window_is_longer_than_an_engine_hears_at_once(self) -> None:
        assert window_end(0, 10 * SAMPLE_RATE) == 10 * SAMPLE_RATE
        assert window_end(SAMPLE_RATE, 90 * SAMPLE_RATE) == 29 * SAMPLE_RATE


class TestOptionsOfAPass:
    SESSION = LiveOptions(
        decode=DecodeOptions(beam_size=8, patience=2.0, vad_filter=True, hotwords="Kikitori", clip_timestamps=(1.0,))
    )

    def test_interims_are_greedy_with_times_of_words(self) -> None:
        options = interim_options(self.SESSION, language="en", before="")
        assert (options.beam_size, options.temperature, options.word_timestamps) == (1, (0.0,), True)
        assert options.condition_on_previous_text is False
        assert options.hotwords == "Kikitori" and options.language == "en"
        assert options.clip_timestamps == () and not options.vad_filter

    def test_finals_are_as_the_session_says(self) -> None:
        options = final_options(self.SESSION, language=None, before="")
        assert (options.beam_size, options.patience, options.vad_filter) == (8, 2.0, True)
        assert options.word_timestamps

    def test_after_a_loop_there_is_no_prompt(self) -> None:
        options = final_options(LiveOptions(), language=None, before="x" * 80, after_loop=True)
        assert options.previous_text is None and options.temperature == (0.2,)

    def test_the_text_before_stands_beside_the_sessions_own_prompt(self) -> None:
        session = LiveOptions(decode=DecodeOptions(initial_prompt="Names: Bo."))
        for make in (interim_options, final_options):
            options = make(session, language="en", before="x" * 4_500)
            assert options.initial_prompt == "Names: Bo."
            assert options.previous_text == "x" * KEPT_CHARACTERS
            assert make(session, language="en", before="").previous_text is None
