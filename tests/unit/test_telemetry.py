"""Libraries that would report to their makers are told not to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAR_SILENCE = """
import numpy as np
from kikitori.audio.vad import speech_spans
assert speech_spans(np.zeros(16_000, dtype=np.float32)) == []
"""


def test_onnxruntime_keeps_no_diary(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", HEAR_SILENCE], env=environment, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
