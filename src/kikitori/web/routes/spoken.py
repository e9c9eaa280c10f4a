"""OpenAI's route for text to speech."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, Field

from kikitori.audio.encode import MEDIA_TYPES, SpeechFormat
from kikitori.errors import InvalidInput, ModelNotFound
from kikitori.services.parts import Services
from kikitori.tts.speaker import MAX_SPEED, MIN_SPEED, Sound
from kikitori.web import openapi
from kikitori.web.auth import MayTranscribe
from kikitori.web.disconnect import while_connected
from kikitori.web.json_models import json_body, json_model
from kikitori.web.speaking import SoundStream, begun, encoded, file_frames, sse_frames
from kikitori.web.state import State
from kikitori.web.streaming import EventStream, told_to_the_end

logger = logging.getLogger(__name__)
router = APIRouter(tags=["audio"])

MOST_CHARACTERS = 4_096
OPENAI_MODELS = re.compile(r"tts-1[\w.-]*|gpt-[\w.-]*tts[\w.-]*")
"""Names of OpenAI's models that speak; here they all mean the server's engine."""


def _voice_name(value: object) -> object:
    """OpenAI's SDK sends a name, or an object with the id of a voice of one's own."""
    return value.get("id") if isinstance(value, dict) else value


class SpeechRequest(BaseModel):
    model: str = Field(description="`tts-1`, `gpt-4o-mini-tts`, or the name of the server's engine.")
    input: str = Field(min_length=1, max_length=MOST_CHARACTERS, description="The text.")
    voice: Annotated[str, BeforeValidator(_voice_name)] = Field(
        description="One of OpenAI's names, or a voice of the engine's."
    )
    instructions: str | None = Field(
        None, max_length=MOST_CHARACTERS, description="How to speak, for engines that understand."
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        "mp3", description="`pcm` is 24 kHz, 16 bit, mono."
    )
    speed: float = Field(1.0, ge=MIN_SPEED, le=MAX_SPEED)
    stream_format: Literal["audio", "sse"] = Field("audio", description="The file itself, or server-sent events.")
    language: str = Field("", max_length=35, description="Ours: what the text is written in, as `de`.")

    @property
    def format(self) -> SpeechFormat:
        return SpeechFormat(self.response_format)


EXAMPLE = {"model": "tts-1", "voice": "alloy", "input": "Good morning.", "response_format": "mp3"}


@router.post(
    "/v1/audio/speech",
    summary="Turn text into speech",
    response_class=Response,
    openapi_extra=json_body(SpeechRequest, EXAMPLE),
    responses=openapi.error_responses(400, 401, 403, 404, 413, 429, 503),
)
async def speak(request: Request, state: State, caller: MayTranscribe) -> Response:
    """The text is spoken while it is sent: the first sound comes soon, and whoever goes away stops it."""
    async with AsyncExitStack() as held:
        held.enter_context(state.calls.place(caller.id))
        asked = await json_model(request, SpeechRequest)
        _check(asked, state.services)
        sounds = await held.enter_async_context(aclosing(_sounds(state.services, asked)))
        parts = await held.enter_async_context(aclosing(encoded(sounds, asked.format)))
        if asked.stream_format == "sse":
            frames = sse_frames(parts, asked.input)
        else:
            frames = file_frames(parts)
        async with while_connected(request.receive):
            frames = await held.enter_async_context(aclosing(await begun(frames)))
        headers = {"x-kikitori-engine": state.services.speech.info.name}
        if asked.stream_format == "sse":
            told = told_to_the_end(frames, stopping=lambda: state.services.draining)
            return EventStream(told, headers=headers, held=held.pop_all())
        media_type = MEDIA_TYPES[asked.format]
        return SoundStream(frames, media_type=media_type, headers=headers, held=held.pop_all())


def _check(asked: SpeechRequest, services: Services) -> None:
    """Raises InvalidInput, ModelNotFound."""
    if not asked.input.strip():
        raise InvalidInput("input has nothing to say.", remedy="Send text.", param="input")
    known = {services.speech.info.name, services.settings.tts_model}
    if asked.model not in known and not OPENAI_MODELS.fullmatch(asked.model):
        raise ModelNotFound(asked.model, remedy="tts-1 is what this server speaks with.")


async def _sounds(services: Services, asked: SpeechRequest) -> AsyncGenerator[Sound, None]:
    """What is spoken; its end is logged."""
    began, seconds = time.perf_counter(), 0.0
    speech = services.speech.speak(
        asked.input,
        voice=asked.voice,
        speed=asked.speed,
        language=asked.language,
        instructions=asked.instructions or "",
    )
    async with aclosing(speech) as sounds:
        async for sound in sounds:
            seconds += sound.seconds
            yield sound
    logger.info(
        "spoken",
        extra={
            "action": "spoken",
            "engine": services.speech.info.name,
            "characters": len(asked.input),
            "audio_seconds": round(seconds, 3),
            "seconds": round(time.perf_counter() - began, 3),
        },
    )
