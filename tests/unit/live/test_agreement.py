"""When words become stable."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kikitori.live.agreement import LEADS, StableText, after_anchor, common_start, stable_count
from kikitori.live.options import Agreement
from kikitori.live.words import Unit, norm

NO_LEAD = LEADS[Agreement.STRICT]


def said(text: str, start: float = 0.0, *, seconds: float = 0.4, shift: float = 0.0, p: float = 0.5) -> list[Unit]:
    """One word after the other."""
    return [
        Unit(
            text=f" {word}",
            norm=norm(word),
            start=start + n * seconds + shift,
            end=start + (n + 1) * seconds + shift,
            probability=p,
        )
        for n, word in enumerate(text.split())
    ]


class TestAnchor:
    @pytest.mark.parametrize("shift", [-0.2, -0.05, 0.0, 0.05, 0.2])
    def test_stable_words_are_found_although_their_times_moved(self, shift: float) -> None:
        words = said("one two three four five six", shift=shift)
        assert after_anchor(words, said("one two three")) == (3, True)

    def test_marks_and_case_do_not_hide_them(self) -> None:
        assert after_anchor(said("One, two. Three four"), said("one two three")) == (3, True)

    def test_of_equal_words_those_nearest_in_time_are_meant(self) -> None:
        assert after_anchor(said("no no no no", shift=0.05), said("no no")) == (2, True)

    def test_of_words_said_again_none_is_lost(self) -> None:
        """The window begins with the last stable word, and what follows it is the same."""
        assert after_anchor(said("no no yes", start=0.4), said("no no")) == (1, True)

    def test_words_before_the_window_are_not_missed(self) -> None:
        """A trimmed window begins in the middle of the stable words."""
        assert after_anchor(said("three four", start=0.8), said("one two three")) == (1, True)

    def test_a_word_that_moved_is_not_said_twice(self) -> None:
        assert after_anchor(said("three four", start=1.4), said("one two three")) == (1, True)

    def test_the_same_word_after_a_cut_is_another_one(self) -> None:
        """The window begins after the stable word: it cannot have moved."""
        assert after_anchor(said("three four", start=1.5), said("one two three"), 1.2) == (0, False)

    def test_without_an_anchor_time_decides(self) -> None:
        assert after_anchor(said("four five", start=1.2), said("one two three")) == (0, False)
        assert after_anchor(said("uno due tre four"), said("one two three")) == (3, False)


class TestCount:
    def test_two_passes_agree_to_the_first_difference(self) -> None:
        new, before = said("a b c d"), said("a b x d")
        assert common_start(before, new) == 2
        assert stable_count(new, before, 9.0 - 6.0, NO_LEAD) == 2

    def test_a_word_at_the_edge_may_be_cut_off(self) -> None:
        words = said("a b c")
        assert stable_count(words, words, words[-1].end + 0.2, NO_LEAD) == 2
        assert stable_count(words, words, words[-1].end + 0.3, NO_LEAD) == 3

    def test_a_sure_word_leads_when_it_is_old_enough(self) -> None:
        lead = LEADS[Agreement.BALANCED]
        words = said("a b c d", p=0.95)
        assert stable_count(words, None, 2.0, lead) == 2
        assert stable_count(words, None, 2.0, lead, trusted=False) == 0
        assert stable_count(words, None, 2.0, NO_LEAD) == 0
        assert stable_count(said("a b c d", p=0.89), None, 2.0, lead) == 0
        assert stable_count(words, None, 2.1, LEADS[Agreement.FAST]) == 3

    def test_an_old_word_does_not_hold_up_the_others(self) -> None:
        """One that differs in each pass would block all words after it."""
        new, before = said("a b c d e f g h i"), said("x b c d e f g h i")
        assert stable_count(new, before, 3.6, NO_LEAD) == 1
        assert stable_count(new, before, 3.3, NO_LEAD) == 0

    def test_the_last_word_leads_never(self) -> None:
        assert stable_count(said("a b", p=1.0), None, 60.0, LEADS[Agreement.FAST]) == 1


class TestStableText:
    def test_a_pass_does_not_agree_with_itself(self) -> None:
        text = StableText(Agreement.STRICT)
        for _ in range(5):
            text.hear(said("a b c"), 2.0)
        assert text.stable == ""
        text.hear(said("a b c"), 2.3)
        assert text.stable == "", "0.3 s more audio is no evidence"
        text.hear(said("a b c"), 2.4)
        assert text.stable == " a b c"

    def test_frequent_passes_wait_for_more_audio(self) -> None:
        """Passes every 0.1 s agree with each other on words that are wrong."""
        text = StableText(Agreement.STRICT)
        for n in range(4):
            text.hear(said("wrong"), 1.0 + n / 10)
        assert text.stable == ""
        text.hear(said("right"), 1.5)
        text.hear(said("right"), 1.95)
        assert text.stable == " right"

    def test_three_passes_must_agree_where_two_are_not_enough(self) -> None:
        text = StableText(Agreement.STEADY)
        text.hear(said("a b c"), 2.0)
        text.hear(said("a b d"), 3.0)
        assert text.stable == ""
        text.hear(said("a b d"), 3.2)
        assert text.stable == "", "the third one heard too little more"
        text.hear(said("a b d"), 4.0)
        assert text.stable == " a b"
        text.hear(said("a b d"), 8.0)
        assert text.stable == " a b d"

    def test_passes_far_apart_agree_too(self) -> None:
        """As many are remembered as are needed, however long ago they were."""
        text = StableText(Agreement.STEADY)
        text.hear(said("a b"), 4.0)
        text.hear(said("a b"), 8.0)
        assert text.stable == " a", "which is old; the last word needs agreement"
        text.hear(said("a b"), 12.0)
        assert text.stable == " a b"

    def test_stable_words_follow_each_other_in_time(self) -> None:
        """Also where a window begins anew, times jump, and words are said again."""
        rng = random.Random(3)
        words = said(" ".join(rng.choice(["no", "yes", "well"]) for _ in range(120)))
        for agreement in Agreement:
            text, window = StableText(agreement), 0.0
            for end in range(1, 48):
                heard = [
                    replace(unit, start=unit.start + shift, end=unit.end + shift)
                    for unit in words
                    if window <= unit.middle <= end
                    for shift in [rng.uniform(-0.05, 0.05)]
                ]
                text.hear(heard, float(end), start=window)
                if end - window > 12 and text.committed:
                    window = text.committed[-1].end
            assert len(text.committed) > 100
            for before, after in pairwise(text.committed):
                assert after.middle > before.middle + 0.2

    def test_the_newest_writing_is_shown(self) -> None:
        text = StableText(Agreement.STRICT)
        text.hear(said("hello world again"), 1.5)
        text.hear(said("Hello world Again so"), 2.5)
        assert text.stable == " Hello world Again so"[: len(" Hello world Again")]

    def test_marks_wait_for_the_next_word(self) -> None:
        text = StableText(Agreement.STRICT)
        text.hear(said("it is."), 1.5)
        text.hear(said("it is."), 2.0)
        assert (text.stable, text.tail) == (" it is", ".")
        text.hear(said("it is, now"), 2.2)
        assert (text.stable, text.tail) == (" it is", ", now")
        text.hear(said("it is, now yes"), 3.0)
        assert (text.stable, text.tail) == (" it is, now", " yes")

    def test_what_was_missing_in_one_pass_is_not_repeated(self) -> None:
        text = StableText(Agreement.STRICT)
        for end in (2.0, 3.0):
            text.hear(said("one two three"), end)
        text.hear([], 3.5)
        text.hear(said("one two three four"), 4.0)
        assert (text.stable, text.tail) == (" one two three", " four")

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.lists(st.sampled_from(["a", "b", "c", "a.", "B,"]), max_size=12),
                st.floats(0, 2),
                st.floats(-0.1, 0.1),
                st.floats(0, 1),
            ),
            max_size=12,
        ),
        st.sampled_from(list(Agreement)),
    )
    def test_stable_text_is_never_taken_back(
        self, passes: Sequence[tuple[list[str], float, float, float]], agreement: Agreement
    ) -> None:
        text, end, before = StableText(agreement), 0.0, ""
        for words, more, shift, p in passes:
            end += more
            text.hear([unit for unit in said(" ".join(words), shift=shift, p=p) if unit.end <= end], end)
            assert text.stable.startswith(before)
            before = text.stable
