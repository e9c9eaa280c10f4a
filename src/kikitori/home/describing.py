"""What this server can do, as Wyoming asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from wyoming.info import AsrModel, AsrProgram, Attribution, Info, TtsProgram, TtsVoice

from kikitori import __version__
from kikitori.errors import KikitoriError
from kikitori.inference.models import ModelSpec
from kikitori.services.parts import Services
from kikitori.text.languages import LANGUAGE_NAMES
from kikitori.tts.speaker import Voice

OURS = Attribution(name="Kikitori", url="https://pypi.org/project/kikitori/")
PROGRAM = "kikitori"


async def describe(services: Services) -> Info:
    """Models that are here, the default first, and voices, if there are any."""
    specs = await asyncio.to_thread(services.catalog.installed)
    models = [_model(spec, services) for spec in specs if not spec.alias_of]
    return Info(asr=[_hears(models)], tts=[_speaks(voices)] if (voices := await _voices(services)) else [])


def _hears(models: list[AsrModel]) -> AsrProgram:
    return AsrProgram(
        name=PROGRAM,
        attribution=OURS,
        installed=True,
        description="Speech to text",
        version=__version__,
        models=models,
        supports_transcript_streaming=True,
    )


def _speaks(voices: Sequence[Voice]) -> TtsProgram:
    return TtsProgram(
        name=PROGRAM,
        attribution=OURS,
        installed=True,
        description="Text to speech",
        version=__version__,
        voices=[_voice(voice) for voice in voices],
        supports_synthesize_streaming=True,
    )


def _model(spec: ModelSpec, services: Services) -> AsrModel:
    return AsrModel(
        name=spec.id,
        attribution=Attribution(name=spec.owned_by, url=OURS.url),
        installed=True,
        description=spec.id,
        version=None,
        languages=_languages(spec, services),
    )


def _languages(spec: ModelSpec, services: Services) -> list[str]:
    try:
        known = services.live.info(spec.id).languages
    except KikitoriError:  # it has just been removed
        return []
    return sorted(known) if known is not None else list(LANGUAGE_NAMES)


async def _voices(services: Services) -> Sequence[Voice]:
    if not services.speech.speaks:
        return []
    try:
        return await services.speech.voices()
    except KikitoriError:  # the log of its opening says why; hearing goes on without it
        return []


def _voice(voice: Voice) -> TtsVoice:
    return TtsVoice(
        name=voice.name,
        attribution=OURS,
        installed=True,
        description=voice.title or voice.name,
        version=None,
        languages=list(voice.languages) or list(LANGUAGE_NAMES),
    )
