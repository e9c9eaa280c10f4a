from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from kikitori.cli.local import fetch_default_model
from kikitori.cli.progress import Silence
from kikitori.errors import DecodingCancelled
from kikitori.inference.models import ModelCatalog
from kikitori.testing import until


class EndlessDownload:
    """A catalog whose model never comes."""

    def __init__(self) -> None:
        self.begun, self.ended = threading.Event(), threading.Event()

    def default_spec(self, on_progress: Callable[[int, int], None], on_notice: object, **other: Any) -> None:
        try:
            while True:
                on_progress(1, 2)
                self.begun.set()
        except DecodingCancelled:
            self.ended.set()
            raise


def test_decoding_here_needs_no_database_and_no_server() -> None:
    """They would take longer to import than all the rest."""
    program = "import json, sys, kikitori.cli.local; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "kikitori.inference.pool" in loaded
    assert not loaded & {"sqlalchemy", "alembic", "fastapi", "uvicorn", "kikitori.services.parts"}


async def test_cancelling_ends_a_download() -> None:
    catalog = EndlessDownload()
    fetching = asyncio.create_task(fetch_default_model(cast(ModelCatalog, catalog), "cpu", Silence()))
    await until(catalog.begun.is_set)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    await until(catalog.ended.is_set)
