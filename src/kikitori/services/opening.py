"""Opens everything that a server needs, and closes it in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from kikitori.engines.devices import DeviceChoice
from kikitori.inference.downloads import Downloads
from kikitori.inference.models import ModelCatalog
from kikitori.inference.pool import ModelPool
from kikitori.inference.status import ModelState
from kikitori.llm.client import ChatModels
from kikitori.metrics import Metrics
from kikitori.pipeline.transcriber import Transcriber
from kikitori.services.making import (
    default_file_places,
    find_device,
    live_defaults,
    make_catalog,
    make_chat_models,
    make_pool,
    make_transcriber,
    plan_live,
    plan_speech,
    plan_tasks,
)
from kikitori.services.parts import Services
from kikitori.services.preparation import prepared
from kikitori.sessions.desk import LiveDesk, live_desk
from kikitori.settings import Settings
from kikitori.store.answers import AnswerStore
from kikitori.store.client_secrets import ClientSecretStore
from kikitori.store.database import Database
from kikitori.store.kept import KeptTexts
from kikitori.store.keys import KeyStore
from kikitori.store.nodes import NodeStore
from kikitori.store.stats import StatsStore
from kikitori.tasks.opening import open_tasks
from kikitori.tasks.stats import StatsDesk
from kikitori.tts.desk import speech_desk

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_services(
    settings: Settings, admit: Callable[[bool], None] = lambda has_keys: None
) -> AsyncGenerator[Services, None]:
    """Everything a server needs. What is entered last is closed first.

    ``admit`` is told whether there are API keys as soon as that is known, and may raise to stop the
    start. Models are fetched and loaded while the server already answers; ``Services.problem`` says
    how far that is. Raises KikitoriError when the device or the database cannot be used.
    """
    # Closed last: requests ask for keys until their very end.
    async with Database(settings.database) as database:
        await database.upgrade()
        keys = KeyStore(database)
        admit(await keys.any())
        device = await asyncio.to_thread(find_device, settings)
        chosen = {"action": "device_chosen", "device": device.device, "reason": device.reason}
        logger.info("device chosen", extra=chosen)
        async with _open_parts(settings, database, keys, device) as services:
            yield services


@asynccontextmanager
async def _open_parts(
    settings: Settings, database: Database, keys: KeyStore, device: DeviceChoice
) -> AsyncGenerator[Services, None]:
    metrics, chat = Metrics(), make_chat_models(settings)
    async with (
        # Closed when no request runs any more: threads are joined, models unloaded.
        _open_models(settings, device, metrics) as models,
        # Closed before the models that its tasks use.
        open_tasks(database, models.transcriber, plan_tasks(settings, device), listener=metrics) as tasks,
        _open_live(settings, models, chat, metrics) as live,
        # Closed when nobody listens any more.
        speech_desk(plan_speech(settings)) as speech,
    ):
        services = Services(
            settings=settings,
            metrics=metrics,
            keys=keys,
            catalog=models.catalog,
            pool=models.pool,
            transcriber=models.transcriber,
            tasks=tasks.desk,
            callbacks=tasks.callbacks,
            fetcher=tasks.fetcher,
            answers=AnswerStore(database),
            llm=chat,
            client_secrets=ClientSecretStore(database),
            kept=KeptTexts(database),
            key_store=keys,
            stats=StatsDesk(StatsStore(database), NodeStore(database)),
            downloads=models.downloads,
            live=live,
            speech=speech,
            live_defaults=live_defaults(settings, device),
            file_places=settings.socket_files or default_file_places(device),
            on_drain=tasks.runner.drain,
        )
        try:
            # Closed first: a model that is still being fetched is not wanted any more.
            async with prepared(services, models.catalog, device.device):
                yield services
        finally:
            await services.replies.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Models:
    """What decodes, and what brings it."""

    catalog: ModelCatalog
    downloads: Downloads
    pool: ModelPool
    transcriber: Transcriber


@asynccontextmanager
async def _open_models(settings: Settings, device: DeviceChoice, metrics: Metrics) -> AsyncGenerator[_Models, None]:
    catalog = make_catalog(settings)
    downloads = Downloads(catalog)
    try:
        async with make_pool(settings, catalog, device, metrics=metrics) as pool:
            metrics.watch_pool(partial(_waiting, pool), partial(_memory, pool))
            transcriber = make_transcriber(settings, pool, metrics=metrics)
            yield _Models(catalog=catalog, downloads=downloads, pool=pool, transcriber=transcriber)
    finally:
        await asyncio.to_thread(downloads.close)


def _open_live(
    settings: Settings, models: _Models, chat: ChatModels, metrics: Metrics
) -> AbstractAsyncContextManager[LiveDesk]:
    return live_desk(
        models.pool,
        plan_live(settings),
        check=lambda model, options: models.transcriber.check(options, model=model),
        chat=chat,
        listener=metrics,
    )


def _waiting(pool: ModelPool) -> Mapping[str, int]:
    return {priority.value: count for priority, count in pool.waiting().items()}


def _memory(pool: ModelPool) -> Mapping[str, int]:
    return {status.model: status.memory_bytes for status in pool.loaded() if status.state is ModelState.READY}
