from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from kikitori.store.task_records import (
    Checkpoint,
    TaskError,
    TaskPriority,
    TaskRecord,
    TaskResult,
    TaskStatus,
)
from kikitori.tasks.views import result_json, segment_json, task_json, time_json
from kikitori.testing import fake_segments
from kikitori.types import Segment, Word

NOON = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)

TASK = TaskRecord(
    id="task_1",
    owner="ann",
    priority=TaskPriority.HIGH,
    url="https://example.org/a.mp3",
    options={"beam_size": 8},
    tags=("a", "b"),
    status=TaskStatus.QUEUED,
    created_at=NOON,
)
RUNNING = replace(
    TASK,
    status=TaskStatus.RUNNING,
    started_at=NOON + timedelta(seconds=5),
    duration=100.0,
    seconds_done=40.0,
    attempts=2,
    node="node_1",
    language="en",
)


def test_a_task_has_the_names_that_clients_rely_on() -> None:
    fixed = (
        "id status progress priority task_type url file_name options tags created_at started_at finished_at duration "
        "language model engine attempts node queue_position error callback_url owner"
    )
    assert set(fixed.split()) <= set(task_json(TASK))


def test_a_queued_task_has_a_position_and_no_times_of_work() -> None:
    shown = task_json(TASK, queue_position=3)
    assert (shown["queue_position"], shown["created_at"]) == (3, "2026-03-01T12:00:00.123Z")
    assert (shown["started_at"], shown["speed"], shown["eta_seconds"], shown["progress"]) == (None, None, None, 0.0)
    assert shown["timings"] == {"queue_seconds": None, "work_seconds": None}
    assert (shown["tags"], shown["options"], shown["priority"]) == (["a", "b"], {"beam_size": 8}, "high")


def test_a_running_task_says_how_fast_it_is_and_when_it_will_be_done() -> None:
    shown = task_json(RUNNING, now=NOON + timedelta(seconds=15))
    assert (shown["progress"], shown["speed"], shown["eta_seconds"]) == (40.0, 4.0, 15.0)
    assert shown["timings"] == {"queue_seconds": 5.0, "work_seconds": 10.0}


def test_what_was_heard_before_a_crash_makes_nobody_faster() -> None:
    point = Checkpoint(seconds=30.0, segments=3, attempt=1).taken_up()
    now = NOON + timedelta(seconds=15)
    running = replace(RUNNING, checkpoint=point)
    shown = task_json(running, now=now)
    assert (shown["progress"], shown["speed"], shown["eta_seconds"]) == (40.0, 1.0, 60.0)
    for waiting in (TaskStatus.QUEUED, TaskStatus.FETCHING):
        shown = task_json(replace(running, status=waiting, checkpoint=replace(point, from_seconds=0.0)), now=now)
        assert (shown["progress"], shown["speed"], shown["eta_seconds"]) == (40.0, None, None)
    assert task_json(replace(running, status=TaskStatus.QUEUED))["timings"]["work_seconds"] is None


def test_a_running_task_of_unknown_length_has_no_end_in_sight() -> None:
    shown = task_json(replace(RUNNING, duration=None), now=NOON + timedelta(seconds=15))
    assert (shown["progress"], shown["speed"], shown["eta_seconds"]) == (0.0, 4.0, None)


def test_a_failed_task_says_why_and_what_helps() -> None:
    error = TaskError(code="fetch_failed", message="The link answered 404.", remedy="Check it.")
    shown = task_json(replace(RUNNING, status=TaskStatus.FAILED, finished_at=NOON + timedelta(seconds=25), error=error))
    assert shown["error"] == {"code": "fetch_failed", "message": "The link answered 404.", "remedy": "Check it."}
    assert (shown["speed"], shown["eta_seconds"]) == (2.0, None)


def test_a_clock_that_went_back_gives_no_negative_times() -> None:
    shown = task_json(RUNNING, now=NOON)
    assert (shown["timings"]["work_seconds"], shown["speed"]) == (0.0, None)


def test_times_are_utc_to_the_millisecond() -> None:
    assert time_json(NOON.astimezone(timezone(timedelta(hours=9)))) == "2026-03-01T12:00:00.123Z"
    assert time_json(None) is None


def test_a_result_is_its_segments_and_their_text() -> None:
    segments = fake_segments(" Hello", " there.")
    shown = result_json(TaskResult(task=RUNNING, segments=segments))
    assert (shown["task_id"], shown["text"], shown["language"], shown["duration"]) == (
        "task_1",
        "Hello there.",
        "en",
        100.0,
    )
    assert shown["segments"][1] == {"id": 1, "start": 1.0, "end": 2.0, "text": " there."}


def test_words_and_speakers_are_shown_where_there_are_any() -> None:
    word = Word(word=" Hi", start=0.0, end=0.51239, probability=0.98765)
    shown = segment_json(Segment(id=0, start=0.0, end=1.0, text=" Hi", words=(word,), speaker="left"))
    assert shown["words"] == [{"word": " Hi", "start": 0.0, "end": 0.512, "probability": 0.988}]
    assert shown["speaker"] == "left"


def test_everything_can_be_written_as_strict_json() -> None:
    segment = Segment(id=0, start=math.nan, end=math.inf, text="")
    shown = [
        task_json(replace(RUNNING, language_probability=math.nan)),
        result_json(TaskResult(task=RUNNING, segments=(segment,))),
    ]
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
