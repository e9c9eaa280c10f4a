"""Which models there are: names, aliases, folders on disk, the hub. Never loads one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that can be loaded: what clients call it, and where it lies."""

    id: str
    engine: str
    """Name of the engine that loads it (engines/registry.py)."""
    path: str = ""
    """Folder or file on disk; "" for an engine that carries its model."""
    size_bytes: int = 0
    created: int = 0
    """Unix seconds."""
    owned_by: str = "kikitori"
