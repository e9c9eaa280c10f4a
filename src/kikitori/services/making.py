"""The parts of a server as its settings want them.

A command that transcribes or shows models needs few of them. So the libraries of the others, a database's above all,
are imported where they are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from kikitori.engines.devices import DeviceChoice, check_compute_type, choose_device
from kikitori.engines.registry import engine_info, load_engine
from kikitori.inference.models import ModelCatalog
from kikitori.inference.placement import Hardware, usable_cores
from kikitori.inference.pool import ModelPool
from kikitori.live.options import Agreement, LiveOptions
from kikitori.metrics import Metrics
from kikitori.options import DecodeOptions
from kikitori.pipeline.transcriber import Transcriber
from kikitori.settings import Settings

if TYPE_CHECKING:
    from kikitori.llm.client import ChatModels
    from kikitori.sessions.desk import LivePlan
    from kikitori.tasks.opening import TaskPlan
    from kikitori.tts.plan import SpeechPlan

TASKS_PER_GPU = 16
SOCKET_FILES_PER_GPU = 16
CPU_INTERIM_SECONDS, GPU_INTERIM_SECONDS = 1.0, 0.6


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
    endpoint = {
        "base_url": settings.openai_base_url,
        "api_key": settings.openai_api_key.get_secret_value(),
        "timeout_seconds": settings.openai_timeout_seconds,
    }
    remote = {
        "openai": endpoint,
        "openai_realtime": endpoint,
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
    from kikitori.tasks.opening import TaskPlan

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
    from kikitori.sessions.desk import LivePlan

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
    from kikitori.services.parts import SOCKET_FILES_PER_CPU

    return SOCKET_FILES_PER_GPU * len(device.indexes) if device.device != "cpu" else SOCKET_FILES_PER_CPU


def make_chat_models(settings: Settings) -> ChatModels:
    from kikitori.llm.client import LARGEST_REPLY_BYTES, ChatModels
    from kikitori.media.guard import Guard, guarded_client

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
    from kikitori.tts.plan import SpeechPlan

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
