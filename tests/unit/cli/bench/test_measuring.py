from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from tests.unit.cli.bench.test_metrics import final, journal

from kikitori.cli.bench import report
from kikitori.cli.bench.alignment import Errors
from kikitori.cli.bench.journal import write_journals
from kikitori.cli.bench.live import read_counts, read_fields
from kikitori.cli.bench.measuring import Measured, between, count_again
from kikitori.cli.bench.metrics import Level, summarize
from kikitori.errors import InvalidOption


def level(sessions: int, *, held: bool, error_rate: float = 0.1) -> Level:
    return replace(summarize([], sessions), held=held, error_rate=error_rate, problems=0)


def measured(*held: bool, offline: Errors | None = None) -> Measured:
    return Measured(
        levels={count: level(count, held=each) for count, each in enumerate(held, 1)}, offline=offline
    )  # fmt: skip


@pytest.mark.parametrize(
    ("held", "most"), [((True, True, False), 2), ((False, True), 0), ((True,), 1), ((), 0), ((True, False, True), 1)]
)
def test_the_most_sessions_are_those_up_to_which_all_held(held: tuple[bool, ...], most: int) -> None:
    assert measured(*held).most_held == most


@pytest.mark.parametrize("limit", range(8, 16))
async def test_the_search_ends_at_the_largest_number_that_holds(limit: int) -> None:
    tried = []

    async def run(count: int) -> bool:
        tried.append(count)
        return count <= limit

    assert await between(8, 16, run) == limit
    assert len(tried) <= 3


async def test_large_numbers_are_found_to_within_a_tenth() -> None:
    tried = []

    async def run(count: int) -> bool:
        tried.append(count)
        return count <= 45

    assert await between(32, 64, run) == 44
    assert tried == [48, 40, 44]


async def test_nothing_is_searched_where_there_is_nothing_between() -> None:
    async def run(count: int) -> bool:
        raise AssertionError("8 held and 9 did not")

    assert await between(8, 9, run) == 8


def test_live_is_compared_with_the_file() -> None:
    offline = Errors(substitutions=1, reference=20)
    assert measured(True, offline=offline).wer_change == pytest.approx(0.05)
    assert measured(True).wer_change is None
    assert Measured(offline=offline).wer_change is None


def test_a_log_is_counted_by_level() -> None:
    one, two = journal(final(2.8, "The doctor goes.")), journal(final(2.9, "The doctor goes."), sessions=2)
    found = count_again(write_journals([one, two, replace(two, client=1)]).splitlines())
    assert list(found.levels) == [1, 2]
    assert found.levels[2].final_p95 == pytest.approx(1.0)


def test_the_report_has_a_row_for_each_level() -> None:
    found = measured(True, False, offline=Errors(reference=10))
    rows = report.rows(found)
    assert [row[0] for row in rows] == ["1", "2"]
    assert all(len(row) == len(report.COLUMNS) for row in rows)
    assert [row[-1] for row in rows] == ["yes", "no"]
    assert any("held in real time: 1." in line for line in report.findings(found))


def test_json_knows_no_nan() -> None:
    found = json.loads(report.as_json(measured(True)))
    assert found["levels"][0]["final_p50"] is None
    assert math.isnan(measured(True).levels[1].final_p50)
    assert found["offline_error_rate"] is None


def test_counts_are_read_from_a_list() -> None:
    assert read_counts("1, 2,4") == (1, 2, 4)


def test_fields_are_json_or_text() -> None:
    assert read_fields(["audio_context=10", "carry_context=false", "prompt=Kim, Lee", "hotwords="]) == {
        "audio_context": 10,
        "carry_context": False,
        "prompt": "Kim, Lee",
        "hotwords": "",
    }


@pytest.mark.parametrize("item", ["", "prompt", "=5"])
def test_fields_that_are_none_are_refused(item: str) -> None:
    with pytest.raises(InvalidOption, match="NAME=VALUE"):
        read_fields([item])


@pytest.mark.parametrize("text", ["", "0", "a", "1;2", "-1", "1,100000"])
def test_counts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidOption):
        read_counts(text)
