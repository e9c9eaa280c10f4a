"""What engines make up."""

from __future__ import annotations

import pytest
from tests.unit.live.test_agreement import said

from kikitori.live.guards import Ground, is_known_phrase, is_loop, plausible, unlooped
from kikitori.live.speech import Speech
from kikitori.live.words import Unit
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Segment, Word

S = SAMPLE_RATE


def ground(*spans: tuple[float, float], judged: float = 30.0, end: float = 30.0) -> Ground:
    """Speech in seconds."""
    return Ground(
        speech=Speech([(int(first * S), int(last * S)) for first, last in spans]),
        judged=int(judged * S),
        end=int(end * S),
    )


def segment(text: str, start: float, seconds: float = 0.4, *, p: float = 0.9, **more: float) -> Segment:
    words = tuple(
        Word(word=f" {word}", start=start + n * seconds, end=start + (n + 1) * seconds, probability=p)
        for n, word in enumerate(text.split())
    )
    end = words[-1].end if words else start
    return Segment(id=0, start=start, end=end, text=f" {text}", words=words, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "la " * 8,
        "well then " + "thank you " * 5 + "bye now",
        "I do not know what I do not know what I do not know what",
        "so it is and now so it is but then so it is for us so it is",
        "ハ" * 16,
        "ありがとう" * 5,
    ],
)
def test_loops(text: str) -> None:
    assert is_loop(said_or_chars(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no no no no no",
        "very very very good indeed it was very very good",
        "row row row your boat gently down the stream merrily merrily merrily merrily life is but a dream",
        "one two three four five six seven eight nine ten eleven twelve",
        "ははは、それはいいね、ははは",
    ],
)
def test_people_repeat_themselves_too(text: str) -> None:
    assert not is_loop(said_or_chars(text))


def said_or_chars(text: str) -> list[Unit]:
    return said(text if " " in text else " ".join(text.replace("、", "")))


def test_a_loop_is_said_once() -> None:
    segments = [segment("so we go on we go on we go", 0.0), segment("on we go on and so on", 4.0)]
    cut = unlooped(segments)
    assert "".join(each.text for each in cut) == " so we go on and so on"
    assert cut[1].words is not None and cut[1].words[0].word == " and"


def test_without_a_loop_nothing_is_cut() -> None:
    segments = [segment("no no that is that", 0.0)]
    assert unlooped(segments) == segments


class TestPlausible:
    OPTIONS = DecodeOptions()

    def kept(self, each: Segment, on: Ground, options: DecodeOptions | None = None) -> bool:
        return bool(plausible([each], on, options or self.OPTIONS))

    def test_text_over_speech_is_kept(self) -> None:
        assert self.kept(segment("hello there", 1.0), ground((1.0, 1.8)))

    def test_text_over_silence_is_not(self) -> None:
        assert not self.kept(segment("hello there", 5.0), ground((1.0, 1.8)))

    def test_what_was_not_judged_may_be_speech(self) -> None:
        assert self.kept(segment("hello there", 5.0), ground((1.0, 1.8), judged=4.0))

    def test_doubtful_text_needs_more_speech(self) -> None:
        half = ground((1.0, 1.8))
        assert self.kept(segment("a b c d e f", 1.0), half)
        assert not self.kept(segment("a b c d e f", 1.0, p=0.1), half)
        assert not self.kept(segment(" ".join("abcdefghijklmnop"), 1.2, 0.14), ground((1.0, 1.7)))
        assert self.kept(segment("a b c d e f", 1.0, p=0.1), ground((1.0, 3.0)))

    def test_unsure_text_that_the_engine_takes_for_silence_is_left_out(self) -> None:
        on = ground((0.0, 9.0))
        assert not self.kept(segment("you", 1.0, no_speech_prob=0.7, avg_logprob=-1.2), on)
        assert self.kept(segment("you", 1.0, no_speech_prob=0.7, avg_logprob=-0.5), on)
        assert self.kept(segment("you", 1.0, no_speech_prob=0.5, avg_logprob=-1.2), on)

    def test_thresholds_are_those_of_the_session(self) -> None:
        unsure = segment("you", 1.0, no_speech_prob=0.7, avg_logprob=-1.2)
        assert self.kept(unsure, ground((0.0, 9.0)), DecodeOptions(no_speech_threshold=None))


class TestKnownPhrases:
    def test_over_hardly_any_speech_they_are_made_up(self) -> None:
        phrase = [segment("ご視聴ありがとうございました。", 0.0)]
        assert is_known_phrase(phrase, "ja", ground((0.0, 0.5)))
        assert not is_known_phrase(phrase, "ja", ground((0.0, 2.0)))
        assert not is_known_phrase(phrase, "en", ground((0.0, 0.5)))

    def test_what_people_say_is_left_out_only_over_silence(self) -> None:
        assert not is_known_phrase([segment("Thank you.", 0.0)], "en", ground((0.0, 0.5)))
        assert is_known_phrase([segment("Thank you.", 0.0, no_speech_prob=0.5)], "en", ground((0.0, 0.5)))

    def test_audio_that_was_not_judged_counts_as_speech(self) -> None:
        assert not is_known_phrase([segment("Thanks for watching", 0.0)], "en", ground((0.0, 0.5), judged=29.0))
