"""The only home of SQL: tables, queries and migrations (SQLAlchemy Core, async; Alembic)."""
