"""Recordings to measure with, made from the test samples."""

from __future__ import annotations

import itertools
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kikitori.types import SAMPLE_RATE, Audio

SAMPLES = Path(__file__).parents[1] / "tests" / "data" / "whisper-mini" / "samples"
LONG = ("en_multi_80s", "ja_multi_35s", "ko_multi_35s", "en_multi_40s")


def sample(name: str) -> Audio:
    """A sample, float32 at 16 kHz."""
    with wave.open(str(SAMPLES / f"{name}.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    return (pcm / 32_768).astype(np.float32)


def different_files(count: int, seconds: float) -> list[Audio]:
    """``count`` English recordings of ``seconds``, each beginning somewhere else."""
    source = np.concatenate([sample("en_multi_80s"), sample("en_multi_40s")])
    length = round(seconds * SAMPLE_RATE)
    starts = np.linspace(0, len(source), count, endpoint=False).astype(int)
    return [np.resize(np.roll(source, -start), length) for start in starts]


def write_wav(path: Path, seconds: float) -> Path:
    """Speech of any length, written piece by piece."""
    left = round(seconds * SAMPLE_RATE)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        for piece in _endless():
            part = piece[:left]
            file.writeframes((part * 32_767).astype("<i2").tobytes())
            left -= len(part)
            if not left:
                return path
    raise AssertionError("The samples never end.")


def _endless() -> Iterator[Audio]:
    yield from itertools.cycle([sample("en_multi_80s"), sample("en_multi_40s")])
