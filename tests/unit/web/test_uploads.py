import os
import subprocess
import sys
from pathlib import Path

import pytest

from kikitori.web.uploads import Uploads


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def test_what_a_dead_process_left_is_removed(folder: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (folder / f"upload-{ended.pid}-abc").write_bytes(b"x")
    (folder / f"upload-{os.getpid()}-abc").write_bytes(b"from a process that had our number before")
    (folder / f"upload-{os.getppid()}-abc").write_bytes(b"of a process that lives")
    (folder / "something else").write_bytes(b"x")
    Uploads(folder, max_bytes=1).remove_leftovers()
    assert {path.name for path in folder.iterdir()} == {f"upload-{os.getppid()}-abc", "something else"}


def test_nothing_to_remove(tmp_path: Path) -> None:
    Uploads(tmp_path / "absent", max_bytes=1).remove_leftovers()
    assert not (tmp_path / "absent").exists()
