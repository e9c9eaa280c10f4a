"""``kikitori worker``: a node that works on tasks and answers no requests."""

from __future__ import annotations

import asyncio
from typing import Any

from kikitori.cli.apps import App
from kikitori.cli.config import blamed_on_settings, load_settings
from kikitori.cli.exits import guarded, say
from kikitori.cli.flags import Flag, with_flags
from kikitori.cli.serve import serve_flags

app = App()

OF_REQUESTS = frozenset(
    "host port public_url console console_port console_origins insecure tls_cert tls_key cors_origins "
    "max_queued_tasks key_concurrency key_streams socket_files worker "
    "tts_url llm_base_url llm_model llm_context_tokens llm_timeout_seconds".split()
)
"""Settings that mean nothing where no request comes."""


def worker_flags() -> list[Flag]:
    return [flag for flag in serve_flags() if flag.name not in OF_REQUESTS and not flag.name.startswith("live_")]


@app.command()
@guarded
@with_flags("settings", worker_flags())
def worker(*, settings: dict[str, Any]) -> None:
    """Work on the tasks of a database.

    Several nodes share a database (--database-url) and a media store (--media-url). SIGTERM or Ctrl-C ends this one:
    what it works on goes back in the queue, and another node goes on where it was.
    """
    loaded = load_settings({**settings, "worker": True})
    from kikitori.cli.interrupts import run_interruptibly
    from kikitori.logs import configure_logging
    from kikitori.services.opening import open_services
    from kikitori.web.memory import return_free_memory, trimmed_memory

    configure_logging(loaded.log_format, loaded.log_level)
    return_free_memory()

    async def work() -> None:
        async with trimmed_memory(), open_services(loaded):
            say(f"Kikitori works on the tasks of {_shown(loaded.database)}. Ctrl-C stops it.")
            await asyncio.get_running_loop().create_future()

    try:
        with blamed_on_settings():
            run_interruptibly(work())
    except KeyboardInterrupt:  # as a server ends
        say("Stopped.")


def _shown(url: str) -> str:
    from kikitori.store.database import Database

    return Database(url).shown
