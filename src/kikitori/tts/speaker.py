"""The seam of speech synthesis: text in, sound out.

``speak`` is an async generator. Whoever uses it closes it (``contextlib.aclosing``), and closing it,
or cancelling whoever waits in it, stops the work at once: the process that speaks, the request to
another server. An engine speaks faster than anybody listens, and waits while nobody takes its sound.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

MIN_SPEED, MAX_SPEED = 0.25, 4.0
SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """One voice of an engine."""

    name: str
    """What ``speak`` takes; of every engine also the names of OpenAI's voices."""
    languages: tuple[str, ...] = ()
    """BCP 47 codes (``en``, ``en-us``) of what it reads; empty: it reads anything, or nobody knows."""
    title: str = ""
    """For people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerInfo:
    """One engine."""

    name: str
    """``espeak``, ``openai``, ``piper``."""
    title: str
    """For people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A piece of speech: signed 16 bit, little endian, mono. All pieces of one text have the same ``rate``."""

    pcm: bytes
    rate: int
    """Samples a second."""

    @property
    def seconds(self) -> float:
        return len(self.pcm) / SAMPLE_BYTES / self.rate


class Speaker(Protocol):
    """One engine that speaks. Belongs to one event loop; texts may be spoken side by side."""

    @property
    def info(self) -> SpeakerInfo: ...

    def prepare(self) -> None:
        """A text may come soon: begin what takes a moment. From the event loop."""
        ...

    async def voices(self) -> Sequence[Voice]:
        """The voices that may be named; the default first. Raises SpeechFailed."""
        ...

    def speak(
        self, text: str, *, voice: str = "", speed: float = 1.0, language: str = "", instructions: str = ""
    ) -> AsyncGenerator[Sound, None]:
        """``text`` as sound, piece by piece; no piece is empty, and there is none when nothing can be read aloud.

        ``voice``: empty is the default. ``speed``: 0.25 to 4. ``language`` (``de``, ``pt-BR``): what the text is
        written in, for voices that read several; others take no notice. ``instructions`` say how to speak, to
        engines that understand them. Raises InvalidOption for a voice that is not there, Busy when too much is
        being spoken, SpeechFailed.
        """
        ...

    async def close(self) -> None:
        """Let go of processes and connections. Nothing is being spoken any more."""
        ...
