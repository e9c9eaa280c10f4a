"""What a language model said about transcripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, Select, insert, select

from kikitori.errors import NotFound
from kikitori.store.database import Database, retried
from kikitori.store.keys import utc_now
from kikitori.store.tables import answers, tasks
from kikitori.store.task_rows import storable


class AnswerKind(StrEnum):
    SUMMARY = "summary"
    CHAT = "chat"
    TRANSLATION = "translation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    id: int
    task_id: str
    kind: AnswerKind
    question: str
    """The caller's words; empty where none are needed."""
    model: str
    language: str
    text: str
    created_at: datetime


class AnswerStore:
    """Whether somebody may see the task is asked before."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    @retried
    async def add(
        self, task_id: str, *, kind: str, text: str, question: str = "", model: str = "", language: str = ""
    ) -> Answer:
        """Raises NotFound."""
        row: dict[str, Any] = {
            "kind": AnswerKind(kind).value,
            "question": storable(question),
            "model": storable(model)[:200],
            "language": storable(language)[:100],
            "text": storable(text),
            "created_at": self._now(),
        }
        async with self._database.write() as connection:
            # Locked, so that it is not deleted before the answer is there.
            task = select(tasks.c.number).where(tasks.c.id == task_id).with_for_update(read=True)
            number = (await connection.execute(task)).scalar_one_or_none()
            if number is None:
                raise NotFound("The task of this answer was deleted.")
            made: Any = (await connection.execute(insert(answers).values(task=number, **row))).inserted_primary_key
        return Answer(id=int(made[0]), task_id=task_id, **(row | {"kind": AnswerKind(kind)}))

    async def list(self, task_id: str, *, after: int = 0, limit: int = 1_000) -> list[Answer]:
        """Those of a task that come after the one with the id ``after``, the oldest first."""
        found = _of_task(select(answers), task_id).where(answers.c.id > after).order_by(answers.c.id).limit(limit)
        async with self._database.read() as connection:
            return [_answer(row, task_id) for row in await connection.execute(found)]

    async def get(self, task_id: str, id: int) -> Answer:
        """Raises NotFound."""
        found = _of_task(select(answers), task_id).where(answers.c.id == id)
        async with self._database.read() as connection:
            row = (await connection.execute(found)).one_or_none()
        if row is None:
            raise NotFound(f"There is no answer {id} about this task.", remedy="GET …/answers lists them.")
        return _answer(row, task_id)

    async def translations(self, task_id: str) -> dict[int, str]:
        """The languages of a task's translations by their ids, the oldest first."""
        is_one = answers.c.kind == AnswerKind.TRANSLATION.value
        found = _of_task(select(answers.c.id, answers.c.language), task_id).where(is_one).order_by(answers.c.id)
        async with self._database.read() as connection:
            return {row.id: row.language for row in await connection.execute(found)}


def _of_task(found: Select[Any], task_id: str) -> Select[Any]:
    return found.join(tasks, tasks.c.number == answers.c.task).where(tasks.c.id == task_id)


def _answer(row: Row[Any], task_id: str) -> Answer:
    return Answer(
        id=row.id,
        task_id=task_id,
        kind=AnswerKind(row.kind),
        question=row.question,
        model=row.model,
        language=row.language,
        text=row.text,
        created_at=row.created_at,
    )
