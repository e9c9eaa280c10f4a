"""Databases for tests."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from kikitori.store.database import Database

_templates: list[Path] = []


async def migrated_sqlite(path: Path) -> str:
    """The URL of a new database at ``path`` with all tables, copied: migrations take longer than most tests."""
    if not _templates:
        folder = Path(tempfile.mkdtemp(prefix="kikitori-tests-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        async with Database(f"sqlite+aiosqlite:///{folder / 'tasks.db'}") as database:
            await database.upgrade()
        _templates.append(folder / "tasks.db")
    _copy(_templates[0], path)
    return f"sqlite+aiosqlite:///{path}"


def _copy(template: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(template, path)
