from __future__ import annotations

import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

from kikitori.audio.pcm import Encoding, to_float

Audio = npt.NDArray[np.float32]

settings.register_profile("audio", deadline=None)  # the machine may be busy
settings.load_profile("audio")


def _read(path: Path) -> Audio:
    with wave.open(str(path)) as file:
        return to_float(file.readframes(file.getnframes()), Encoding.S16LE)


@pytest.fixture(scope="session")
def hello(hello_wav: Path) -> Audio:
    """1.5 s of speech."""
    return _read(hello_wav)


@pytest.fixture(scope="session")
def speech(samples: Mapping[str, Any]) -> Callable[[str], Audio]:
    """The mini model's recordings by name."""
    return lambda name: _read(samples[name].path)
