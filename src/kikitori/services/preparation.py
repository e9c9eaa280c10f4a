"""The models that a server has from its start: fetched and loaded while it already answers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio.to_thread

from kikitori.errors import DecodingCancelled, KikitoriError
from kikitori.inference.hub import OnProgress
from kikitori.inference.models import ModelCatalog
from kikitori.services.parts import Services

logger = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
"""After a model that should be there from the start could not be had, it is tried again."""


@asynccontextmanager
async def prepared(services: Services, catalog: ModelCatalog, device: str) -> AsyncGenerator[None, None]:
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
            if self._stopped.is_set():
                raise DecodingCancelled
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
