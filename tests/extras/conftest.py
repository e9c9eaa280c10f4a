"""The engines of our extras; `tools/test_extras.sh` runs these tests in an environment that has them."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

collect_ignore_glob = ["test_*.py"] if find_spec("whisper") is None else []


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mini model as a file of openai-whisper."""
    path = tmp_path_factory.mktemp("models") / "mini.pt"
    subprocess.run([sys.executable, ROOT / "tools" / "whisper_mini" / "export.py", "--openai", path], check=True)
    return path
