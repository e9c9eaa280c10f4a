"""What a server is made of, and what it asks of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from kikitori.audio.vad import VadOptions, file_speech_spans
from kikitori.errors import ModelNotFound
from kikitori.inference.downloads import Downloads
from kikitori.inference.models import ModelSpec
from kikitori.inference.status import ModelStatus
from kikitori.live.options import LiveOptions
from kikitori.llm.client import ChatModels
from kikitori.media.sites import Fetched, Playlist
from kikitori.metrics import Metrics
from kikitori.options import DecodeOptions, given_options
from kikitori.pipeline.blocking import in_stoppable_media_thread
from kikitori.replies.desk import ReplyDesk
from kikitori.sessions.desk import LiveDesk
from kikitori.settings import Settings
from kikitori.store.answers import AnswerStore
from kikitori.store.client_secrets import ClientSecretStore
from kikitori.store.kept import KeptTexts
from kikitori.store.keys import ApiKey, KeyStore
from kikitori.tasks.callback_desk import CallbackDesk
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.execution import Transcriber
from kikitori.tasks.recorder import LiveRecorder
from kikitori.tasks.stats import StatsDesk
from kikitori.tts.desk import SpeechDesk
from kikitori.tts.plan import NONE, SpeechPlan
from kikitori.types import Media, Priority, SpeechSpan, Transcript

SOCKET_FILES_PER_CPU = 8
"""Files over ``/ws`` that are heard at once: enough to fill batches, few enough to fit into memory."""


class FileTranscriber(Transcriber, Protocol):
    """Decodes recordings; ``pipeline.transcriber.Transcriber``."""

    def check(self, options: DecodeOptions, *, model: str = "") -> None: ...

    async def transcribe(
        self, media: Media, options: DecodeOptions, *, model: str = "", priority: Priority = Priority.NORMAL
    ) -> Transcript: ...


class Catalog(Protocol):
    """Which models there are; ``inference.models.ModelCatalog``. Blocking."""

    def resolve(self, name: str) -> ModelSpec: ...

    def installed(self) -> list[ModelSpec]: ...

    def remove(self, name: str) -> ModelSpec: ...


class Pool(Protocol):
    """Loaded models; ``inference.pool.ModelPool``."""

    @property
    def ready(self) -> bool: ...

    def loaded(self) -> list[ModelStatus]: ...

    def waiting(self) -> Mapping[Priority, int]: ...

    async def load(self, name: str, *, pin: bool = False) -> ModelStatus: ...

    async def unload(self, name: str) -> None: ...


class Keys(Protocol):
    """API keys; ``store.keys.KeyStore``."""

    async def any(self) -> bool: ...

    async def verify(self, secret: str) -> ApiKey | None: ...


class LinkFetcher(Protocol):
    """Brings what a link leads to into a folder; ``media.fetch.Fetcher``."""

    async def fetch(self, text: str, folder: Path) -> Fetched | Playlist: ...


@dataclass(slots=True, kw_only=True)
class Services:
    """What a server is made of; ``open_services`` builds it, a test may build its own."""

    settings: Settings
    metrics: Metrics
    keys: Keys
    catalog: Catalog
    pool: Pool
    transcriber: FileTranscriber
    tasks: TaskDesk
    callbacks: CallbackDesk
    answers: AnswerStore
    llm: ChatModels
    client_secrets: ClientSecretStore
    kept: KeptTexts
    key_store: KeyStore
    """Where administrators make and end keys."""
    stats: StatsDesk
    downloads: Downloads
    live: LiveDesk
    speech: SpeechDesk = field(default_factory=lambda: SpeechDesk(SpeechPlan(engine=NONE)))
    replies: ReplyDesk = field(init=False)
    live_defaults: LiveOptions = field(default_factory=LiveOptions)
    """How sessions listen whose clients say nothing else."""
    file_places: int = SOCKET_FILES_PER_CPU
    """Files of sockets that are heard at once."""
    fetcher: LinkFetcher | None = None
    """None: links are not fetched here."""
    not_ready_because: str = ""
    """What the default model waits for, while the pool is not ready."""
    draining: bool = False
    """Shutdown has begun: what runs may end, nothing new is wanted."""
    on_drain: Callable[[], None] = lambda: None
    """Told when it begins: the tasks of this node go back in the queue."""

    def __post_init__(self) -> None:
        self.replies = ReplyDesk(self.llm, self.speech, listener=self.metrics)

    def drain(self) -> None:
        """Shutdown begins. From the event loop only."""
        self.draining = True
        self.on_drain()

    def problem(self) -> str:
        """Why nothing can be transcribed now; empty when it can."""
        if self.draining:
            return "The server is shutting down."
        if self.pool.ready:
            return ""
        return self.not_ready_because or "The default model is not loaded."

    def recorder(self, options: LiveOptions, owner: str) -> LiveRecorder:
        """Keeps a live session of ``owner``. Raises NoSpace, Unavailable, ModelNotFound."""
        spec = self.catalog.resolve(options.model)
        return LiveRecorder(
            self.kept,
            self.tasks.media,
            owner=owner,
            model=spec.id,
            engine=spec.engine,
            options=given_options(options.decode),
        )

    def check_supported(self, model: str, options: DecodeOptions) -> None:
        """Raise ModelNotFound or Unsupported for what could not be done later either. Blocking: looks at the disk."""
        try:
            self.catalog.resolve(model)
        except ModelNotFound:
            if model:
                raise
            return  # the default model may be on its way
        self.transcriber.check(options, model=model)

    async def speech_spans(self, media: Media, options: DecodeOptions) -> tuple[list[SpeechSpan], float]:
        """Where somebody speaks in ``media`` by the ``vad_*`` options, and its length, in seconds.

        Cancelling stops it. Raises InvalidMedia.
        """
        look = partial(file_speech_spans, media, VadOptions.of(options), self.settings.max_audio_seconds)
        return await in_stoppable_media_thread(lambda check: look(check=check))
