"""Parts of a server that a test of other things never uses: real ones, on a database that is not open."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from kikitori.errors import ModelNotFound
from kikitori.inference.downloads import Downloads
from kikitori.inference.hub import OnProgress
from kikitori.inference.models import ModelSpec
from kikitori.llm.client import ChatModels
from kikitori.media.guard import Guard, guarded_client
from kikitori.media.store import MediaStore
from kikitori.sessions.desk import LiveDesk, LivePlan
from kikitori.store.answers import AnswerStore
from kikitori.store.callbacks import CallbackStore
from kikitori.store.client_secrets import ClientSecretStore
from kikitori.store.database import Database
from kikitori.store.kept import KeptTexts
from kikitori.store.keys import KeyStore
from kikitori.store.nodes import NodeStore
from kikitori.store.stats import StatsStore
from kikitori.store.tasks import TaskStore
from kikitori.tasks.callback_desk import CallbackDesk
from kikitori.tasks.callbacks import CallbackSender
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.signing import Signer, make_secret
from kikitori.tasks.stats import StatsDesk


def idle_parts(data_dir: Path, database: Database | None = None) -> dict[str, Any]:
    """Arguments of ``Services``: those that stand on a database, and ``llm`` and ``live``."""
    database = database or Database(f"sqlite+aiosqlite:///{data_dir / 'kikitori.db'}")
    store, outbox, guard, signer = TaskStore(database), CallbackStore(database), Guard.allowing(), Signer(make_secret())
    client = partial(guarded_client, guard)
    sender = CallbackSender(outbox, store, signer, node_id="node_1", open_client=client)
    return {
        "tasks": TaskDesk(store, MediaStore("", data_dir)),
        "callbacks": CallbackDesk(outbox, store, sender=sender, signer=signer, guard=guard),
        "answers": AnswerStore(database),
        "llm": ChatModels(guarded=client),
        "client_secrets": ClientSecretStore(database),
        "kept": KeptTexts(database),
        "key_store": KeyStore(database),
        "stats": StatsDesk(StatsStore(database), NodeStore(database)),
        "downloads": Downloads(NoHub()),
        "live": idle_desk(),
    }


class NoHub:
    """Has no model."""

    def pull(self, name: str, on_progress: OnProgress | None = None) -> ModelSpec:
        raise ModelNotFound(name)


def idle_desk() -> LiveDesk:
    """A desk that nobody goes to."""
    nothing: Any = None
    return LiveDesk(nothing, LivePlan(), check=lambda model, options: None)
