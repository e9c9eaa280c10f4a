"""The bundled sample: a few seconds of speech that every engine for English should hear."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def sample_path() -> Path:
    """A wav file of 7.1 s: 16 kHz, mono, synthesised."""
    return Path(str(files(__name__) / "sample.wav"))


def sample_text() -> str:
    """What the embedded engine hears in it: what is said, in lower case and without marks."""
    return (files(__name__) / "sample.txt").read_text(encoding="utf-8").strip()
