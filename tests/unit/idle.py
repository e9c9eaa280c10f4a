"""Parts of a server that a test of other things never uses: real ones, on a database that is not open."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from kikitori.llm.client import ChatModels
from kikitori.media.guard import Guard, guarded_client
from kikitori.media.store import MediaStore
from kikitori.store.answers import AnswerStore
from kikitori.store.callbacks import CallbackStore
from kikitori.store.database import Database
from kikitori.store.tasks import TaskStore
from kikitori.tasks.callback_desk import CallbackDesk
from kikitori.tasks.callbacks import CallbackSender
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.signing import Signer, make_secret


def idle_parts(data_dir: Path, database: Database | None = None) -> dict[str, Any]:
    """Arguments of ``Services``: ``tasks``, ``callbacks``, ``answers``, ``llm``."""
    database = database or Database(f"sqlite+aiosqlite:///{data_dir / 'kikitori.db'}")
    store, outbox, guard, signer = TaskStore(database), CallbackStore(database), Guard.allowing(), Signer(make_secret())
    client = partial(guarded_client, guard)
    sender = CallbackSender(outbox, store, signer, node_id="node_1", open_client=client)
    return {
        "tasks": TaskDesk(store, MediaStore("", data_dir)),
        "callbacks": CallbackDesk(outbox, store, sender=sender, signer=signer, guard=guard),
        "answers": AnswerStore(database),
        "llm": ChatModels(guarded=client),
    }
