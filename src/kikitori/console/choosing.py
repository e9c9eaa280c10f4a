"""What may be chosen for a recording: models and languages, named for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kikitori.console.words import say
from kikitori.text.languages import LANGUAGE_NAMES

GENERAL, TUNED = "汎用モデル", "チューニングモデル"
"""Aliases that every server has."""
COMPATIBLE = ("whisper-1", "gpt-4o-")
"""Names that programs written for OpenAI send; they mean the default model."""
FIRST = {"ja": "日本語", "en": "English", "ko": "한국어", "zh": "中文"}
AUTO = ""


def model_choices(listed: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names to choose among: general, tuned, and what the server has."""
    names = [str(model["id"]) for model in listed if not str(model["id"]).startswith(COMPATIBLE)]
    return [GENERAL, TUNED, *(name for name in names if name not in (GENERAL, TUNED))]


def model_label(name: str) -> str:
    return {GENERAL: say("file.model.general"), TUNED: say("file.model.tuned")}.get(name, name)


def language_choices() -> list[str]:
    """Codes; those of the console's readers first."""
    return [
        AUTO,
        *FIRST,
        *(code for code in sorted(LANGUAGE_NAMES, key=LANGUAGE_NAMES.__getitem__) if code not in FIRST),
    ]


def language_label(code: str) -> str:
    if code == AUTO:
        return say("file.spoken.auto")
    return FIRST.get(code) or LANGUAGE_NAMES.get(code, code).title()
