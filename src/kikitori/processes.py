"""Processes of this machine."""

from __future__ import annotations

import os


def process_runs(pid: int) -> bool:
    """A process of this machine other than this one has the number ``pid``."""
    if pid == os.getpid():
        return False  # an earlier process had this number
    if os.name == "nt":
        return True  # there, asking would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """It has ended, and its parent has not looked yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] == [b"Z"]
    except OSError:
        return False
