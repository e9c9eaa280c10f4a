"""How the server's process keeps its memory."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of glibc's mallopt(3)."""
ARENAS = 2
LARGE_BYTES = 1024 * 1024


def return_free_memory() -> None:
    """Give large blocks back as soon as they are free, and keep few heaps, where the C library is glibc.

    By default every thread that decodes grows a heap of its own and keeps what it once needed:
    hundreds of megabytes after one long recording.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return
    mallopt(M_ARENA_MAX, ARENAS)
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)
