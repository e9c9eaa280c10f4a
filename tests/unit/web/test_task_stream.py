"""Task events: what is told from which position, and when a stream ends."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kikitori.errors import InvalidOption
from kikitori.store.task_records import TaskEvent, TaskRecord, TaskStatus
from kikitori.testing import fake_segments
from kikitori.types import Segment
from kikitori.web.task_frames import event_frame
from kikitori.web.task_stream import START, Position, Seen, Told, read_position, rewound, tell

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TASK = TaskRecord(id="task_1", status=TaskStatus.RUNNING, created_at=NOW, duration=4.0, attempts=1, node="node_1")
SEGMENTS = fake_segments(" a", " b", " c", " d")


def fact(id: int, type: str = "status", **data: Any) -> TaskEvent:
    return TaskEvent(id=id, task_id=TASK.id, type=type, data=data, created_at=NOW)


def seen(task: TaskRecord = TASK, *facts: TaskEvent, segments: tuple[Segment, ...] = (), more: bool = False) -> Seen:
    return Seen(task=task, queue_position=None, facts=facts, segments=segments, more=more)


def names(told: list[Told]) -> list[str]:
    return [each.event for each in told]


def test_the_state_comes_first_and_the_final_status_last() -> None:
    task = replace(TASK, seconds_done=2.0)
    told, position = tell(seen(task, fact(3), segments=SEGMENTS[:2]), START, changed=True)
    assert names(told) == ["status", "segment", "segment", "progress"]
    assert [each.id for each in told] == ["3-0-0", "3-1-0", "3-2-0", "3-2-2000"]
    ended = replace(TASK, status=TaskStatus.SUCCEEDED, seconds_done=4.0)
    told, position = tell(seen(ended, fact(4), fact(5), segments=SEGMENTS[2:]), position, changed=True)
    assert [each.id for each in told] == ["4-3-2000", "4-4-2000", "4-4-4000", "5-4-4000"]
    assert names(told) == ["segment", "segment", "progress", "status"]
    assert (told[-1].id, told[-1].data["status"], told[-1].data["segments"]) == ("5-4-4000", "succeeded", 4)
    assert position == Position(5, 4, 4000)


def test_nothing_new_is_nothing_told() -> None:
    told, position = tell(seen(replace(TASK, seconds_done=2.0)), Position(3, 2, 2000), changed=False)
    assert (told, position) == ([], Position(3, 2, 2000))


def test_the_end_waits_for_all_segments() -> None:
    ended = replace(TASK, status=TaskStatus.FAILED, seconds_done=4.0)
    told, position = tell(seen(ended, segments=SEGMENTS[:2], more=True), START, changed=True)
    assert names(told) == ["segment", "segment"]
    told, _ = tell(seen(ended, segments=SEGMENTS[2:]), position, changed=True)
    assert names(told) == ["segment", "segment", "progress", "status"]


def test_every_id_is_where_the_client_goes_on() -> None:
    ended = replace(TASK, status=TaskStatus.SUCCEEDED, seconds_done=4.0)
    told, _ = tell(seen(ended, fact(5), segments=SEGMENTS), START, changed=True)
    for at, event in enumerate(told):
        position = read_position(event.id, "last_event_id")
        facts = [each for each in [fact(5)] if each.id > position.event]
        rest, _ = tell(seen(ended, *facts, segments=SEGMENTS[position.segments :]), position, changed=False)
        assert [each.data for each in rest if each.event == "segment"] == [
            each.data for each in told[at + 1 :] if each.event == "segment"
        ]


def test_an_attempt_that_begins_anew_takes_segments_back() -> None:
    facts = [fact(6, segments=2), fact(7)]
    assert rewound(facts, Position(5, 4, 4000)) == Position(5, 2, 4000)
    assert rewound(facts, Position(5, 1, 1000)) == Position(5, 1, 1000)
    assert rewound([fact(6, "callback", segments=0)], Position(5, 4, 0)).segments == 4


@pytest.mark.parametrize("text", ["x", "1-2", "1-2-3-4", "-1-2-3", "1-2-" + "9" * 40, "１-2-3"])
def test_a_position_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        read_position(text, "last_event_id")
    assert caught.value.param == "last_event_id"


def test_no_position_is_the_start() -> None:
    assert read_position(None, "x") == read_position(" ", "x") == START
    assert read_position(str(Position(7, 8, 9)), "x") == Position(7, 8, 9)


def test_a_frame_is_an_event_with_its_id_on_one_line_of_data() -> None:
    frame = event_frame(Told(event="segment", id="1-2-3", data={"text": "a\nb\u2028c"}))
    assert frame == b'id: 1-2-3\nevent: segment\ndata: {"text":"a\\nb\\u2028c"}\n\n'


def test_what_an_ended_task_took_back_is_said_before_it_comes_anew() -> None:
    ended = replace(TASK, status=TaskStatus.SUCCEEDED, seconds_done=4.0)
    look = replace(seen(ended, fact(6, segments=2), fact(8), segments=SEGMENTS[2:]), taken_back=True)
    told, _ = tell(look, Position(5, 2, 4000), changed=True)
    assert names(told) == ["status", "segment", "segment", "status"]
    assert [(each.data["status"], each.data["segments"]) for each in (told[0], told[-1])] == [
        ("running", 2),
        ("succeeded", 4),
    ]


def test_the_end_of_an_earlier_attempt_is_not_the_end() -> None:
    ended = replace(TASK, status=TaskStatus.SUCCEEDED)
    facts = [fact(5, status="failed"), fact(6, status="queued"), fact(9), fact(10, "callback")]
    told, position = tell(seen(ended, *facts), Position(3, 0, 0), changed=True)
    assert [each.id for each in told] == ["10-0-0"]
    assert position.event == 10
