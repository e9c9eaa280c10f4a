"""Work side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


@asynccontextmanager
async def side_by_side() -> AsyncGenerator[asyncio.TaskGroup, None]:
    """A TaskGroup that raises the first error of its tasks itself, not wrapped in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:  # of any kind, since callers tell them apart
        raise errors.exceptions[0] from None
