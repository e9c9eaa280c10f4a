"""One session's decoding: jobs go to a loaded model, what was heard comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

from kikitori.engines.base import Hypothesis, Language
from kikitori.inference.listening import Listening
from kikitori.inference.loaded import LoadedModel
from kikitori.inference.pool import ModelPool
from kikitori.live.jobs import Heard, Job, JobKind
from kikitori.types import Segment


class Decoder:
    """Decodes the jobs of one session, one at a time."""

    def __init__(self, pool: ModelPool, model: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool, self.model, self._clock = pool, model, clock
        self._held = AsyncExitStack()
        """The model, while a streaming engine listens to an utterance."""
        self._model: LoadedModel | None = None
        self._listening: Listening | None = None

    async def decode(self, job: Job, *, wanted_at: float) -> tuple[Heard, LoadedModel]:
        """What was heard in ``job``, and by whom. Raises KikitoriError."""
        info = self._pool.info(self.model)
        return await (self._hear_on(job, wanted_at) if info.streaming else self._transcribe(job, wanted_at))

    async def _transcribe(self, job: Job, wanted_at: float) -> tuple[Heard, LoadedModel]:
        language, segments = Language(code="", probability=0.0), []
        async with self._pool.use(self.model) as model:
            began = self._clock()
            async with aclosing(model.decode(job.audio, job.options, priority=job.kind.priority)) as results:
                async for result in results:
                    if isinstance(result, Segment):
                        segments.append(result)
                    else:
                        language = result
        return self._heard(tuple(segments), language, wanted_at, began), model

    async def _hear_on(self, job: Job, wanted_at: float) -> tuple[Heard, LoadedModel]:
        """Give a streaming engine what is new since the last job of the utterance."""
        if job.first:
            await self.reset()
        if self._model is None:
            self._model = await self._held.enter_async_context(self._pool.use(self.model))
        began, model, unknown = self._clock(), self._model, Language(code="", probability=0.0)
        listening = self._listening = self._listening or model.listen(job.options)
        if job.kind is JobKind.FINAL:
            segments = await listening.finish(job.audio)
            await self.reset()
            return self._heard(segments, unknown, wanted_at, began), model
        hypothesis = await listening.accept(job.audio)
        heard = self._heard(_as_segments(hypothesis), unknown, wanted_at, began)
        return replace(heard, provisional=hypothesis.provisional), model

    async def reset(self) -> None:
        """Forget the utterance a streaming engine listens to."""
        listening, self._listening, self._model = self._listening, None, None
        held, self._held = self._held, AsyncExitStack()
        try:
            if listening is not None:
                await listening.close()
        finally:
            await held.aclose()

    def _heard(self, segments: tuple[Segment, ...], language: Language, wanted_at: float, began: float) -> Heard:
        return Heard(
            segments=segments,
            language=language.code,
            language_probability=language.probability,
            waited=max(0.0, began - wanted_at),
            took=self._clock() - began,
        )


def _as_segments(hypothesis: Hypothesis) -> tuple[Segment, ...]:
    words = tuple(hypothesis.words)
    if not words:
        return ()
    text = "".join(word.word for word in words)
    return (Segment(id=0, start=words[0].start, end=words[-1].end, text=text, words=words),)
