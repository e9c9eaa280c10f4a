"""What a number was measured on."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import psutil


def describe(model: str, device: str) -> str:
    """One line: date, processor, cores, memory, GPU, versions, model."""
    gibibytes = psutil.virtual_memory().total / 1024**3
    parts = [
        datetime.datetime.now(datetime.UTC).date().isoformat(),
        _gpu() if device == "cuda" else _processor(),
        f"{len(os.sched_getaffinity(0))} cores",
        f"{gibibytes:.0f} GiB",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in ("faster-whisper", "ctranslate2", "onnxruntime")),
        f"model {model}",
        device,
    ]
    return ", ".join(parts)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str:
    if not (tool := shutil.which("nvidia-smi")):
        return "GPU of unknown name"
    query = [tool, "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
