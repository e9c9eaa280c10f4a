from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kikitori.errors import InvalidOption
from kikitori.store.task_queries import Place, TaskQuery, TaskSort, check_query, cursor_of, place_of
from kikitori.store.task_records import TaskStatus

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        (TaskSort.CREATED_AT, None),
        (TaskSort.FINISHED_AT, NOON),
        (TaskSort.FINISHED_AT, None),
        (TaskSort.DURATION, 1 / 3),
        (TaskSort.STATUS, None),
    ],
)
def test_a_cursor_brings_back_its_place(sort: TaskSort, value: datetime | float | None) -> None:
    query = TaskQuery(sort=sort, owner="미카", statuses=(TaskStatus.FAILED,))
    place = Place(group=3, value=value, number=2**40)
    cursor = cursor_of(query, place)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert place_of(replace(query, cursor=cursor, limit=7)) == place


def test_without_a_cursor_there_is_no_place() -> None:
    assert place_of(TaskQuery()) is None


@pytest.mark.parametrize(
    "place",
    [
        Place(group=0, value="x", number=1),  # type: ignore[arg-type]
        Place(group=-1, value=None, number=1),
        Place(group=0, value=None, number=-1),
        Place(group=0, value=None, number=2**63),
        Place(group=0, value=None, number=True),
        Place(group=0, value=None, number=1.5),  # type: ignore[arg-type]
        Place(group=0, value=1.0, number=1),
    ],
)
def test_a_cursor_that_was_tampered_with_is_refused(place: Place) -> None:
    query = TaskQuery(sort=TaskSort.FINISHED_AT)
    with pytest.raises(InvalidOption):
        place_of(replace(query, cursor=cursor_of(query, place)))


@given(st.text(max_size=40))
def test_no_text_makes_a_cursor_fail_otherwise(text: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        place_of(TaskQuery(cursor=text))
    assert caught.value.field == "cursor"


def test_offset_and_cursor_exclude_each_other() -> None:
    with pytest.raises(InvalidOption, match="offset"):
        check_query(TaskQuery(offset=1, cursor="x"))
    check_query(TaskQuery(limit=200, offset=1_000_000))
