"""A corrected segment keeps the times of the words that stayed."""

from hypothesis import given
from hypothesis import strategies as st

from kikitori.text.correcting import corrected, same_text
from kikitori.types import Segment, Word


def heard(*words: str, start: float = 0.0) -> Segment:
    """One second for each word."""
    timed = tuple(
        Word(word=word, start=start + at, end=start + at + 1, probability=0.5) for at, word in enumerate(words)
    )
    end = start + len(words)
    return Segment(id=3, start=start, end=end, text="".join(words), words=timed, tokens=(1, 2), avg_logprob=-0.3)


def times(segment: Segment) -> list[tuple[str, float, float]]:
    assert segment.words is not None
    return [(word.word, word.start, word.end) for word in segment.words]


def test_a_word_is_replaced_and_the_others_keep_their_times() -> None:
    fixed = corrected(heard(" The", " birch", " can", " you", " slid."), "The birch canoe  slid.")
    assert fixed.text == " The birch canoe slid."
    assert times(fixed) == [(" The", 0, 1), (" birch", 1, 2), (" canoe", 2, 4), (" slid.", 4, 5)]
    assert fixed.words is not None
    assert [word.probability for word in fixed.words] == [0.5, 0.5, 1.0, 0.5]
    assert (fixed.id, fixed.tokens, fixed.avg_logprob) == (3, (), -0.3)


def test_a_longer_word_is_a_new_word() -> None:
    assert times(corrected(heard(" two", " cat"), "two cats")) == [(" two", 0, 1), (" cats", 1, 2)]


def test_words_share_the_time_of_those_they_replace() -> None:
    assert times(corrected(heard(" I", " xx", " go"), "I ab cd go")) == [
        (" I", 0, 1),
        (" ab", 1, 1.5),
        (" cd", 1.5, 2),
        (" go", 2, 3),
    ]


def test_two_places_may_be_corrected_at_once() -> None:
    fixed = corrected(heard(" a1", " middle", " stays", " z9"), "b middle stays c")
    assert times(fixed)[1:3] == [(" middle", 1, 2), (" stays", 2, 3)]


def test_japanese_words_stay_whole() -> None:
    fixed = corrected(heard("会議", "は", "木曜日", "です。"), "会議は金曜日です。")
    assert fixed.text == "会議は金曜日です。"
    assert times(fixed) == [
        ("会議", 0, 1),
        ("は", 1, 2),
        ("金", 2, 2 + 1 / 3),
        ("曜", 2 + 1 / 3, 2 + 2 / 3),
        ("日", 2 + 2 / 3, 3),
        ("です。", 3, 4),
    ]


def test_a_line_may_be_emptied_and_filled_again() -> None:
    empty = corrected(heard(" Thanks", " for watching."), "  ")
    assert (empty.text, empty.words) == ("", ())
    assert corrected(empty, "Bye.").text == " Bye."
    assert corrected(empty, "では。").text == "では。"


def test_what_changes_nothing_is_the_segment_itself() -> None:
    segment = heard(" one", " two")
    assert corrected(segment, "one  two ") is segment


def test_a_segment_without_word_times_stays_without() -> None:
    plain = Segment(id=0, start=0, end=1, text="はい")
    assert corrected(plain, "いいえ") == Segment(id=0, start=0, end=1, text="いいえ")


def test_spaces_do_not_make_a_text_another() -> None:
    assert same_text(" one two", "one  two ") and not same_text("onetwo", "one two")


TEXTS = st.lists(st.text(alphabet="ab会議. ", min_size=1, max_size=6), max_size=8)


@given(TEXTS, TEXTS)
def test_words_make_up_the_text_and_their_times_rise(old: list[str], new: list[str]) -> None:
    fixed = corrected(heard(*old, start=5.0), " ".join(new))
    if fixed.text == "".join(old):
        return
    assert fixed.words is not None
    assert "".join(word.word for word in fixed.words) == fixed.text
    ends = [5.0, *(word.end for word in fixed.words)]
    pairs = zip(ends, fixed.words, strict=False)
    assert all(before <= word.start + 1e-9 and word.start <= word.end for before, word in pairs)


def test_long_texts_are_compared_in_bounded_time() -> None:
    segment = heard(*(f" {number}" for number in range(4_000)))
    fixed = corrected(segment, f"x {segment.text[::-1]} y")
    assert fixed.words is not None and len(fixed.words) > 4_000
