"""A pool with one model that hears what a script says, when it is let."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kikitori.engines.base import EngineInfo, Hypothesis, Language
from kikitori.errors import ModelNotFound
from kikitori.options import DecodeOptions
from kikitori.testing import fake_info
from kikitori.types import SAMPLE_RATE, Audio, Priority, Segment, Word

TEXT = " somebody speaks"


class FakeModel:
    """Hears ``TEXT`` in whatever it gets. ``gate`` holds every decoding while it is cleared."""

    interims_at_once = 2

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.decoded: list[tuple[Priority, int]] = []
        """Priority and samples of each decoding that was done."""
        self.asked: list[DecodeOptions] = []
        """Of each of them."""
        self.running = self.given_up = 0
        self.heard: list[int] = []
        """Samples of its utterance so far, each time it was asked what it hears."""
        self.provisional = False
        """Of hypotheses while it listens."""
        self.errors: list[Exception] = []
        """Raised one after the other, before anything is heard."""

    async def decode(
        self, audio: Audio, options: DecodeOptions, *, priority: Priority = Priority.NORMAL
    ) -> AsyncGenerator[Language | Segment, None]:
        self.running += 1
        try:
            await self.gate.wait()
            if self.errors:
                raise self.errors.pop(0)
            self.decoded.append((priority, len(audio)))
            self.asked.append(options)
            yield Language(code="en", probability=0.9)
            yield said(len(audio) / SAMPLE_RATE)
        except (asyncio.CancelledError, GeneratorExit):
            self.given_up += 1
            raise
        finally:
            self.running -= 1

    def listen(self, options: DecodeOptions) -> FakeListening:
        return FakeListening(self)


class FakeListening:
    """One utterance of a streaming engine."""

    def __init__(self, model: FakeModel) -> None:
        self._model, self._samples = model, 0
        model.running += 1

    async def accept(self, audio: Audio) -> Hypothesis:
        self._samples += len(audio)
        self._model.heard.append(self._samples)
        words = said(self._samples / SAMPLE_RATE).words or ()
        return Hypothesis(text=TEXT.strip(), words=words, provisional=self._model.provisional)

    async def finish(self, audio: Audio) -> tuple[Segment, ...]:
        self._samples += len(audio)
        self._model.decoded.append((Priority.LIVE_FINAL, self._samples))
        return (said(self._samples / SAMPLE_RATE),)

    async def close(self) -> None:
        self._model.running -= 1


def said(seconds: float) -> Segment:
    middle = seconds / 2
    words = (
        Word(word=" somebody", start=0.0, end=middle, probability=0.9),
        Word(word=" speaks", start=middle, end=seconds, probability=0.9),
    )
    return Segment(id=0, start=0.0, end=seconds, text=TEXT, words=words, avg_logprob=-0.1)


class FakePool:
    """Every name is the one model, but for ``missing``."""

    def __init__(self, *, streaming: bool = False) -> None:
        self.model = FakeModel()
        self.streaming = streaming
        self.held = 0

    def info(self, name: str = "") -> EngineInfo:
        if name == "missing":
            raise ModelNotFound(name)
        info = fake_info()
        return EngineInfo(name="fake", title="Fake", streaming=True) if self.streaming else info

    async def load(self, name: str, *, pin: bool = False) -> Any:
        return None

    @asynccontextmanager
    async def use(self, name: str = "") -> AsyncIterator[Any]:
        self.held += 1
        try:
            yield self.model
        finally:
            self.held -= 1
