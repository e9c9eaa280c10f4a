"""Decoding in this process."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from kikitori.cli.inputs import Recording
from kikitori.cli.interrupts import StoppableInput
from kikitori.cli.models import download_progress
from kikitori.cli.progress import Reporter
from kikitori.errors import DecodingCancelled
from kikitori.options import DecodeOptions
from kikitori.pipeline.events import TranscriptionEvent
from kikitori.services.making import find_device, make_catalog, make_pool, make_transcriber
from kikitori.settings import Settings

if TYPE_CHECKING:
    from kikitori.engines.devices import DeviceChoice
    from kikitori.inference.models import ModelCatalog
    from kikitori.inference.pool import ModelPool
    from kikitori.services.parts import FileTranscriber
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
        await fetch_default_model(catalog, device.device, reporter)
        async with loaded_pool(settings, catalog, device, reporter) as pool:
            yield cls(make_transcriber(settings, pool), options, stdin)

    async def stream(self, recording: Recording) -> AsyncGenerator[TranscriptionEvent, None]:
        async with (
            _opened(recording, self._stdin) as media,
            aclosing(self._transcriber.stream(media, self._options)) as events,
        ):
            async for event in events:
                yield event


@asynccontextmanager
async def _opened(recording: Recording, stdin: StoppableInput) -> AsyncIterator[Media]:
    """What can be read only once is opened only once."""
    if recording.path is None:
        yield cast(BinaryIO, io.BufferedReader(stdin))
    elif recording.is_stream:
        file = await asyncio.to_thread(recording.path.open, "rb")
        with file:
            yield file
    else:
        yield recording.path


@asynccontextmanager
async def loaded_pool(
    settings: Settings, catalog: ModelCatalog, device: DeviceChoice, reporter: Reporter
) -> AsyncIterator[ModelPool]:
    """A pool with the default model in it; which, and where, is told. Raises ModelNotFound, Unavailable."""
    async with make_pool(settings, catalog, device) as pool:
        status = await pool.load("", pin=True)
        chosen = status.replicas[0].device == device.device
        why = device.reason.rstrip(".") if chosen else f"{status.replicas[0].device.upper()}, its only one"
        reporter.note(f"Model: {status.model} ({why})")
        yield pool


async def fetch_default_model(catalog: ModelCatalog, device: str, reporter: Reporter) -> None:
    """The default model onto this disk; cancelling ends the download."""
    stopped = threading.Event()
    with reporter.paused(), download_progress("the model") as shown:

        def report(here: int, total: int) -> None:
            if stopped.is_set():
                raise DecodingCancelled
            shown(here, total)

        try:
            await asyncio.to_thread(catalog.default_spec, report, reporter.note, device=device)
        finally:
            stopped.set()
