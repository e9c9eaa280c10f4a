"""Loaded models and who may use them."""

from __future__ import annotations

from kikitori.inference.status import ModelStatus


class ModelPool:
    """Loads, shares, unloads. Used as ``async with``."""

    def loaded(self) -> list[ModelStatus]:
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """The default model is loaded and warm."""
        raise NotImplementedError

    async def load(self, model: str, *, pin: bool = False) -> ModelStatus:
        """Load now (and keep, when pinned). Raises ModelNotFound, ModelLoadFailed."""
        raise NotImplementedError

    async def unload(self, model: str) -> None:
        """Unload when its last request ends; new requests wait for a fresh load. Raises NotFound."""
        raise NotImplementedError
