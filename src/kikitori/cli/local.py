"""Decoding in this process."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from kikitori.cli.inputs import Recording
from kikitori.cli.interrupts import StoppableInput
from kikitori.cli.models import download_progress
from kikitori.cli.progress import Reporter
from kikitori.engines.devices import check_compute_type, choose_device
from kikitori.engines.registry import engine_info, load_engine
from kikitori.inference.models import ModelCatalog
from kikitori.inference.placement import Hardware
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.pipeline.events import TranscriptionEvent
from kikitori.pipeline.transcriber import Transcriber
from kikitori.settings import Settings

if TYPE_CHECKING:
    from kikitori.types import Media


class LocalBackend:
    """Decodes on a model pool of its own."""

    def __init__(self, transcriber: Transcriber, options: DecodeOptions, stdin: StoppableInput) -> None:
        self._transcriber, self._options, self._stdin = transcriber, options, stdin

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, options: DecodeOptions, stdin: StoppableInput, reporter: Reporter
    ) -> AsyncIterator[Self]:
        """Loads the default model, downloading it if need be. Raises ModelNotFound, Unavailable."""
        choice = await asyncio.to_thread(choose_device, settings.device, settings.device_index)
        await asyncio.to_thread(check_compute_type, settings.compute_type, choice.device)
        catalog = make_catalog(settings)
        with reporter.paused(), download_progress("the model") as on_progress:
            spec = await asyncio.to_thread(catalog.default_spec, on_progress, reporter.note, device=choice.device)
        hardware = Hardware(
            device=choice.device,
            device_index=choice.indexes,
            compute_type=settings.compute_type,
            cpu_threads=settings.cpu_threads,
            max_batch_size=settings.max_batch_size,
            engine_options=settings.engine_options,
        )
        pool = ModelPool(
            catalog,
            load_engine=load_engine,
            engine_info=engine_info,
            hardware=hardware,
            memory_budget_bytes=settings.memory_budget_bytes,
        )
        async with pool:
            await pool.load("")
            reporter.note(f"Model: {spec.id} ({choice.reason.rstrip('.')})")
            limit = settings.max_audio_seconds
            transcriber = Transcriber(pool, chunk_seconds=settings.chunk_seconds, max_audio_seconds=limit)
            yield cls(transcriber, options, stdin)

    async def stream(self, recording: Recording) -> AsyncGenerator[TranscriptionEvent, None]:
        media: Media = recording.path or cast(BinaryIO, io.BufferedReader(self._stdin))
        async with aclosing(self._transcriber.stream(media, self._options)) as events:
            async for event in events:
                yield event


def make_catalog(settings: Settings, *, folders: Iterable[str] = ()) -> ModelCatalog:
    """The models of the server with these settings; ``folders`` may be named too."""
    return ModelCatalog(
        models_dir=settings.data_dir / "models",
        default=settings.model,
        aliases=settings.model_aliases,
        offline=settings.offline,
        connect_timeout=settings.hub_connect_timeout_seconds,
        folders=[*settings.preload, *folders],
    )
