from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.unit.cli.tasks.conftest import ID, succeeded, task_json

from kikitori.cli.tasks.facts import COLUMNS, label_of, recordings_of, row_of, status_words
from kikitori.cli.tasks.times import parse_length, parse_moment
from kikitori.errors import InvalidOption

NOW = datetime(2026, 3, 1, 14, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "label", "file"),
    [
        ({}, "talk.mp3", "talk.mp3"),
        (
            {"file_name": "", "url": "https://x.org/a/My%20talk.mp3?q=1"},
            "https://x.org/a/My%20talk.mp3?q=1",
            "My talk.mp3",
        ),
        ({"file_name": "", "url": "https://x.org/"}, "https://x.org/", ID),
        ({"file_name": "a.mp4", "details": {"title": "A title"}}, "A title", "a.mp4"),
        ({"file_name": "../..\\up/.hidden.mp3"}, "../..\\up/.hidden.mp3", "hidden.mp3"),
        ({"file_name": "..."}, "...", ID),
        ({"file_name": "会議\x1b.wav"}, "会議 .wav", "会議.wav"),
    ],
)
def test_a_task_has_a_label_and_a_file_name(given: dict[str, object], label: str, file: str) -> None:
    (recording,) = recordings_of([task_json(**given)])
    assert label_of(task_json(**given)) == label
    assert recording.path is not None
    assert (recording.name, recording.path.name) == (label, file)
    assert len(recording.path.parts) == 1


def test_tasks_of_the_same_name_are_told_apart() -> None:
    first, second = recordings_of([task_json(), task_json(id="task_2")])
    assert (first.name, second.name) == (f"talk.mp3 ({ID})", "talk.mp3 (task_2)")


def test_a_row_says_where_a_task_is() -> None:
    row = dict(zip(COLUMNS, row_of(succeeded(), now=NOW), strict=True))
    assert (row["done"], row["created"], row["length"]) == ("100 %", "2 h ago", "1:00")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "queued (1)"),
        ({"queue_position": None}, "queued"),
        ({"status": "running"}, "running"),
        ({"status": "running", "cancel_requested": True}, "cancelling"),
        ({"status": "cancelled", "cancel_requested": True}, "cancelled"),
    ],
)
def test_a_status_in_words(given: dict[str, object], words: str) -> None:
    assert status_words(task_json(**given)) == words


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5h", 5_400), (" 2 D ", 172_800)])
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_length(text, "expires_in") == seconds


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", "2026-03-01T12:31:00+00:00"),
        ("2026-03-01T12:30:00Z", "2026-03-01T12:30:00+00:00"),
        ("2026-03-01T12:30:00+02:00", "2026-03-01T10:30:00+00:00"),
    ],
)
def test_moments(text: str, moment: str) -> None:
    assert datetime.fromisoformat(parse_moment(text, "created_after", NOW)) == datetime.fromisoformat(moment)


@pytest.mark.parametrize("text", ["", "x", "yesterday", "-1h", "9" * 30 + "d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption):
        parse_moment(text, "created_after", NOW)
