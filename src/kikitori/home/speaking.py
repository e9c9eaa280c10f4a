"""Text to speech for one connection: a text at once, or as it is written, sentence by sentence."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import Event
from wyoming.tts import SynthesizeVoice

from kikitori.errors import InvalidOption
from kikitori.replies.sentences import SentenceCutter, speakable
from kikitori.tts.speaker import SAMPLE_BYTES, Speaker

LONGEST_TEXT = 20_000
"""Characters."""
CHUNK_BYTES = 4_096
SILENT_RATE = 22_050
"""Of an answer without any sound."""


class Speaking:
    """One answer: its sound begins once and ends once, however many pieces the text comes in."""

    def __init__(self, speaker: Speaker, voice: SynthesizeVoice | None) -> None:
        self._speaker = speaker
        self._voice = _text("voice.name", voice.name if voice else None)
        self._language = _text("voice.language", voice.language if voice else None)
        self._cutter = SentenceCutter()
        self._characters = 0
        self._begun = False

    async def say(self, text: str) -> AsyncGenerator[Event, None]:
        """The sound of the sentences that are complete by now. Raises KikitoriError."""
        self._characters += len(_text("text", text))
        if self._characters > LONGEST_TEXT:
            raise InvalidOption("text", f"{self._characters:,} characters", f"up to {LONGEST_TEXT:,} characters")
        async with aclosing(self._spoken([piece.text for piece in self._cutter.push(text)])) as events:
            async for event in events:
                yield event

    async def finish(self) -> AsyncGenerator[Event, None]:
        """The sound of the rest, and its end. Raises KikitoriError."""
        async with aclosing(self._spoken([piece.text for piece in self._cutter.finish()])) as events:
            async for event in events:
                yield event
        if not self._begun:
            yield AudioStart(rate=SILENT_RATE, width=SAMPLE_BYTES, channels=1).event()
        yield AudioStop().event()

    async def _spoken(self, texts: Sequence[str]) -> AsyncGenerator[Event, None]:
        for text in filter(None, map(speakable, texts)):
            speech = self._speaker.speak(text, voice=self._voice, language=self._language)
            async with aclosing(speech) as sounds:
                async for sound in sounds:
                    if not self._begun:
                        self._begun = True
                        yield AudioStart(rate=sound.rate, width=SAMPLE_BYTES, channels=1).event()
                    for at in range(0, len(sound.pcm), CHUNK_BYTES):
                        part = sound.pcm[at : at + CHUNK_BYTES]
                        yield AudioChunk(rate=sound.rate, width=SAMPLE_BYTES, channels=1, audio=part).event()


def _text(name: str, value: object) -> str:
    """None is no text. Raises InvalidOption."""
    if value is not None and not isinstance(value, str):
        raise InvalidOption(name, value, "text")
    return value or ""
