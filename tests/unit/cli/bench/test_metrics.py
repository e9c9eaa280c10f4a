"""Known answers: sessions written by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from kikitori.cli.bench.journal import Journal, Seen, read_journals, seen, write_journals
from kikitori.cli.bench.metrics import percentile, score, summarize
from kikitori.cli.bench.truth import TrueWord
from kikitori.errors import InvalidInput

FRAME = 0.1
PUNCTUAL = tuple(number * FRAME for number in range(600))
"""A minute of frames, each sent when it was due: the last sample before 2.0 s at 1.9 s."""
TRUTH = (
    TrueWord(word="The", start=1.0, end=1.2),
    TrueWord(word="doctor", start=1.2, end=1.8),
    TrueWord(word="goes.", start=1.8, end=2.0),
)


def interim(at: float, text: str, *, stable: str = "", end: float = 1.5, utterance: int = 1) -> Seen:
    return Seen(at=at, kind="interim", utterance=utterance, text=text, stable=stable, start=0.6, end=end)


def final(
    at: float, text: str, *, utterance: int = 1, end: float = 2.5, reason: str = "pause", start: float = 0.6
) -> Seen:
    return Seen(at=at, kind="final", utterance=utterance, text=text, start=start, end=end, reason=reason)


def journal(*messages: Seen, truth: tuple[TrueWord, ...] = TRUTH, **facts: object) -> Journal:
    plain = Journal(
        sessions=1, client=0, language="en", endpoint_seconds=0.5, frame_seconds=FRAME, sent=PUNCTUAL, truth=truth,
        seen=messages, ended=True,
    )  # fmt: skip
    return replace(plain, **facts)  # type: ignore[arg-type]


def near(*values: float) -> object:
    return pytest.approx(values, abs=0.001)


def test_a_final_is_as_late_as_it_comes_after_the_last_word_was_sent() -> None:
    found = score(journal(final(2.8, "The doctor goes.")))
    assert found.final == near(0.9)
    assert found.after_endpoint == near(0.4)


def test_frames_that_the_client_sent_late_are_not_the_servers_fault() -> None:
    late = tuple(at + 0.5 for at in PUNCTUAL)
    found = score(journal(final(2.8, "The doctor goes."), sent=late))
    assert found.final == near(0.4)
    assert found.slip == pytest.approx(0.5)


def test_an_utterance_that_was_cut_for_its_length_has_no_end_of_speech() -> None:
    found = score(journal(final(2.8, "The doctor goes.", reason="longest")))
    assert found.final == ()


def test_the_end_of_the_session_needs_no_endpoint() -> None:
    found = score(journal(final(2.2, "The doctor goes.", reason="end")))
    assert found.final == near(0.3)
    assert found.after_endpoint == ()


def test_the_first_word_counts_when_it_is_right() -> None:
    found = score(
        journal(
            interim(1.5, "duh"), interim(1.7, "the doc"), interim(2.2, "the doctor", stable="the"),
            final(2.8, "The doctor goes."),
        )
    )  # fmt: skip
    assert found.first_interim == near(0.6)
    assert found.first_stable == near(1.1)


def test_a_first_word_that_was_never_right_counts_nowhere() -> None:
    found = score(journal(interim(1.5, "duh"), final(2.8, "A doctor goes.")))
    assert found.first_interim == ()


def test_a_word_is_shown_since_it_stands_unchanged() -> None:
    found = score(
        journal(
            interim(1.9, "the doctor"), interim(2.1, "the dog"), interim(2.3, "the doctor go", stable="the"),
            final(2.8, "The doctor goes."),
        )
    )  # fmt: skip
    assert found.word_shown == near(1.9 - 1.1, 2.3 - 1.7, 2.8 - 1.9)
    assert found.word_stable == near(2.3 - 1.1, 2.8 - 1.7, 2.8 - 1.9)


def test_words_taken_back_are_erased() -> None:
    found = score(
        journal(
            interim(1.5, "the dog"), interim(1.8, "the dog goes"), interim(2.1, "the doctor"),
            final(2.8, "The doctor goes."),
        )
    )  # fmt: skip
    assert found.erased_words == 2
    assert summarize([found], 1).erasure == pytest.approx(2 / 3)


def test_stable_words_that_the_final_changed_are_counted() -> None:
    found = score(journal(interim(1.5, "the dog", stable="the dog"), final(2.8, "The doctor goes.")))
    assert (found.stable_words, found.changed_stable_words) == (2, 1)
    assert summarize([found], 1).false_stable == 0.5


def test_finals_that_were_said_again_are_counted_when_they_differ() -> None:
    again = final(2.9, "The doctor goes.")
    assert score(journal(final(2.8, "The doctor goes."), again)).changed_finals == 0
    assert score(journal(final(2.8, "The dog goes."), again)).changed_finals == 1


def test_words_of_all_finals_make_the_error_rate() -> None:
    found = score(journal(final(2.8, "The dog goes.")))
    assert found.errors.rate == pytest.approx(1 / 3)
    assert found.lost_tail_words == 0
    lost = score(journal(final(2.8, "The doctor")))
    assert lost.errors.deletions == 1
    assert lost.lost_tail_words == 1


def test_an_utterance_without_a_final_is_lost() -> None:
    found = score(journal(interim(1.5, "the doctor goes")))
    assert found.errors.deletions == 3
    assert found.final == ()


def test_finals_are_read_in_the_order_of_speech() -> None:
    later = (TrueWord(word="Hello", start=5.0, end=5.5),)
    found = score(
        journal(
            final(2.8, "The doctor goes."), final(6.3, "Hello.", utterance=2, start=4.7, end=6.0), truth=TRUTH + later
        )
    )
    assert found.errors.rate == 0
    assert found.final == near(0.9, 0.9)


def test_a_growing_lag_has_a_slope() -> None:
    steady = [interim(at, "x", end=at - 1.0) for at in range(5, 50)]
    growing = [interim(at, "x", end=at - 1.0 - 0.1 * at) for at in range(5, 50)]
    assert score(journal(*steady)).lag_slope == pytest.approx(0.0, abs=0.005)
    assert score(journal(*growing)).lag_slope == pytest.approx(0.1, abs=0.005)
    assert score(journal(*growing[:8])).lag_slope == 0.0, "too short to say"


def test_the_lag_of_finals_alone_counts_too() -> None:
    growing = [final(2.0 * at, "x", utterance=at, end=1.5 * at, start=1.5 * at - 1) for at in range(1, 20)]
    assert score(journal(*growing)).lag_slope == pytest.approx(0.25, abs=0.01)


def test_what_the_server_says_of_itself_is_kept() -> None:
    found = score(journal(Seen(at=1.0, kind="lag", value=12.0), Seen(at=2.0, kind="degraded", value=2.0)))
    assert (found.most_lag, found.degraded) == (12.0, 2)


@pytest.mark.parametrize(
    "broken",
    [
        journal(final(2.8, "The doctor goes."), ended=False),
        journal(final(2.8, "The doctor goes."), problem="ConnectionClosed"),
        journal(final(2.8, "The doctor goes."), Seen(at=3.0, kind="error", text="It failed.")),
    ],
)
def test_a_session_that_broke_is_no_session_held(broken: Journal) -> None:
    found = summarize([score(broken)], 1)
    assert found.problems == 1
    assert not found.held


def test_a_level_holds_when_finals_are_on_time() -> None:
    on_time, late = journal(final(3.3, "The doctor goes.")), journal(final(3.7, "The doctor goes."))
    assert summarize([score(on_time)], 1).held
    assert not summarize([score(late)], 1).held
    assert not summarize([score(on_time)], 2).held, "one session is missing"
    assert not summarize([score(journal())], 1).held, "nothing was heard"


def test_sessions_are_compared_with_each_other() -> None:
    quick, slow = score(journal(final(2.5, "The doctor goes."))), score(journal(final(3.5, "The doctor goes.")))
    assert summarize([quick, quick], 2).unfairness == 0
    assert summarize([quick, slow], 2).unfairness == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("values", "percent", "expected"), [([3.0, 1.0, 2.0], 50, 2.0), ([1.0, 2.0], 95, 2.0), ([5.0], 1, 5.0)]
)
def test_percentiles(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected
    assert math.isnan(percentile([], percent))


# The log


def test_a_log_is_measured_as_the_run_was() -> None:
    run = [journal(interim(1.5, "the dog", stable="the"), final(2.8, "The doctor goes. 医者"))]
    assert list(read_journals(write_journals(run).splitlines())) == run


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"truth": 7}'])
def test_what_is_no_log_is_refused(line: str) -> None:
    with pytest.raises(InvalidInput, match="Line 1"):
        list(read_journals([line]))


def test_messages_are_noted_as_they_come() -> None:
    message = {
        "type": "final", "utterance": 3, "text": "x", "start": 1.0, "end": 2.0, "reason": "pause", "words": [],
    }  # fmt: skip
    assert seen(message, 4.5) == final(4.5, "x", utterance=3, start=1.0, end=2.0)
    assert seen({"type": "lag", "seconds": 7.0}, 1.0).value == 7.0
    assert seen({"type": "error", "message": "No.", "code": "conflict"}, 1.0).text == "No."
