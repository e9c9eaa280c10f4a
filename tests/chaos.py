"""A node without an engine, for tests that kill it: ``python -m tests.chaos DATABASE_URL DATA_DIR``.

Database, queue, media store and callbacks are the real ones; only the transcriber plays a script.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from kikitori.logs import configure_logging
from kikitori.options import DecodeOptions
from kikitori.pipeline.events import Begun, Finished, Progress, ResumePoint, SegmentDone, Started, TranscriptionEvent
from kikitori.store.database import Database
from kikitori.tasks.opening import TaskPlan, open_tasks
from kikitori.types import DecodeMode, Media, Priority, Segment, Transcript

SEGMENTS = 20
SECONDS = 10.0
EACH_SECONDS = 0.03
TEXT = " ".join(f"w{number}" for number in range(SEGMENTS))
HEARTBEAT_SECONDS = 1.0


class Script:
    """Hears ``w0`` to ``w19`` in every recording, slowly enough to be killed in the middle."""

    async def stream(
        self,
        media: Media,
        options: DecodeOptions,
        *,
        model: str = "",
        priority: Priority = Priority.NORMAL,
        resume: ResumePoint | None = None,
    ) -> AsyncGenerator[TranscriptionEvent, None]:
        step = SECONDS / SEGMENTS
        first = resume.segments if resume else 0
        segments = []
        yield Begun(duration=SECONDS, model="script", engine="script", mode=DecodeMode.WINDOWED)
        yield Started(
            duration=SECONDS,
            language="en",
            language_probability=1.0,
            model="script",
            engine="script",
            mode=DecodeMode.WINDOWED,
        )
        for number in range(first, SEGMENTS):
            await asyncio.sleep(EACH_SECONDS)
            segment = Segment(id=number, start=number * step, end=(number + 1) * step, text=f" w{number}")
            segments.append(segment)
            yield SegmentDone(segment=segment)
            point = ResumePoint(seconds=segment.end, segments=number + 1, language="en", language_probability=1.0)
            yield Progress(seconds_done=segment.end, duration=SECONDS, resume=point)
        yield Finished(transcript=Transcript(segments=tuple(segments), language="en", duration=SECONDS))


def plan(data_dir: Path, *, slots: int) -> TaskPlan:
    return TaskPlan(
        data_dir=data_dir,
        slots=slots,
        allowed_addresses=("127.0.0.0/8",),
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )


async def main(url: str, data_dir: Path) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with Database(url) as database:
        await database.upgrade()
        async with open_tasks(database, Script(), plan(data_dir, slots=4)):
            await stopped.wait()


if __name__ == "__main__":
    configure_logging(level="info")
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
