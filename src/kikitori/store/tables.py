"""The tables, as they are after the last migration (a test compares the two on every database)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

from kikitori.store.types import LONG_TEXT, ROW_ID, SEARCH_TERMS, Json, UtcTime

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

MYSQL_TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}
"""Text compares byte for byte on MySQL too, as it does on the others."""

metadata = MetaData(naming_convention=NAMING)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False),
    Column("key_hash", String(64), nullable=False, unique=True),
    Column("prefix", String(16), nullable=False, index=True),
    Column("owner", String(200), nullable=False),
    Column("scopes", String(200), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_used_at", UtcTime),
    Column("revoked_at", UtcTime),
    **MYSQL_TABLE,
)

tasks = Table(
    "tasks",
    metadata,
    Column("number", ROW_ID, primary_key=True, autoincrement=True),
    # Short, and in the order of creation: what the other tables and the indexes point at.
    Column("id", String(40), nullable=False),
    Column("owner", String(200), nullable=False),
    Column("status", String(16), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("task_type", String(16), nullable=False),
    Column("url", Text),
    Column("media_key", String(500)),
    Column("media_bytes", BigInteger),
    Column("media_hash", String(64)),
    Column("fetched", Boolean, nullable=False),
    Column("file_name", String(500), nullable=False),
    Column("model", String(200), nullable=False),
    Column("engine", String(40), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("options", Json, nullable=False),
    Column("formats", Json, nullable=False),
    Column("tags", Json, nullable=False),
    Column("platform", String(100), nullable=False),
    Column("details", Json, nullable=False),
    Column("callback_url", Text),
    Column("idempotency_key", String(200)),
    Column("parent", String(40)),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("duration", Double),
    Column("seconds_done", Double, nullable=False),
    Column("language", String(16), nullable=False),
    Column("language_probability", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("node", String(100)),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error", Json),
    Column("checkpoint", Json),
    # Its place in the queue: NULL where it does not wait there.
    Column("rank", BigInteger),
    Column("queued_at", UtcTime),
    **MYSQL_TABLE,
)

# Each filter and order of a list has an index, for one owner and for all of them, in the order of numbers.
LISTED = ("status", "priority", "language", "engine", "model", "platform", "created_at", "finished_at", "duration")
for name in LISTED:
    Index(f"ix_tasks_{name}", tasks.c[name], tasks.c.number)
    Index(f"ix_tasks_owner_{name}", tasks.c.owner, tasks.c[name], tasks.c.number)
Index("ix_tasks_owner", tasks.c.owner, tasks.c.number)
Index("uq_tasks_id", tasks.c.id, unique=True)
Index("uq_tasks_idempotency", tasks.c.owner, tasks.c.idempotency_key, unique=True)

QUEUED: dict[str, Any] = {
    "sqlite_where": tasks.c.rank.is_not(None),
    "postgresql_where": tasks.c.rank.is_not(None),
}
"""Indexes of what waits, as small as the queue; MySQL knows only whole ones."""
Index("ix_tasks_queue", tasks.c.fetched, tasks.c.priority, tasks.c.rank, tasks.c.number, **QUEUED)
Index("ix_tasks_queue_owner", tasks.c.owner, tasks.c.priority, tasks.c.rank, **QUEUED)
Index("ix_tasks_queue_age", tasks.c.fetched, tasks.c.priority, tasks.c.queued_at, **QUEUED)
Index("ix_tasks_queue_expiry", tasks.c.expires_at, **QUEUED)
Index(
    "ix_tasks_media",
    tasks.c.fetched,
    tasks.c.finished_at,
    sqlite_where=tasks.c.media_key.is_not(None),
    postgresql_where=tasks.c.media_key.is_not(None),
)


def _task(**arguments: Any) -> Column[int]:
    return Column("task", ROW_ID, ForeignKey("tasks.number", ondelete="CASCADE"), nullable=False, **arguments)


task_tags = Table(
    "task_tags",
    metadata,
    Column("tag", String(100), primary_key=True),
    _task(primary_key=True, autoincrement=False),
    Column("owner", String(200), nullable=False),
    Index("ix_task_tags_owner", "owner", "tag", "task"),
    Index("ix_task_tags_task", "task"),
    **MYSQL_TABLE,
)

segments = Table(
    "segments",
    metadata,
    _task(primary_key=True, autoincrement=False),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("start", Double, nullable=False),
    Column("end", Double, nullable=False),
    Column("text", LONG_TEXT, nullable=False),
    Column("rest", Json, nullable=False),
    **MYSQL_TABLE,
)


transcripts = Table(
    "transcripts",
    metadata,
    _task(primary_key=True, autoincrement=False),
    Column("text", LONG_TEXT, nullable=False),
    Column("terms", SEARCH_TERMS, nullable=False),
    # Of PostgreSQL and MySQL; SQLite's is a table, transcript_search, which triggers keep up to date.
    Index("ix_transcripts_terms", "terms", postgresql_using="gin", mysql_prefix="FULLTEXT"),
    **MYSQL_TABLE,
)

task_events = Table(
    "task_events",
    metadata,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    _task(),
    Column("type", String(16), nullable=False),
    Column("data", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Index("ix_task_events_task", "task", "id"),
    **MYSQL_TABLE,
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", String(40), primary_key=True),
    _task(),
    Column("url", Text, nullable=False),
    Column("host", String(255), nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcTime),
    # Until then one node has it, whatever next_attempt_at says.
    Column("locked_until", UtcTime),
    Column("locked_by", String(100)),
    Column("created_at", UtcTime, nullable=False),
    Column("delivered_at", UtcTime),
    Index("ix_callbacks_task", "task"),
    Index("ix_callbacks_due", "status", "next_attempt_at"),
    **MYSQL_TABLE,
)

callback_attempts = Table(
    "callback_attempts",
    metadata,
    Column("callback", String(40), ForeignKey("callbacks.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("status_code", Integer),
    Column("error", Text, nullable=False),
    Column("response", Text, nullable=False),
    Column("seconds", Double, nullable=False),
    **MYSQL_TABLE,
)

answers = Table(
    "answers",
    metadata,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    _task(),
    Column("kind", String(16), nullable=False),
    Column("question", LONG_TEXT, nullable=False),
    Column("model", String(200), nullable=False),
    Column("language", String(100), nullable=False),
    Column("text", LONG_TEXT, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Index("ix_answers_task", "task", "id"),
    **MYSQL_TABLE,
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", String(100), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", String(50), nullable=False),
    Column("slots", Integer, nullable=False),
    Column("media_url", Text, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("heartbeat_at", UtcTime, nullable=False),
    Column("stopped_at", UtcTime),
    **MYSQL_TABLE,
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("value", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    **MYSQL_TABLE,
)

client_secrets = Table(
    "client_secrets",
    metadata,
    Column("id", ROW_ID, primary_key=True, autoincrement=True),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("owner", String(200), nullable=False),
    # The API key that it was made with; NULL: there was none.
    Column("key_id", BigInteger),
    Column("session", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    **MYSQL_TABLE,
)
Index("ix_client_secrets_owner", client_secrets.c.owner, client_secrets.c.expires_at)
