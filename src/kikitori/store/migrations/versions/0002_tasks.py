"""Tasks and what belongs to them, nodes, and shared secrets."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from kikitori.store.tables import MYSQL_TABLE
from kikitori.store.types import LONG_TEXT, ROW_ID, SEARCH_TERMS, Json, UtcTime

revision = "0002"
down_revision = "0001"

LISTED = ("status", "priority", "language", "engine", "model", "platform", "created_at", "finished_at", "duration")

SQLITE_SEARCH = (
    """
    CREATE VIRTUAL TABLE transcript_search USING fts5(
        terms, content = 'transcripts', content_rowid = 'task', tokenize = 'ascii', detail = none
    )
    """,
    """
    CREATE TRIGGER transcripts_added AFTER INSERT ON transcripts BEGIN
        INSERT INTO transcript_search (rowid, terms) VALUES (new.task, new.terms);
    END
    """,
    """
    CREATE TRIGGER transcripts_removed AFTER DELETE ON transcripts BEGIN
        INSERT INTO transcript_search (transcript_search, rowid, terms) VALUES ('delete', old.task, old.terms);
    END
    """,
)


def upgrade() -> None:
    _create_tasks()
    _create_parts_of_tasks()
    _create_search()
    _create_callbacks()
    _create_nodes_and_secrets()


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("number", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("task_type", sa.String(16), nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("media_key", sa.String(500)),
        sa.Column("media_bytes", sa.BigInteger),
        sa.Column("fetched", sa.Boolean, nullable=False),
        sa.Column("file_name", sa.String(500), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("engine", sa.String(40), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("options", Json(), nullable=False),
        sa.Column("formats", Json(), nullable=False),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("platform", sa.String(100), nullable=False),
        sa.Column("details", Json(), nullable=False),
        sa.Column("callback_url", sa.Text),
        sa.Column("idempotency_key", sa.String(200)),
        sa.Column("parent", sa.String(40)),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime()),
        sa.Column("started_at", UtcTime()),
        sa.Column("finished_at", UtcTime()),
        sa.Column("duration", sa.Double),
        sa.Column("seconds_done", sa.Double, nullable=False),
        sa.Column("language", sa.String(16), nullable=False),
        sa.Column("language_probability", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("node", sa.String(100)),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("error", Json()),
        sa.Column("checkpoint", Json()),
        sa.Column("rank", sa.BigInteger),
        sa.Column("queued_at", UtcTime()),
        sa.PrimaryKeyConstraint("number", name="pk_tasks"),
        **MYSQL_TABLE,
    )
    for name in LISTED:
        op.create_index(f"ix_tasks_{name}", "tasks", [name, "number"])
        op.create_index(f"ix_tasks_owner_{name}", "tasks", ["owner", name, "number"])
    op.create_index("ix_tasks_owner", "tasks", ["owner", "number"])
    op.create_index("uq_tasks_id", "tasks", ["id"], unique=True)
    op.create_index("uq_tasks_idempotency", "tasks", ["owner", "idempotency_key"], unique=True)
    waits = sa.text("rank IS NOT NULL")
    queued: dict[str, Any] = {"sqlite_where": waits, "postgresql_where": waits}
    op.create_index("ix_tasks_queue", "tasks", ["fetched", "priority", "rank", "number"], **queued)
    op.create_index("ix_tasks_queue_owner", "tasks", ["owner", "priority", "rank"], **queued)
    op.create_index("ix_tasks_queue_age", "tasks", ["fetched", "priority", "queued_at"], **queued)
    op.create_index("ix_tasks_queue_expiry", "tasks", ["expires_at"], **queued)
    has_media = sa.text("media_key IS NOT NULL")
    op.create_index(
        "ix_tasks_media", "tasks", ["fetched", "finished_at"], sqlite_where=has_media, postgresql_where=has_media
    )


def _create_parts_of_tasks() -> None:
    op.create_table(
        "task_tags",
        sa.Column("tag", sa.String(100), nullable=False),
        sa.Column("task", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("tag", "task", name="pk_task_tags"),
        _of_task("task_tags"),
        **MYSQL_TABLE,
    )
    op.create_index("ix_task_tags_owner", "task_tags", ["owner", "tag", "task"])
    op.create_index("ix_task_tags_task", "task_tags", ["task"])
    op.create_table(
        "segments",
        sa.Column("task", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("start", sa.Double, nullable=False),
        sa.Column("end", sa.Double, nullable=False),
        sa.Column("text", LONG_TEXT, nullable=False),
        sa.Column("rest", Json(), nullable=False),
        sa.PrimaryKeyConstraint("task", "id", name="pk_segments"),
        _of_task("segments"),
        **MYSQL_TABLE,
    )
    op.create_table(
        "transcripts",
        sa.Column("task", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("text", LONG_TEXT, nullable=False),
        sa.Column("terms", SEARCH_TERMS, nullable=False),
        sa.PrimaryKeyConstraint("task", name="pk_transcripts"),
        _of_task("transcripts"),
        **MYSQL_TABLE,
    )
    op.create_table(
        "task_events",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("task", ROW_ID, nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("data", Json(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_task_events"),
        _of_task("task_events"),
        **MYSQL_TABLE,
    )
    op.create_index("ix_task_events_task", "task_events", ["task", "id"])
    op.create_table(
        "answers",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("task", ROW_ID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("question", LONG_TEXT, nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("language", sa.String(100), nullable=False),
        sa.Column("text", LONG_TEXT, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_answers"),
        _of_task("answers"),
        **MYSQL_TABLE,
    )
    op.create_index("ix_answers_task", "answers", ["task", "id"])


def _create_search() -> None:
    match op.get_context().dialect.name:
        case "sqlite":
            for statement in SQLITE_SEARCH:
                op.execute(statement)
        case "postgresql":
            op.create_index("ix_transcripts_terms", "transcripts", ["terms"], postgresql_using="gin")
        case _:
            op.create_index("ix_transcripts_terms", "transcripts", ["terms"], mysql_prefix="FULLTEXT")


def _create_callbacks() -> None:
    op.create_table(
        "callbacks",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("task", ROW_ID, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", UtcTime()),
        sa.Column("locked_until", UtcTime()),
        sa.Column("locked_by", sa.String(100)),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("delivered_at", UtcTime()),
        sa.PrimaryKeyConstraint("id", name="pk_callbacks"),
        _of_task("callbacks"),
        **MYSQL_TABLE,
    )
    op.create_index("ix_callbacks_task", "callbacks", ["task"])
    op.create_index("ix_callbacks_due", "callbacks", ["status", "next_attempt_at"])
    op.create_table(
        "callback_attempts",
        sa.Column("callback", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("status_code", sa.Integer),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("callback", "number", name="pk_callback_attempts"),
        sa.ForeignKeyConstraint(
            ["callback"], ["callbacks.id"], name="fk_callback_attempts_callback", ondelete="CASCADE"
        ),
        **MYSQL_TABLE,
    )


def _create_nodes_and_secrets() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(100), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("version", sa.String(50), nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("media_url", sa.Text, nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("heartbeat_at", UtcTime(), nullable=False),
        sa.Column("stopped_at", UtcTime()),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
        **MYSQL_TABLE,
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
        **MYSQL_TABLE,
    )


def _of_task(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["task"], ["tasks.number"], name=f"fk_{table}_task", ondelete="CASCADE")
