"""Recordings opened to be sent."""

from __future__ import annotations

import asyncio
import io
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, cast

from kikitori.cli.inputs import Recording
from kikitori.cli.interrupts import StoppableInput
from kikitori.errors import InvalidMedia


@asynccontextmanager
async def opened(recording: Recording, stdin: StoppableInput) -> AsyncIterator[BinaryIO]:
    """The file; of what can be read only once, a copy. Raises InvalidMedia."""
    try:
        source = await asyncio.to_thread(recording.path.open, "rb") if recording.path else _piped(stdin)
    except OSError as exc:
        raise InvalidMedia(f"It cannot be read: {exc.strerror}.", remedy="") from exc
    with source:
        if not recording.is_stream:
            yield source
            return
        with tempfile.TemporaryFile() as copy:  # the length is sent first, and a pipe has none
            await asyncio.to_thread(shutil.copyfileobj, source, copy)
            yield copy


def _piped(stdin: StoppableInput) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(stdin))
