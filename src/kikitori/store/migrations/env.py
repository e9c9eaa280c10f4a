"""Run by Alembic, inside the transaction that store/migrate.py opened."""

from __future__ import annotations

from alembic import context

from kikitori.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
