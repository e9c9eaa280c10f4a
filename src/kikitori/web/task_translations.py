"""The text of a task in another language, as a language model wrote it once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Protocol

from kikitori.errors import NotFound
from kikitori.store.answers import Answer
from kikitori.store.task_records import TaskResult
from kikitori.text.languages import LANGUAGE_NAMES
from kikitori.types import Segment


class Translations(Protocol):
    """``store.answers.AnswerStore``."""

    async def translations(self, task_id: str) -> dict[int, str]: ...

    async def get(self, task_id: str, id: int) -> Answer: ...


async def find_translation(answers: Translations, task_id: str, wanted: str) -> Answer:
    """The last translation into the language ``wanted`` (``de``, ``German``), or the one with this id.

    Raises NotFound.
    """
    known = await answers.translations(task_id)
    number = int(wanted) if wanted.isascii() and wanted.isdigit() else None
    fit = [id for id, language in known.items() if id == number or _plain(language) == _plain(wanted)]
    if not fit:
        there = ", ".join(dict.fromkeys(known.values()))
        remedy = f"There are: {there}." if there else "POST /api/tasks/{id}/translate makes one."
        raise NotFound(f"This task has no translation {wanted[:80]!r}.", remedy=remedy, param="translation")
    return await answers.get(task_id, fit[-1])


def translated(result: TaskResult, translation: Answer) -> TaskResult:
    """``result`` with the text of ``translation``; pure."""
    segments = tuple(_segment(part) for part in json.loads(translation.text)["segments"])
    return replace(result, task=replace(result.task, language=translation.language), segments=segments)


def _segment(part: dict[str, Any]) -> Segment:
    return Segment(id=part["id"], start=part["start"], end=part["end"], text=part["text"], speaker=part.get("speaker"))


def _plain(language: str) -> str:
    """The same for ``de``, ``DE`` and ``German``."""
    name = language.strip().lower()
    return LANGUAGE_NAMES.get(name, name).lower()
