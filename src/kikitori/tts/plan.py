"""What the operator decided about speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

AUTO, NONE = "auto", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechPlan:
    """What the operator decided about speech."""

    engine: str = AUTO
    url: str = ""
    api_key: str = field(default="", repr=False)
    model: str = ""
    voice: str = ""
    voices: Mapping[str, str] = field(default_factory=dict)
    """Other names of voices: ``{"alloy": "en_US-amy-medium"}``."""
    silence_seconds: float = 30.0
    """An engine that says nothing for so long has failed."""
    piper_program: str = "piper"
    piper_voices: Path | None = None
    places: int = 8
    """Texts that are spoken at once; others wait."""
