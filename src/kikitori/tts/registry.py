"""Which engines speak, which one is chosen, and how to open it.

The module of an engine is imported when it is chosen.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from kikitori.errors import NotFound, SpeechFailed
from kikitori.tts.plan import AUTO, NONE, SpeechPlan
from kikitori.tts.speaker import Speaker


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerEntry:
    """One row of the table."""

    name: str
    module: str
    """Its function ``make``: plan → Speaker. Blocking; raises SpeechFailed."""
    usable: Callable[[SpeechPlan], bool]
    """Whether ``auto`` may choose it. Imports no engine."""


def _piper_is_here(plan: SpeechPlan) -> bool:
    return plan.piper_voices is not None and shutil.which(plan.piper_program) is not None


def _espeak_is_here(plan: SpeechPlan) -> bool:
    from kikitori.tts.espeak import espeak_here

    return bool(espeak_here())


SPEAKERS = {
    entry.name: entry
    for entry in (
        SpeakerEntry(name="openai", module="kikitori.tts.remote", usable=lambda plan: bool(plan.url)),
        SpeakerEntry(name="piper", module="kikitori.tts.piper", usable=_piper_is_here),
        SpeakerEntry(name="espeak", module="kikitori.tts.espeak", usable=_espeak_is_here),
    )
}
"""In the order in which ``auto`` looks: what was set up, then what needs nothing."""


def chosen_engine(plan: SpeechPlan) -> str:
    """The engine that speaks; ``none``: nobody does. Raises NotFound for a name that is not in the table."""
    if plan.engine == NONE or plan.engine in SPEAKERS:
        return plan.engine
    if plan.engine != AUTO:
        raise NotFound(f"There is no engine named {plan.engine!r} that speaks.", param="tts_engine")
    return next((entry.name for entry in SPEAKERS.values() if entry.usable(plan)), NONE)


def open_engine(plan: SpeechPlan) -> Speaker:
    """The engine that was chosen. Blocking. Raises SpeechFailed, NotFound."""
    name = chosen_engine(plan)
    if name == NONE:
        raise SpeechFailed(
            "Nothing speaks here.", remedy="The operator installs espeakng-loader, or sets KIKITORI_TTS_URL."
        )
    return cast(Speaker, import_module(SPEAKERS[name].module).make(plan))
