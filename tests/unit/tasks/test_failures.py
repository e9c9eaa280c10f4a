import logging

import pytest

from kikitori.errors import InvalidMedia, ModelLoadFailed
from kikitori.store.task_records import TaskError
from kikitori.tasks.failures import failure


def test_a_failure_is_told_with_its_remedy() -> None:
    told = failure(InvalidMedia("It is damaged.", remedy="Send another."))
    assert told == TaskError(code="invalid_value", message="It is damaged.", remedy="Send another.")


def test_the_place_of_a_model_is_for_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        told = failure(ModelLoadFailed("/srv/models/x is broken.", model="x", place="/srv/models/x"))
    assert told == TaskError(code="model_load_failed", message="x is broken.")
    [record] = [vars(record) for record in caplog.records]
    assert (record["action"], record["reason"]) == ("task_failed", "/srv/models/x is broken.")
