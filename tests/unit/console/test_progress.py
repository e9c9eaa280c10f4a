"""What messages of the server make of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kikitori.console import progress
from kikitori.console.progress import Progress, Stage

INFO = {"type": "info", "language": "en", "duration": 20.0, "length": "0分20秒", "model": "mini", "done": False}


def segment(text: str, start: float, end: float, percent: int) -> dict[str, Any]:
    data = {"time_line": "…", "text": text, "start": start, "end": end}
    return {"type": "segment", "data": data, "progress": percent, "done": False}


def after(*messages: dict[str, Any], known: Progress | None = None, step: float = 1.0) -> Progress:
    """The messages, each a second after the other, from second 100 on."""
    known = known or progress.begun(Progress(), 99.0)
    for number, message in enumerate(messages):
        known = progress.heard(known, message, 100.0 + number * step)
    return known


def test_a_run_from_its_queue_to_its_end() -> None:
    known = after({"type": "queued", "position": 2, "done": False})
    assert (known.stage, known.position) == (Stage.QUEUED, 2)
    known = after(INFO, segment(" One.", 0.0, 4.0, 20), known=known)
    assert (known.stage, known.percent, known.language, known.model) == (Stage.RUNNING, 20, "en", "mini")
    known = after(segment(" Two.", 5.0, 20.0, 100), {"type": "final", "data": {"result": " One. Two."}}, known=known)
    assert (known.stage, known.text, known.duration) == (Stage.DONE, "One. Two.", 20.0)
    assert [line.id for line in known.shown] == [0, 1]


def test_speed_and_time_left_come_from_what_is_done() -> None:
    known = after(INFO, segment(" One.", 0.0, 5.0, 25), known=progress.sent(Progress(), 1.0, 100.0), step=2.0)
    assert known.speed == pytest.approx(2.5)
    assert known.eta_seconds == pytest.approx(6.0)
    assert replace(known, now=103.0).eta_seconds == pytest.approx(5.0)
    assert replace(known, now=200.0).eta_seconds == 0.0


def test_time_in_the_queue_does_not_count() -> None:
    known = after(*[{"type": "queued", "position": 1}] * 9, INFO, segment(" One.", 0.0, 5.0, 25))
    assert known.speed == pytest.approx(2.5)


def test_nothing_is_said_of_the_speed_too_early() -> None:
    known = after(INFO, segment(" One.", 0.0, 5.0, 25), known=progress.sent(Progress(), 1.0, 100.0), step=0.1)
    assert (known.speed, known.eta_seconds) == (0.0, None)


def test_the_time_left_is_not_known_without_a_length() -> None:
    known = after({**INFO, "duration": None}, segment(" One.", 0.0, 5.0, 0), step=2.0)
    assert known.eta_seconds is None


def test_progress_never_goes_down() -> None:
    assert after(INFO, segment(" A", 0, 1, 50), segment(" B", 1, 2, 40)).percent == 50


@pytest.mark.parametrize(
    ("message", "stage", "problem"),
    [
        ({"type": "stopped", "done": True}, Stage.STOPPED, ""),
        ({"type": "error", "message": "No audio.", "code": "invalid_value", "done": True}, Stage.FAILED, "No audio."),
    ],
)
def test_what_was_heard_stays_after_a_stop_or_an_error(message: dict[str, Any], stage: Stage, problem: str) -> None:
    known = after(INFO, segment(" One.", 0.0, 4.0, 20), message)
    assert (known.stage, known.problem, known.text) == (stage, problem, "One.")


def test_an_error_beside_the_run_does_not_end_it() -> None:
    known = after(INFO, {"type": "error", "message": "A stop came too late.", "code": "conflict", "done": False})
    assert known.stage is Stage.RUNNING


def test_messages_that_are_not_known_change_nothing() -> None:
    known = after(INFO)
    assert progress.heard(known, {"type": "novelty", "done": False}, 200.0) == known


def test_the_task_that_keeps_a_recording_is_known() -> None:
    known = after(INFO, {"type": "final", "data": {"result": ""}, "task_id": "task_1", "warning": "The disk is full."})
    assert (known.task_id, known.warning) == ("task_1", "The disk is full.")


def test_lines_of_a_broken_attempt_are_shown_until_new_ones_reach_them() -> None:
    known = after(INFO, segment(" One.", 0, 4, 20), segment(" Two.", 5, 9, 40), segment(" Three.", 10, 14, 60))
    known = progress.lost(known, "gone", 110.0)
    assert (known.stage, known.problem) == (Stage.LOST, "gone")
    known = progress.begun(known, 111.0)
    assert (known.stage, known.attempts, known.percent) == (Stage.SENDING, 2, 0)
    assert known.text == "One. Two. Three."
    known = after(INFO, segment(" One!", 0, 4, 20), known=known)
    assert known.text == "One! Two. Three."
    assert [line.id for line in known.shown] == [0, 1, 2]
    assert after({"type": "final", "data": {"result": " One!"}}, known=known).text == "One!"


def test_a_broken_attempt_is_kept_when_the_next_one_fails() -> None:
    known = progress.begun(progress.lost(after(INFO, segment(" One.", 0, 4, 20)), "gone", 110.0), 111.0)
    assert progress.ended(known, Stage.FAILED, 112.0, "still gone").text == "One."


def test_an_edited_line_keeps_its_space_and_its_times() -> None:
    known = after(INFO, segment(" One.", 0, 4, 20), segment(" Tow.", 5, 9, 100), {"type": "final", "data": {}})
    edited = progress.edited(known, 1, "  Two,\nthen. ")
    assert edited.text == "One. Two, then."
    assert (edited.shown[1].start, edited.shown[1].end, edited.shown[1].edited) == (5, 9, True)
    assert not edited.shown[0].edited
