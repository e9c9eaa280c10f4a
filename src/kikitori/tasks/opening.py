"""Builds what tasks are made of, on an open database, and closes it in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kikitori.media.fetch import Fetcher
from kikitori.media.guard import Guard, guarded_client
from kikitori.media.sites import Sites
from kikitori.media.store import MediaStore
from kikitori.store.callbacks import CallbackStore
from kikitori.store.cleaning import Cleaning
from kikitori.store.database import Database
from kikitori.store.nodes import NodeStore
from kikitori.store.secrets import SecretStore
from kikitori.store.tasks import TaskStore
from kikitori.tasks.callback_desk import CallbackDesk
from kikitori.tasks.callbacks import CallbackListener, CallbackSender
from kikitori.tasks.changes import Changes
from kikitori.tasks.cluster import HEARTBEAT_SECONDS, this_node
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.execution import Transcriber, Workplace
from kikitori.tasks.retention import Retention
from kikitori.tasks.runner import TaskRunner
from kikitori.tasks.signing import open_signer

MARK_NAME = "database_mark"
MARK_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """How tasks are worked on here."""

    data_dir: Path
    slots: int
    """Tasks at once; 0: other nodes work on them."""
    media_url: str = ""
    max_queued: int = 0
    allowed_addresses: tuple[str, ...] = ()
    max_fetch_bytes: int = 2 * 1024**3
    max_fetch_seconds: float = 3_600.0
    site_cookies: Mapping[str, str] = field(default_factory=dict)
    site_proxy: str = ""
    max_audio_seconds: float = 24 * 3_600.0
    max_playlist_entries: int = 100
    callback_secret: str = ""
    former_callback_secret: str = ""
    callback_attempts: int = 10
    callback_timeout: float = 15.0
    callback_max_bytes: int = 256 * 1024
    media_days: float = 0.0
    task_days: float = 0.0
    heartbeat_seconds: float = HEARTBEAT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """Open: tasks are accepted, worked on, and told about."""

    desk: TaskDesk
    callbacks: CallbackDesk
    runner: TaskRunner
    """``drain`` comes before closing."""
    fetcher: Fetcher


@asynccontextmanager
async def open_tasks(
    database: Database,
    transcriber: Transcriber,
    plan: TaskPlan,
    *,
    listener: CallbackListener | None = None,
) -> AsyncGenerator[Tasks, None]:
    """What is entered last is closed first. Raises KikitoriError when the media store or a setting cannot be used."""
    secrets, store, nodes = SecretStore(database), TaskStore(database), NodeStore(database)
    media = await _open_media(plan, secrets)
    guard = Guard.allowing(plan.allowed_addresses)
    signer = await open_signer(plan.callback_secret, secrets, former=plan.former_callback_secret)
    node = this_node(slots=plan.slots, media_url=await media.identity())
    outbox = CallbackStore(database)
    sender = CallbackSender(
        outbox,
        store,
        signer,
        node_id=node.id,
        open_client=partial(guarded_client, guard, param="callback_url"),
        attempts=plan.callback_attempts,
        max_bytes=plan.callback_max_bytes,
        timeout=plan.callback_timeout,
        listener=listener,
    )
    workplace = Workplace(
        store=store,
        media=media,
        fetcher=_make_fetcher(plan, guard),
        transcriber=transcriber,
        changes=Changes(),
        folder=media.temporary,
        places=asyncio.Semaphore(max(1, plan.slots)),
        max_queued=plan.max_queued,
        on_end=sender.wake,
    )
    runner = TaskRunner(node, workplace, nodes, heartbeat_seconds=plan.heartbeat_seconds)
    retention = Retention(Cleaning(database), media, nodes, media_days=plan.media_days, task_days=plan.task_days)
    async with AsyncExitStack() as stack:
        # Closed last: the tasks that end while the node stops have callbacks, too.
        await stack.enter_async_context(sender)
        await stack.enter_async_context(runner)
        if plan.slots:
            await stack.enter_async_context(_beside(retention))
        yield Tasks(
            desk=_make_desk(workplace, runner),
            callbacks=CallbackDesk(outbox, store, sender=sender, signer=signer, guard=guard),
            runner=runner,
            fetcher=workplace.fetcher,
        )


async def _open_media(plan: TaskPlan, secrets: SecretStore) -> MediaStore:
    mark = await secrets.get_or_create(MARK_NAME, make_mark)
    media = MediaStore(plan.media_url, plan.data_dir, mark=mark)
    await media.check()
    await media.sweep()
    return media


def _make_fetcher(plan: TaskPlan, guard: Guard) -> Fetcher:
    sites = Sites(
        guard,
        cookies=plan.site_cookies,
        proxy=plan.site_proxy,
        max_bytes=plan.max_fetch_bytes,
        max_audio_seconds=plan.max_audio_seconds,
        max_entries=plan.max_playlist_entries,
    )
    return Fetcher(guard, sites, max_bytes=plan.max_fetch_bytes, max_seconds=plan.max_fetch_seconds)


def _make_desk(workplace: Workplace, runner: TaskRunner) -> TaskDesk:
    return TaskDesk(
        workplace.store,
        workplace.media,
        max_queued=workplace.max_queued,
        changes=workplace.changes,
        on_new=runner.wake,
        on_cancel=runner.cancel,
        on_end=workplace.on_end,
    )


def make_mark() -> str:
    """What tells a database from others that use the same media store."""
    return os.urandom(MARK_BYTES).hex()


@asynccontextmanager
async def _beside(retention: Retention) -> AsyncGenerator[None, None]:
    task = asyncio.create_task(retention.run(), name="kikitori-retention")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
