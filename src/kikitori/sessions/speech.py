"""Finds speech for all sessions: one thread, one call for whatever has come in meanwhile.

A muted microphone sends hours of nothing, and hundreds of them would keep a core busy: what cannot be heard is no
speech, without a look of the model, which begins afresh with the first sound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeAlias

import numpy as np

from kikitori.audio.vad import FRAME_SAMPLES, Probabilities
from kikitori.audio.vad_batch import VadBatch, VadState
from kikitori.types import SAMPLE_RATE, Audio

logger = logging.getLogger(__name__)

GATHER_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
"""Between two calls: no session has more than one new frame by then."""
LOOK_SAMPLES = 4 * SAMPLE_RATE
"""Most audio of a session in one call, so that who sends minutes at once does not hold up the others."""
INAUDIBLE = 1e-4
"""Peak below which nobody can be heard."""
QUIET_PROBABILITY = 0.1
"""Speech has ended beyond doubt: what comes after it may be passed over when it is inaudible."""

Work: TypeAlias = Sequence[tuple[VadState, Audio]]
Find: TypeAlias = Callable[[Work], Awaitable[Sequence[Probabilities]]]


class Listener(Protocol):
    """Who waits for probabilities."""

    def speech(self, probabilities: Probabilities) -> None:
        """Those of the next frames, in order."""
        ...


class Ear:
    """What is remembered of one session: whole frames go to the model, or need not."""

    def __init__(self) -> None:
        self.state = VadState()
        self._rest: Audio = np.zeros(0, np.float32)
        self._quiet = True

    def frames(self, pieces: Sequence[Audio]) -> Audio:
        """The whole frames of what came in; what is left waits."""
        audio = np.concatenate([self._rest, *pieces])
        whole = len(audio) - len(audio) % FRAME_SAMPLES
        self._rest = audio[whole:].copy()
        return audio[:whole]

    def passes_over(self, frames: Audio) -> bool:
        """``frames`` cannot be heard, and nobody was speaking: no need to ask the model."""
        if not self._quiet or float(np.abs(frames).max(initial=0.0)) >= INAUDIBLE:
            return False
        self.state = VadState()
        return True

    def heard(self, probabilities: Probabilities) -> None:
        if len(probabilities):
            self._quiet = bool(probabilities[-1] < QUIET_PROBABILITY)


class SpeechFinder:
    """Used as a task: ``run``; belongs to one event loop."""

    def __init__(self) -> None:
        self._ears: dict[Listener, Ear] = {}
        self._waiting: dict[Listener, list[Audio]] = {}
        self._wake = asyncio.Event()

    def push(self, listener: Listener, audio: Audio) -> None:
        """Find speech in ``audio``, which follows what was pushed before."""
        self._waiting.setdefault(listener, []).append(audio)
        self._wake.set()

    def forget(self, listener: Listener) -> None:
        self._ears.pop(listener, None)
        self._waiting.pop(listener, None)

    async def run(self) -> None:
        """Until cancelled."""
        thread, batch = ThreadPoolExecutor(1, thread_name_prefix="kikitori-vad"), VadBatch()
        loop = asyncio.get_running_loop()

        def find(work: Work) -> Awaitable[Sequence[Probabilities]]:
            return loop.run_in_executor(thread, batch.run, work)

        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._look(self._next(), find)
                await asyncio.sleep(GATHER_SECONDS)
        finally:
            thread.shutdown(wait=False)

    def _next(self) -> dict[Listener, list[Audio]]:
        """What came in; of much, the first part. The rest waits for the next call."""
        waiting, self._waiting = self._waiting, {}
        for listener, pieces in waiting.items():
            if sum(map(len, pieces)) > LOOK_SAMPLES:
                audio = np.concatenate(pieces)
                waiting[listener] = [audio[:LOOK_SAMPLES]]
                self._waiting[listener] = [audio[LOOK_SAMPLES:]]
                self._wake.set()
        return waiting

    async def _look(self, waiting: dict[Listener, list[Audio]], find: Find) -> None:
        asked: list[tuple[Listener, Ear, Audio]] = []
        for listener, pieces in waiting.items():
            ear = self._ears.setdefault(listener, Ear())
            frames = ear.frames(pieces)
            if not len(frames):
                continue
            if ear.passes_over(frames):
                listener.speech(np.zeros(len(frames) // FRAME_SAMPLES, np.float32))
            else:
                asked.append((listener, ear, frames))
        if not asked:
            return
        found = await _found(find, [(ear.state, frames) for _, ear, frames in asked])
        for (listener, ear, _), probabilities in zip(asked, found, strict=True):
            ear.heard(probabilities)
            if self._ears.get(listener) is ear:
                listener.speech(probabilities)


async def _found(find: Find, work: Work) -> Sequence[Probabilities]:
    try:
        return await find(work)
    except Exception:  # a broken model must not lose what was said: everything counts as speech
        logger.exception("speech detection failed", extra={"action": "vad_failed", "sessions": len(work)})
        return [np.ones(len(audio) // FRAME_SAMPLES, np.float32) for _, audio in work]
