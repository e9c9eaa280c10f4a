"""While the text of a long recording is read and written, everybody else has a turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from tests.integration.stored_tasks import advance, new, run, said

from kikitori.store.task_reading import PART
from kikitori.store.tasks import TaskStore
from kikitori.tasks.views import result_json
from kikitori.testing import fake_transcript
from kikitori.web.answers import json_bytes, long_json_bytes

SEGMENTS = 25 * PART


async def turns_while(work: Callable[[], Awaitable[Any]]) -> tuple[Any, int]:
    """What came of ``work``, and how often others had a turn meanwhile."""
    working, turns = asyncio.ensure_future(work()), 0
    while not working.done():
        turns += 1
        await asyncio.sleep(0)
    return working.result(), turns


async def test_a_long_text_is_read_in_parts(store: TaskStore) -> None:
    [created] = await store.create([new()])
    task = await run(store)
    segments = said(*(f" word {number}" for number in range(SEGMENTS)))
    await advance(store, task, segments)
    result, turns = await turns_while(lambda: store.result(created.id, "ann"))
    assert result.segments == tuple(segments)
    assert turns > SEGMENTS // PART


@pytest.mark.parametrize(
    "value", [{}, [], "x", {"a": []}, [[1, {"b": None}], "é"], {"a": {"ü": [1.5, True]}, "c": "\n"}]
)
def test_what_is_written_in_steps_is_the_same(value: object) -> None:
    assert long_json_bytes(value) == json_bytes(value)


def test_no_step_writes_more_than_a_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer of JSON is C code: while it works on one value, no other thread does."""
    texts = [f" word {number}" for number in range(200)]
    task: Any = SimpleNamespace(id="task_1", language="en", duration=200.0, model="m", engine="e")
    body: Mapping[str, Any] = {"tasks": [{"id": 1, "result": result_json(_result(task, texts))}]}
    longest, real = 0, json.dumps

    def dumps(value: object, **options: Any) -> str:
        nonlocal longest
        written = real(value, **options)
        longest = max(longest, len(written)) if isinstance(value, dict | list) else longest
        return written

    monkeypatch.setattr(json, "dumps", dumps)
    assert len(long_json_bytes(body)) > 10_000
    assert longest < 200


def _result(task: Any, texts: list[str]) -> Any:
    return SimpleNamespace(task=task, segments=fake_transcript(*texts).segments)
