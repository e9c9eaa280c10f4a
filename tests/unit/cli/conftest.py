from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.log_state import log_as_before


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    with log_as_before():
        yield


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Kikitori keeps its things, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KIKITORI_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"
