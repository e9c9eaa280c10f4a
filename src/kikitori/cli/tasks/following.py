"""Tasks followed to their end, shown as recordings that are heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from kikitori.cli.exits import complain
from kikitori.cli.inputs import Recording
from kikitori.cli.parallel import side_by_side
from kikitori.cli.progress import Reporter
from kikitori.cli.tasks.access import FATAL
from kikitori.cli.tasks.facts import FINAL, recordings_of, shown, waiting_words
from kikitori.errors import KikitoriError
from kikitori.pipeline.events import Progress
from kikitori.types import Transcript

if TYPE_CHECKING:
    from kikitori.cli.tasks.client import TaskClient


STREAMS = 32
"""Tasks watched at once; the others are looked at when one of these has ended."""

Task = Mapping[str, Any]


async def follow_all(client: TaskClient, tasks: Sequence[Task], told: Reporter) -> list[Task]:
    """The tasks as they ended, in order; one that cannot be watched any more as it was last seen."""
    ended = list(tasks)
    waiting = enumerate(recordings_of(tasks))

    async def work(waiting: Iterator[tuple[int, Recording]]) -> None:
        for at, recording in waiting:
            ended[at] = await _follow(client, tasks[at], recording, told)

    async with side_by_side() as group:
        for _ in range(min(STREAMS, len(tasks))):
            group.create_task(work(waiting))
    return ended


async def _follow(client: TaskClient, task: Task, recording: Recording, told: Reporter) -> Task:
    told.begin(recording)
    words = ""
    problem: KikitoriError | None = None
    try:
        async with aclosing(client.events(task["id"])) as events:
            async for event in events:
                if event.name == "status":
                    task = event.data
                    if task["status"] == "running":
                        _advance(task, recording, told)
                    elif task["status"] not in FINAL and words != (words := waiting_words(task)):
                        told.tell(recording, words)
                elif event.name == "progress":
                    task = {**task, **event.data}
                    _advance(task, recording, told)
    except FATAL:
        raise
    except KikitoriError as exc:  # it was deleted
        problem = exc
    finally:
        whole = task["status"] == "succeeded"
        told.end(recording, _heard(task) if whole else None, elapsed=(task.get("timings") or {}).get("work_seconds"))
    if problem or not whole:
        with told.paused():
            complain(problem or _failure(task), about=recording.name)
    return task


def _advance(task: Task, recording: Recording, told: Reporter) -> None:
    """The server measured how long it worked: its speed is told, not ours."""
    done, speed = task["seconds_done"] or 0.0, task.get("speed")
    told.advance(
        recording, Progress(seconds_done=done, duration=task["duration"]), elapsed=done / speed if speed else 0.0
    )


def _heard(task: Task) -> Transcript:
    """As far as a summary needs it."""
    return Transcript(
        segments=(),
        language=task["language"],
        duration=task["duration"] or 0.0,
        model=task["model"],
        engine=task["engine"],
    )


def _failure(task: Task) -> KikitoriError:
    if error := task.get("error"):
        return KikitoriError(shown(error["message"]), remedy=shown(error["remedy"]))
    return KikitoriError(
        f"The task was {task['status']}." if task["status"] == "cancelled" else f"The task has {task['status']}.",
        remedy=f"`kikitori tasks retry {task['id']}` starts it again.",
    )
