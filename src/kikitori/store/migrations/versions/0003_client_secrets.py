"""Secrets that open live sessions for a short time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kikitori.store.tables import MYSQL_TABLE
from kikitori.store.types import ROW_ID, Json, UtcTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "client_secrets",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("key_id", sa.BigInteger),
        sa.Column("session", Json, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_client_secrets"),
        sa.UniqueConstraint("secret_hash", name="uq_client_secrets_secret_hash"),
        **MYSQL_TABLE,
    )
    op.create_index("ix_client_secrets_expires_at", "client_secrets", ["expires_at"])
    op.create_index("ix_client_secrets_owner", "client_secrets", ["owner", "expires_at"])
