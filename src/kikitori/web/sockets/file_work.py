"""The work on one file of a socket: take it, wait for a place, hear it, keep it if it should be kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread

from kikitori.errors import InvalidInput, KikitoriError, Unavailable
from kikitori.options import DecodeOptions, given_options
from kikitori.pipeline.events import Begun, Finished, Progress, SegmentDone, Started, TranscriptionEvent
from kikitori.protocols.actions import Close, Send
from kikitori.protocols.file_actions import Transcribe
from kikitori.protocols.file_ws import FileInfo, FileSocketCodec
from kikitori.services.parts import FileTranscriber
from kikitori.store.keys import utc_now
from kikitori.store.task_records import TaskStatus
from kikitori.tasks.kept_files import FileKeeper, HeardFile
from kikitori.types import Segment, Transcript
from kikitori.web.auth import Caller
from kikitori.web.errors import status_of
from kikitori.web.multipart import plain_file_name
from kikitori.web.sockets.spool import Spool
from kikitori.web.sockets.to_the_end import to_the_end
from kikitori.web.sockets.waiting_room import WaitingRoom

logger = logging.getLogger(__name__)

SERVER_FAULT = 500
"""HTTP status from which on an error is not the client's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileParts:
    """What the file sockets of a server share."""

    transcriber: FileTranscriber
    check: Callable[[str, DecodeOptions], None]
    """Raises ModelNotFound, Unsupported. Blocking."""
    keeper: FileKeeper
    room: WaitingRoom
    folder: Path
    """For files on their way."""
    max_bytes: int
    threads: anyio.CapacityLimiter


class Ending(StrEnum):
    """Why work ends before the file does, when nothing is wrong with it."""

    STOPPED = "stopped"  # the client wants no more of it
    LEFT = "left"  # the client is gone
    SHUTDOWN = "shutdown"  # the server stops


Why: TypeAlias = Ending | KikitoriError


@dataclass(slots=True)
class _Heard:
    """What is known of the recording so far."""

    model: str
    engine: str = ""
    mode: str = ""
    language: str = ""
    language_probability: float = 0.0
    duration: float = 0.0
    seconds_done: float = 0.0
    segments: list[Segment] = field(default_factory=list)
    transcript: Transcript | None = None


