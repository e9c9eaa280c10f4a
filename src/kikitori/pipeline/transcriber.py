"""One recording from media to transcript: decode → chunk → windows → engine → segments."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from kikitori.options import DecodeOptions
from kikitori.pipeline.events import TranscriptionEvent
from kikitori.types import Media, Priority, Transcript


class Transcriber:
    """Decodes recordings on the model pool. Owns nothing; safe for many calls at once."""

    def stream(
        self, media: Media, options: DecodeOptions, *, model: str = "", priority: Priority = Priority.NORMAL
    ) -> AsyncGenerator[TranscriptionEvent, None]:
        """Started, then Progress and SegmentDone as they come, then Finished.

        Closing the generator (``aclose``, or cancelling the task that runs it) stops decoding
        within one segment and frees the engine. Raises InvalidMedia, Unsupported, ModelNotFound,
        Busy, Unavailable.
        """
        raise NotImplementedError

    async def transcribe(
        self, media: Media, options: DecodeOptions, *, model: str = "", priority: Priority = Priority.NORMAL
    ) -> Transcript:
        """The whole transcript at once."""
        raise NotImplementedError
