from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.unit.tasks.memory import NOON, finished_task

from kikitori.store.task_records import TaskError, TaskStatus
from kikitori.tasks.payload import body_of_test, event_type, size_of, task_body
from kikitori.tasks.views import task_json
from kikitori.testing import fake_segments
from kikitori.types import Segment, Word


def test_a_callback_holds_the_task_and_its_text() -> None:
    task = finished_task()
    told = json.loads(task_body(task, fake_segments(" Hello", " there.")))
    assert (told["type"], told["timestamp"]) == ("task.succeeded", "2026-03-01T12:00:04.000Z")
    data = told["data"]
    assert {name: data[name] for name in task_json(task)} == task_json(task)
    assert (data["result"]["text"], len(data["result"]["segments"])) == ("Hello there.", 2)
    assert data["result_url"] == "/api/tasks/task_1/result"


def test_a_callback_without_its_text_says_where_that_is() -> None:
    data = json.loads(task_body(finished_task(), None))["data"]
    assert (data["result"], data["result_url"]) == (None, "/api/tasks/task_1/result")


@pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED])
def test_a_task_that_did_not_succeed_has_no_result(status: TaskStatus) -> None:
    error = TaskError(code="link_failed", message="The link answered 404.")
    told = json.loads(task_body(replace(finished_task(), status=status, error=error), None))
    assert told["type"] == event_type(status) == f"task.{status}"
    assert (told["data"]["result"], told["data"]["result_url"]) == (None, None)
    assert told["data"]["error"]["message"] == "The link answered 404."


def test_text_that_is_no_unicode_does_not_stop_a_callback() -> None:
    told = json.loads(task_body(replace(finished_task(), file_name="a\ud800b"), ()))
    assert told["data"]["file_name"] == "a?b"


def test_the_size_of_a_text_is_told_before_it_is_written() -> None:
    words = (Word(word=" 聞き取り", start=0.1, end=0.2, probability=0.5),)
    segments = [Segment(id=number, start=1.5, end=2.5, text=" 聞き取り", words=words) for number in range(100)]
    task = finished_task()
    written = len(task_body(task, segments)) - len(task_body(task, ()))
    assert sum(map(size_of, segments)) == pytest.approx(written, rel=0.02)


def test_a_test_event_looks_like_any_other() -> None:
    told = json.loads(body_of_test(NOON))
    assert (told["type"], told["timestamp"]) == ("callback.test", "2026-03-01T12:00:00.000Z")
