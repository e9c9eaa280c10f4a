"""The one place that builds everything from Settings, and closes it in order."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import anyio.to_thread

from kikitori.audio.vad import VadOptions, file_speech_spans
from kikitori.engines.devices import DeviceChoice, check_compute_type, choose_device
from kikitori.engines.registry import engine_info, load_engine
from kikitori.errors import DecodingCancelled, KikitoriError, ModelNotFound
from kikitori.inference.downloads import Downloads
from kikitori.inference.hub import OnProgress
from kikitori.inference.models import ModelCatalog, ModelSpec
from kikitori.inference.placement import Hardware, usable_cores
from kikitori.inference.pool import ModelPool
from kikitori.inference.status import ModelState, ModelStatus
from kikitori.live.options import Agreement, LiveOptions
from kikitori.llm.client import LARGEST_REPLY_BYTES, ChatModels
from kikitori.media.guard import Guard, guarded_client
from kikitori.media.sites import Fetched, Playlist
from kikitori.metrics import Metrics
from kikitori.options import DecodeOptions, given_options
from kikitori.pipeline.blocking import in_media_thread
from kikitori.pipeline.events import ResumePoint, TranscriptionEvent
from kikitori.pipeline.transcriber import Transcriber
from kikitori.replies.desk import ReplyDesk
from kikitori.sessions.desk import LiveDesk, LivePlan, live_desk
from kikitori.settings import Settings
from kikitori.store.answers import AnswerStore
from kikitori.store.client_secrets import ClientSecretStore
from kikitori.store.database import Database
from kikitori.store.kept import KeptTexts
from kikitori.store.keys import ApiKey, KeyStore
from kikitori.store.nodes import NodeStore
from kikitori.store.stats import StatsStore
from kikitori.tasks.callback_desk import CallbackDesk
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.opening import TaskPlan, open_tasks
from kikitori.tasks.recorder import LiveRecorder
from kikitori.tasks.stats import StatsDesk
from kikitori.tts.desk import SpeechDesk, speech_desk
from kikitori.tts.plan import NONE, SpeechPlan
from kikitori.types import Media, Priority, SpeechSpan, Transcript

logger = logging.getLogger(__name__)

TASKS_PER_GPU = 16
SOCKET_FILES_PER_CPU, SOCKET_FILES_PER_GPU = 8, 16
"""Files over ``/ws`` that are heard at once: enough to fill batches, few enough to fit into memory."""
CPU_INTERIM_SECONDS, GPU_INTERIM_SECONDS = 1.0, 0.6
RETRY_SECONDS = 30.0
"""After a model that should be there from the start could not be had, it is tried again."""


class FileTranscriber(Protocol):
    """Decodes recordings; ``pipeline.transcriber.Transcriber``."""

    def check(self, options: DecodeOptions, *, model: str = "") -> None: ...

    def stream(
        self,
        media: Media,
        options: DecodeOptions,
        *,
        model: str = "",
        priority: Priority = Priority.NORMAL,
        resume: ResumePoint | None = None,
    ) -> AsyncGenerator[TranscriptionEvent, None]: ...

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
        stopped = threading.Event()
        limit, check = self.settings.max_audio_seconds, partial(_go_on, stopped)
        work = asyncio.create_task(
            in_media_thread(partial(file_speech_spans, media, VadOptions.of(options), limit, check=check))
        )
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            # The thread stops at its next block, and until then the file is in use.
            stopped.set()
            await asyncio.wait([work])
            work.exception()
            raise
        return work.result()


@asynccontextmanager
async def open_services(
    settings: Settings, admit: Callable[[bool], None] = lambda has_keys: None
) -> AsyncGenerator[Services, None]:
    """Everything a server needs. What is entered last is closed first.

    ``admit`` is told whether there are API keys as soon as that is known, and may raise to stop the
    start. Models are fetched and loaded while the server already answers; ``Services.problem`` says
    how far that is. Raises KikitoriError when the device or the database cannot be used.
    """
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        # Closed last: requests ask for keys until their very end.
        database = await stack.enter_async_context(Database(settings.database))
        await database.upgrade()
        keys = KeyStore(database)
        admit(await keys.any())
        device = await asyncio.to_thread(find_device, settings)
        logger.info(
            "device chosen", extra={"action": "device_chosen", "device": device.device, "reason": device.reason}
        )
        catalog = make_catalog(settings)
        downloads = await stack.enter_async_context(_closed_on_a_thread(Downloads(catalog)))
        # Closed when no request runs any more: threads are joined, models unloaded.
        pool = await stack.enter_async_context(make_pool(settings, catalog, device, metrics=metrics))
        transcriber = make_transcriber(settings, pool, metrics=metrics)
        # Closed before the models that its tasks use.
        tasks = await stack.enter_async_context(
            open_tasks(database, transcriber, plan_tasks(settings, device), listener=metrics)
        )
        chat = make_chat_models(settings)
        live = await stack.enter_async_context(
            live_desk(
                pool,
                plan_live(settings),
                check=lambda model, options: transcriber.check(options, model=model),
                chat=chat,
                listener=metrics,
            )
        )
        # Closed when nobody listens any more.
        speech = await stack.enter_async_context(speech_desk(plan_speech(settings)))
        services = Services(
            settings=settings,
            metrics=metrics,
            keys=keys,
            catalog=catalog,
            pool=pool,
            transcriber=transcriber,
            tasks=tasks.desk,
            callbacks=tasks.callbacks,
            fetcher=tasks.fetcher,
            answers=AnswerStore(database),
            llm=chat,
            client_secrets=ClientSecretStore(database),
            kept=KeptTexts(database),
            key_store=keys,
            stats=StatsDesk(StatsStore(database), NodeStore(database)),
            downloads=downloads,
            live=live,
            speech=speech,
            live_defaults=live_defaults(settings, device),
            file_places=settings.socket_files or default_file_places(device),
            on_drain=tasks.runner.drain,
        )
        # Closed before the voice that it speaks with.
        stack.push_async_callback(services.replies.close)
        metrics.watch_pool(partial(_waiting, pool), partial(_memory, pool))
        # Closed first: a model that is still being fetched is not wanted any more.
        await stack.enter_async_context(_prepared(services, catalog, device.device))
        yield services


def find_device(settings: Settings) -> DeviceChoice:
    """Where models go. Blocking. Raises Unavailable, InvalidOption."""
    choice = choose_device(settings.device, settings.device_index)
    check_compute_type(settings.compute_type, choice.device)
    return choice


def make_catalog(settings: Settings, *, folders: Iterable[str] = ()) -> ModelCatalog:
    """The models of the server with these settings; ``folders`` may be named too."""
    return ModelCatalog(
        models_dir=settings.data_dir / "models",
        default=settings.model,
        aliases=settings.model_aliases,
        offline=settings.offline,
        connect_timeout=settings.hub_connect_timeout_seconds,
        folders=[*settings.preload, *folders],
        remote=[
            *(f"openai:{name}" for name in settings.openai_models),
            *(f"google:{name}" for name in settings.google_models),
        ],
    )


def make_pool(
    settings: Settings, catalog: ModelCatalog, device: DeviceChoice, *, metrics: Metrics | None = None
) -> ModelPool:
    """A pool of models, to be used as ``async with``."""
    hardware = Hardware(
        device=device.device,
        device_index=device.indexes,
        compute_type=settings.compute_type,
        cpu_threads=settings.cpu_threads,
        cpu_workers=settings.cpu_workers,
        max_batch_size=settings.max_batch_size,
        engine_options=engine_options(settings),
    )
    return ModelPool(
        catalog,
        load_engine=load_engine,
        engine_info=engine_info,
        hardware=hardware,
        max_requests=settings.max_queue,
        idle_seconds=settings.model_ttl_seconds,
        memory_budget_bytes=settings.memory_budget_bytes,
        listener=metrics,
    )


def engine_options(settings: Settings) -> dict[str, dict[str, Any]]:
    """Constructor arguments of engines, by name; what ``engine_options`` says wins."""
    remote = {
        "openai": {
            "base_url": settings.openai_base_url,
            "api_key": settings.openai_api_key.get_secret_value(),
            "timeout_seconds": settings.openai_timeout_seconds,
        },
        "google": {
            "project": settings.google_project,
            "location": settings.google_location,
            "recognizer": settings.google_recognizer,
            "languages": settings.google_languages,
            "credentials": settings.google_credentials,
            "endpoint": settings.google_endpoint,
        },
    }
    names = {*remote, *settings.engine_options}
    return {name: remote.get(name, {}) | settings.engine_options.get(name, {}) for name in names}


def make_transcriber(settings: Settings, pool: ModelPool, *, metrics: Metrics | None = None) -> Transcriber:
    return Transcriber(
        pool,
        chunk_seconds=settings.chunk_seconds,
        max_audio_seconds=settings.max_audio_seconds,
        listener=metrics,
    )


def plan_tasks(settings: Settings, device: DeviceChoice) -> TaskPlan:
    return TaskPlan(
        data_dir=settings.data_dir,
        slots=(settings.task_slots or default_slots(device)) if settings.worker else 0,
        media_url=settings.media_url,
        max_queued=settings.max_queued_tasks,
        allowed_addresses=tuple(settings.allowed_addresses),
        max_fetch_bytes=settings.max_upload_bytes,
        max_fetch_seconds=settings.max_fetch_seconds,
        site_cookies={host: cookies.get_secret_value() for host, cookies in settings.site_cookies.items()},
        site_proxy=settings.site_proxy.get_secret_value(),
        max_audio_seconds=settings.max_audio_seconds,
        max_playlist_entries=settings.max_playlist_entries,
        callback_secret=settings.callback_secret.get_secret_value(),
        former_callback_secret=settings.former_callback_secret.get_secret_value(),
        callback_attempts=settings.callback_attempts,
        callback_timeout=settings.callback_timeout_seconds,
        callback_max_bytes=settings.callback_max_bytes,
        media_days=settings.keep_media_days,
        task_days=settings.keep_tasks_days,
    )


def plan_live(settings: Settings) -> LivePlan:
    return LivePlan(
        max_sessions=settings.live_max_sessions,
        buffer_seconds=settings.live_buffer_seconds,
        resume_seconds=settings.live_resume_seconds,
    )


def live_defaults(settings: Settings, device: DeviceChoice) -> LiveOptions:
    step = settings.live_interim_seconds or (CPU_INTERIM_SECONDS if device.device == "cpu" else GPU_INTERIM_SECONDS)
    return LiveOptions(
        endpoint_ms=settings.live_endpoint_ms,
        prefix_ms=settings.live_prefix_ms,
        interim_seconds=step,
        agreement=Agreement(settings.live_agreement),
        max_utterance_seconds=settings.live_max_utterance_seconds,
        decode=DecodeOptions(audio_context=settings.live_audio_context or None),
        carry_context=settings.live_carry_context,
    )


def default_slots(device: DeviceChoice) -> int:
    """Tasks at once: enough that the next batch is ready while one runs. One file alone can fill a CPU."""
    return TASKS_PER_GPU * len(device.indexes) if device.device != "cpu" else max(2, usable_cores())


def default_file_places(device: DeviceChoice) -> int:
    return SOCKET_FILES_PER_GPU * len(device.indexes) if device.device != "cpu" else SOCKET_FILES_PER_CPU


def make_chat_models(settings: Settings) -> ChatModels:
    guard = Guard.allowing(settings.allowed_addresses)
    return ChatModels(
        guarded=partial(guarded_client, guard, param="base_url", max_bytes=LARGEST_REPLY_BYTES),
        base_url=settings.llm_base_url,
        api_key=settings.llm_api_key.get_secret_value(),
        model=settings.llm_model,
        context_tokens=settings.llm_context_tokens,
        silence_seconds=settings.llm_timeout_seconds,
    )


def plan_speech(settings: Settings) -> SpeechPlan:
    return SpeechPlan(
        engine=settings.tts_engine,
        url=settings.tts_url,
        api_key=settings.tts_api_key.get_secret_value(),
        model=settings.tts_model,
        voice=settings.tts_voice,
        voices=settings.tts_voices,
        silence_seconds=settings.tts_timeout_seconds,
        piper_program=settings.tts_piper_program,
        piper_voices=settings.tts_piper_voices,
        places=settings.tts_places,
    )


@asynccontextmanager
async def _closed_on_a_thread(downloads: Downloads) -> AsyncGenerator[Downloads, None]:
    try:
        yield downloads
    finally:
        await asyncio.to_thread(downloads.close)


@asynccontextmanager
async def _prepared(services: Services, catalog: ModelCatalog, device: str) -> AsyncGenerator[None, None]:
    """Fetch and load the models that should be there from the start, beside everything else."""
    preparation = _Preparation(services, catalog, device)
    task = asyncio.create_task(preparation.run(), name="kikitori-preparation")
    try:
        yield
    finally:
        preparation.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _Preparation:
    """Fetches and loads; what cannot be had is said, and tried again later."""

    def __init__(self, services: Services, catalog: ModelCatalog, device: str) -> None:
        self._services, self._catalog, self._device = services, catalog, device
        self._stopped = threading.Event()
        self._reasons: dict[str, str] = {}

    def stop(self) -> None:
        """End a download, from any thread."""
        self._stopped.set()

    async def run(self) -> None:
        wanted: Sequence[str] = ["", *self._services.settings.preload]
        while True:
            wanted = [name for name in wanted if not await self._prepare(name)]
            if not wanted:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _prepare(self, name: str) -> bool:
        try:
            await anyio.to_thread.run_sync(self._fetch, name)
            self._say(name, "The default model is being loaded.")
            await self._services.pool.load(name, pin=True)
        except KikitoriError as exc:
            self._say(name, exc.public)
            self._failed(name, str(exc))
            return False
        except Exception as exc:  # a broken model or library must not end a server that may have other models
            reason = f"The model cannot be loaded ({type(exc).__name__}); the log says more."
            self._say(name, reason)
            self._failed(name, reason, exc)
            return False
        self._say(name, "")
        return True

    def _fetch(self, name: str) -> None:
        if name:
            self._catalog.pull(name, self._progress(name))
            return
        self._say(name, "The default model is being looked for.")
        self._catalog.default_spec(self._progress(name), logger.warning, device=self._device)

    def _progress(self, name: str) -> OnProgress:
        def report(done: int, total: int) -> None:
            _go_on(self._stopped)
            self._say(name, f"The default model is being downloaded: {done / max(1, total):.0%}.")

        return report

    def _say(self, name: str, problem: str) -> None:
        """Only the default model decides whether the server is ready."""
        if not name:
            self._services.not_ready_because = problem

    def _failed(self, name: str, reason: str, exc: Exception | None = None) -> None:
        again = self._reasons.get(name) == reason
        self._reasons[name] = reason
        facts = {"action": "model_not_ready", "model": name or "default", "reason": reason}
        logger.log(logging.DEBUG if again else logging.ERROR, "model not ready", exc_info=exc, extra=facts)


def _go_on(stopped: threading.Event) -> None:
    """Raise DecodingCancelled when the caller has gone."""
    if stopped.is_set():
        raise DecodingCancelled


def _waiting(pool: Pool) -> Mapping[str, int]:
    return {priority.value: count for priority, count in pool.waiting().items()}


def _memory(pool: Pool) -> Mapping[str, int]:
    return {status.model: status.memory_bytes for status in pool.loaded() if status.state is ModelState.READY}
