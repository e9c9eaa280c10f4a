"""Text that was made elsewhere, kept as a task that has ended: it is listed, read and removed like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from kikitori.store.database import Database, retried
from kikitori.store.keys import utc_now
from kikitori.store.tables import segments as segments_table
from kikitori.store.tables import task_tags, tasks
from kikitori.store.task_records import NewTask, TaskError, TaskRecord, TaskStatus
from kikitori.store.task_rows import check_task, new_row, record_of, segment_row, tag_rows
from kikitori.store.task_steps import end, in_chunks, is_id, row_of
from kikitori.types import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the audio."""

    segments: Sequence[Segment]
    """With ids from 0 on."""
    duration: float
    language: str
    language_probability: float
    engine: str
    mode: str
    started_at: datetime
    status: TaskStatus = TaskStatus.SUCCEEDED
    """How it ended; what is not final is refused."""
    error: TaskError | None = None
    seconds_done: float | None = None
    """Of the audio; None: all of it."""

    def __post_init__(self) -> None:
        assert self.status.is_final, "nobody would go on with it"


class KeptTexts:
    """Puts finished tasks into the database."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database, self._now = database, now

    @retried
    async def keep(self, task: NewTask, outcome: Outcome) -> TaskRecord:
        """Row, segments, text, callback and event in one transaction; done twice it is there once."""
        check_task(task)
        now = self._now()
        row = new_row(task, now=outcome.started_at, rank=0) | {
            "status": TaskStatus.RUNNING.value,
            "rank": None,
            "attempts": 1,
            "started_at": outcome.started_at,
            "engine": outcome.engine,
            "mode": outcome.mode,
        }
        async with self._database.write() as connection:
            if there := await row_of(connection, task.id):
                return record_of(there)
            await connection.execute(insert(tasks).values(row))
            number = (await connection.execute(select(tasks.c.number).where(is_id(task.id)))).scalar_one()
            for rows in in_chunks(segment_row(number, segment) for segment in outcome.segments):
                await connection.execute(insert(segments_table), rows)
            if tags := tag_rows(task, number):
                await connection.execute(insert(task_tags), tags)
            ended = await end(
                connection,
                [is_id(task.id)],
                task.id,
                outcome.status,
                now=now,
                error=outcome.error,
                duration=outcome.duration,
                seconds_done=outcome.duration if outcome.seconds_done is None else outcome.seconds_done,
                language=outcome.language,
                language_probability=outcome.language_probability,
            )
            assert ended is not None, "the row was written in this transaction"
            return ended
