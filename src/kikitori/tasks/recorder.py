"""A live session that is kept: its audio in the media store, its text as a task that has succeeded."""

from __future__ import annotations

import asyncio
import logging
import wave
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from kikitori.errors import KikitoriError
from kikitori.live.events import Final, LiveEvent
from kikitori.media import disk
from kikitori.media.store import MediaStore
from kikitori.store.kept import KeptTexts, Outcome
from kikitori.store.keys import utc_now
from kikitori.store.task_records import NewTask, new_id
from kikitori.types import SAMPLE_RATE, Audio, DecodeMode, Segment

logger = logging.getLogger(__name__)

MODE = DecodeMode.WINDOWED.value
"""Each utterance is decoded on its own."""
PLATFORM = "live"
SAMPLE_BYTES = 2


class LiveRecorder:
    """Keeps one session. ``add`` and ``hear`` answer at once; ``close`` stores it all, or throws it away."""

    def __init__(
        self,
        texts: KeptTexts,
        media: MediaStore,
        *,
        owner: str,
        model: str,
        engine: str,
        options: Mapping[str, Any],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``options`` are the decode options that were asked for, as JSON values. Raises NoSpace, Unavailable."""
        self._texts, self._media = texts, media
        self._owner, self._model, self._engine, self._options = owner, model, engine, options
        self._began = now()
        self.task_id = new_id("task")
        """Of the task it becomes."""
        self._finals: list[Final] = []
        self._samples = 0
        self._failed = False
        self._path: Path = disk.temporary(media.temporary, "media", ".wav")
        with disk.disk_errors():
            self._raw = disk.create(self._path)
            self._file = wave.open(cast(BinaryIO, self._raw), "wb")
            self._file.setnchannels(1)
            self._file.setsampwidth(SAMPLE_BYTES)
            self._file.setframerate(SAMPLE_RATE)

    def add(self, audio: Audio) -> None:
        """The next samples. A disk that takes no more ends the recording, not the session."""
        if self._failed:
            return
        samples = (np.clip(audio, -1.0, 1.0) * 32_767).astype("<i2")
        try:
            self._file.writeframesraw(samples.tobytes())
        except OSError as exc:
            self._failed = True
            logger.warning("recording ended", extra={"action": "live_recording_ended", "reason": str(exc)})
        self._samples += len(audio)

    def hear(self, event: LiveEvent) -> None:
        if isinstance(event, Final) and event.text:
            self._finals.append(event)

    async def close(self, *, keep: bool) -> None:
        """Nothing raises here: the session is over, and there is nobody to tell."""
        try:
            await asyncio.to_thread(self._end_file)
            if keep:
                await self._keep()
        except (KikitoriError, OSError, wave.Error):
            logger.exception(
                "recording lost", extra={"action": "live_recording_lost", "task": self.task_id, "owner": self._owner}
            )
        finally:
            await asyncio.to_thread(disk.remove, self._path)

    def _end_file(self) -> None:
        self._file.close()  # writes the length at the beginning
        self._raw.close()

    async def _keep(self) -> None:
        size = self._path.stat().st_size
        key = await self._media.save(self._path, task_id=self.task_id, suffix=".wav")
        task = NewTask(
            id=self.task_id,
            owner=self._owner,
            media_key=key,
            media_bytes=size,
            file_name=f"live-{self._began:%Y%m%d-%H%M%S}.wav",
            model=self._model,
            options=self._options,
            platform=PLATFORM,
        )
        first = self._finals[0] if self._finals else None
        outcome = Outcome(
            segments=numbered(self._finals),
            duration=self._samples / SAMPLE_RATE,
            language=first.language if first else "",
            language_probability=1.0 if first else 0.0,
            engine=self._engine,
            mode=MODE,
            started_at=self._began,
        )
        await self._texts.keep(task, outcome)


def numbered(finals: list[Final]) -> tuple[Segment, ...]:
    """Segments of all utterances, numbered through; an utterance without any is one by itself."""
    segments: list[Segment] = []
    for final in finals:
        whole = Segment(
            id=0,
            start=final.start / SAMPLE_RATE,
            end=final.end / SAMPLE_RATE,
            text=f" {final.text}",
            words=final.words or None,
        )
        segments += final.segments or (whole,)
    return tuple(replace(segment, id=number) for number, segment in enumerate(segments))
