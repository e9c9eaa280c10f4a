"""Decoding in this process."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from kikitori.cli.inputs import Recording
from kikitori.cli.interrupts import StoppableInput
from kikitori.cli.models import download_progress
from kikitori.cli.progress import Reporter
from kikitori.options import DecodeOptions
from kikitori.pipeline.events import TranscriptionEvent
from kikitori.services import FileTranscriber, find_device, make_catalog, make_pool, make_transcriber
from kikitori.settings import Settings

if TYPE_CHECKING:
    from kikitori.types import Media


class LocalBackend:
    """Decodes on a model pool of its own."""

    def __init__(self, transcriber: FileTranscriber, options: DecodeOptions, stdin: StoppableInput) -> None:
        self._transcriber, self._options, self._stdin = transcriber, options, stdin

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, options: DecodeOptions, stdin: StoppableInput, reporter: Reporter
    ) -> AsyncIterator[Self]:
        """Loads the default model, downloading it if need be. Raises ModelNotFound, Unavailable."""
        device = await asyncio.to_thread(find_device, settings)
        catalog = make_catalog(settings)
        with reporter.paused(), download_progress("the model") as on_progress:
            spec = await asyncio.to_thread(catalog.default_spec, on_progress, reporter.note, device=device.device)
        async with make_pool(settings, catalog, device) as pool:
            await pool.load("", pin=True)
            reporter.note(f"Model: {spec.id} ({device.reason.rstrip('.')})")
            yield cls(make_transcriber(settings, pool), options, stdin)

    async def stream(self, recording: Recording) -> AsyncGenerator[TranscriptionEvent, None]:
        media: Media = recording.path or cast(BinaryIO, io.BufferedReader(self._stdin))
        async with aclosing(self._transcriber.stream(media, self._options)) as events:
            async for event in events:
                yield event