class FileWork:
    """One file. ``run`` as a task; ``end`` makes it stop within a segment."""

    def __init__(
        self,
        asked: Transcribe,
        parts: FileParts,
        caller: Caller,
        codec: FileSocketCodec,
        say: Callable[[Sequence[Send | Close]], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._request, self._audio = asked.request, asked.audio
        self._parts, self._caller, self._codec, self._say, self._clock = parts, caller, codec, say, clock
        self.spool = Spool(parts.folder, max_bytes=parts.max_bytes, threads=parts.threads)
        self._heard = _Heard(asked.request.model)
        self._began, self._began_at = now(), clock()
        self._why: Why | None = None
        self._stoppable = False
        """Cancelling reaches the work itself: not before it has begun, nor when its end is known."""
        self._task = asyncio.create_task(self._run(), name="kikitori-file")

    @property
    def receiving(self) -> bool:
        """The file is not all here yet."""
        return self._request.size_bytes is not None and not self.spool.complete.is_set()

    @property
    def over(self) -> asyncio.Task[None]:
        """Done when everything is let go of, and the client was told."""
        return self._task

    def end(self, why: Why) -> None:
        """Stop, because of ``why``. What has been heard to its end is told and kept all the same."""
        first, self._why = self._why is None, why
        if first and self._stoppable:
            self._task.cancel()

    def too_slow(self) -> KikitoriError:
        """The file does not come any further."""
        return InvalidInput(
            f"Only {self.spool.size_bytes:,} of {self._request.size_bytes or 0:,} bytes came.",
            remedy="Send binary frames until size is reached.",
            param="size",
        )

    async def _run(self) -> None:
        try:
            why = await self._outcome()
            task_id, warning = await to_the_end(self._kept(why))
        finally:
            await to_the_end(self.spool.remove())
        self._log(why)
        self._tell(why, task_id, warning)

    async def _outcome(self) -> Why | None:
        """How it ended; None: it was heard to its end."""
        if self._why is not None:
            return self._why
        self._stoppable = True
        try:
            await self._work()
            return None
        except asyncio.CancelledError:
            if self._why is None:
                raise
            return self._why
        except KikitoriError as exc:
            return self._why or _noted(exc)
        except Exception:  # whatever it is, the client is told, and the log has the trace
            logger.exception("file failed", extra={"action": "file_failed"})
            return self._why or KikitoriError("The server failed on this file.")
        finally:
            self._stoppable = False

    async def _work(self) -> None:
        request, parts = self._request, self._parts
        check = partial(parts.check, request.model, request.options)
        await anyio.to_thread.run_sync(check, limiter=parts.threads)
        parts.room.check()  # before a large file is sent for nothing
        audio, self._audio = self._audio, None
        if audio is not None:
            await self.spool.fill(audio)
            del audio
        await self.spool.complete.wait()
        async with parts.room.place(self._caller.id, lambda position: self._say(self._codec.queued(position))):
            stream = parts.transcriber.stream(self.spool.path, request.options, model=request.model)
            async with aclosing(stream) as events:
                async for event in events:
                    self._hear(event)

    def _hear(self, event: TranscriptionEvent) -> None:
        heard, codec = self._heard, self._codec
        match event:
            case Begun():
                heard.model, heard.engine, heard.mode = event.model, event.engine, event.mode.value
                heard.duration = event.duration or 0.0
            case Started():
                heard.language, heard.language_probability = event.language, event.language_probability
                info = FileInfo(
                    language=event.language,
                    language_probability=event.language_probability,
                    duration=event.duration,
                    model=event.model,
                    engine=event.engine,
                )
                self._say(codec.info(info))
            case SegmentDone():
                heard.segments.append(event.segment)
                self._say(codec.segment(event.segment))
            case Progress():
                heard.seconds_done = event.seconds_done
                heard.duration = max(heard.duration, event.duration or event.seconds_done)
                self._say(codec.progress(event.seconds_done, event.duration))
            case Finished():
                self._stoppable = False  # too late
                heard.transcript = event.transcript
                heard.duration = heard.seconds_done = event.transcript.duration

    # The end

    async def _kept(self, why: Why | None) -> tuple[str | None, str | None]:
        """The task that keeps the recording; or what to tell when there should be one and is none."""
        if not self._request.save_audio or not self.spool.complete.is_set():
            return None, None
        try:
            return await self._parts.keeper.keep(self._heard_file(why), owner=self._caller.owner), None
        except Exception as exc:  # whatever it is, the text must reach its client
            logger.exception("file not kept", extra={"action": "file_not_kept", "owner": self._caller.owner})
            reason = exc.public if isinstance(exc, KikitoriError) else "Its log says why."
            return None, f"The server could not keep the recording. {reason}"

    def _heard_file(self, why: Why | None) -> HeardFile:
        request, heard = self._request, self._heard
        options = given_options(request.options)
        options.pop("task", None)  # a column of its own
        status, error = _status(why)
        return HeardFile(
            path=self.spool.path,
            size_bytes=self.spool.size_bytes,
            file_name=plain_file_name(request.file_name),
            task_type=request.options.task,
            options=options,
            model=heard.model,
            engine=heard.engine,
            mode=heard.mode,
            began=self._began,
            status=status,
            error=error,
            segments=heard.segments,
            duration=heard.duration,
            seconds_done=heard.seconds_done,
            language=heard.language,
            language_probability=heard.language_probability,
        )

    def _tell(self, why: Why | None, task_id: str | None, warning: str | None) -> None:
        codec, transcript = self._codec, self._heard.transcript
        match why:
            case None:
                assert transcript is not None, "a transcription ends with Finished"
                said: Sequence[Send | Close] = codec.finished(
                    transcript.text,
                    language=transcript.language,
                    duration=transcript.duration,
                    task_id=task_id,
                    warning=warning,
                )
            case Ending.SHUTDOWN:
                said = codec.shutting_down(task_id=task_id)
            case Ending():  # one who has left is told, too: nobody hears it
                said = codec.stopped(task_id=task_id)
            case _:
                said = codec.failed(why, task_id=task_id)
        self._say(said)

    def _log(self, why: Why | None) -> None:
        heard, seconds = self._heard, round(self._clock() - self._began_at, 3)
        if why is None:
            logger.info(
                "transcribed",
                extra={
                    "action": "transcribed",
                    "model": heard.model,
                    "engine": heard.engine,
                    "mode": heard.mode,
                    "language": heard.language,
                    "bytes": self.spool.size_bytes,
                    "audio_seconds": round(heard.duration, 3),
                    "seconds": seconds,
                },
            )
            return
        logger.info(
            "file ended early",
            extra={
                "action": "file_ended",
                "why": why.value if isinstance(why, Ending) else why.code,
                "bytes": self.spool.size_bytes,
                "audio_seconds": round(heard.seconds_done, 3),
                "seconds": seconds,
            },
        )


def _noted(error: KikitoriError) -> KikitoriError:
    """``error``, in the log if the operator should see it; clients do not read what is not meant for them."""
    status, _ = status_of(error)
    if status >= SERVER_FAULT:
        logger.warning(
            "file could not be transcribed", extra={"action": "unavailable", "code": error.code, "reason": str(error)}
        )
    return error


def _status(why: Why | None) -> tuple[TaskStatus, KikitoriError | None]:
    """How a kept recording's task ended."""
    match why:
        case None:
            return TaskStatus.SUCCEEDED, None
        case Ending.SHUTDOWN:
            return TaskStatus.FAILED, Unavailable("The server was stopped.", remedy="Retry the task.")
        case Ending():
            return TaskStatus.CANCELLED, None
        case _:
            return TaskStatus.FAILED, why
