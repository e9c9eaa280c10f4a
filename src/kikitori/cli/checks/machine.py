"""The Python underneath and the packages around."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from kikitori.cli.checks.lines import Line, State

if TYPE_CHECKING:
    from kikitori.settings import Settings

PACKAGES = (
    "ctranslate2",
    "faster-whisper",
    "pocketsphinx",
    "onnxruntime",
    "av",
    "numpy",
    "fastapi",
    "uvicorn",
    "sqlalchemy",
    "pydantic",
)


def check_python(settings: Settings) -> Iterator[Line]:
    detail = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}"
    old = sys.version_info < (3, 11)
    remedy = "Use Python 3.11 or later." if old else ""
    yield Line(name="python", state=State.FAIL if old else State.OK, detail=detail, remedy=remedy)


def check_packages(settings: Settings) -> Iterator[Line]:
    found, missing = [], []
    for name in ("kikitori", *PACKAGES):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Line(name="packages", state=State.OK, detail=", ".join(found))
    if missing:
        remedy = "Reinstall Kikitori: pip install --force-reinstall kikitori."
        yield Line(name="packages", state=State.FAIL, detail=f"Missing: {', '.join(missing)}.", remedy=remedy)
