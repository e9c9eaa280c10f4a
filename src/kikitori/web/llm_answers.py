"""A language model at work on a task's text: as events, as the answer that is kept, as JSON."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from kikitori.errors import ChatFailed, Conflict
from kikitori.llm.client import ChatModel, ChatModels
from kikitori.llm.mapreduce import PartRead, read
from kikitori.llm.prompts import Reading
from kikitori.llm.translation import translate
from kikitori.store.answers import Answer, AnswerKind, AnswerStore
from kikitori.store.task_records import TaskResult
from kikitori.tasks.views import segment_json, time_json
from kikitori.text.glyphs import is_spaceless
from kikitori.text.marks import marked_lines
from kikitori.types import Segment, join_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """The last thing that work yields: the text to keep."""

    text: str


Event: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One thing to ask of a model about a transcript."""

    kind: AnswerKind
    question: str
    language: str
    """As the caller wrote it."""
    run: Callable[[ChatModel, Sequence[Segment]], AsyncGenerator[Event | Finished, None]]


def reading_work(reading: Reading, *, kind: AnswerKind, question: str, language: str) -> Work:
    """An answer in prose."""

    async def run(model: ChatModel, segments: Sequence[Segment]) -> AsyncGenerator[Event | Finished, None]:
        written: list[str] = []
        async with aclosing(read(model, marked_lines(segments), reading)) as pieces:
            async for piece in pieces:
                if isinstance(piece, PartRead):
                    yield {"type": "answer.progress", "done": piece.done, "total": piece.parts}
                else:
                    written.append(piece)
                    yield {"type": "answer.delta", "delta": piece}
        yield Finished("".join(written).strip())

    return Work(kind=kind, question=question, language=language, run=run)


def translation_work(*, prompt: str, language: str, language_name: str) -> Work:
    """Segments in another language."""

    async def run(model: ChatModel, segments: Sequence[Segment]) -> AsyncGenerator[Event | Finished, None]:
        done: list[dict[str, Any]] = []
        untranslated: list[int] = []
        texts = [segment.text for segment in segments]
        async with aclosing(translate(model, texts, language=language_name, prompt=prompt)) as batches:
            async for batch in batches:
                sources = segments[len(done) : len(done) + len(batch)]
                shown = [_translated(*pair) for pair in zip(sources, batch, strict=True)]
                untranslated += [segment.id for segment, text in zip(sources, batch, strict=True) if text is None]
                done += shown
                yield {"type": "answer.segments", "segments": shown}
        yield Finished(json.dumps({"segments": done, "untranslated": untranslated}, ensure_ascii=False))

    return Work(kind=AnswerKind.TRANSLATION, question=prompt, language=language, run=run)


def _translated(segment: Segment, text: str | None) -> dict[str, Any]:
    """``segment`` in its new language; in the old one where the model left it out."""
    if text:
        segment = replace(segment, text=text if is_spaceless(text[0]) else f" {text}")
    return segment_json(replace(segment, words=None))


def segments_to_ask_about(result: TaskResult) -> Sequence[Segment]:
    """Raises Conflict: no result yet, or none ever."""
    task = result.task
    if not task.status.is_final:
        raise Conflict(f"The task {task.id} has no result yet.", remedy="Wait until it has ended.")
    if not join_text(result.segments):
        raise Conflict(f"The task {task.id} has no text: {task.status.value}.")
    return result.segments


async def answer_events(
    models: ChatModels, answers: AnswerStore, result: TaskResult, work: Work, **brought: str
) -> AsyncGenerator[Event, None]:
    """Events of the work until ``answer.done``, which has the answer as it was kept.

    ``brought`` is what the caller has of ``base_url``, ``api_key`` and ``model``. Closing the generator stops the
    model.
    """
    segments, began = segments_to_ask_about(result), time.perf_counter()
    async with models.open(**brought) as model, aclosing(work.run(model, segments)) as events:
        async for event in events:
            if not isinstance(event, Finished):
                yield event
                continue
            if not event.text:
                raise ChatFailed("The language model gave an empty answer.", remedy="Try again, or another model.")
            kept = await answers.add(
                result.task.id,
                kind=work.kind,
                question=work.question,
                model=model.name,
                language=work.language,
                text=event.text,
            )
            _log(kept, time.perf_counter() - began)
            yield {"type": "answer.done", "answer": answer_json(kept)}


def _log(answer: Answer, seconds: float) -> None:
    logger.info(
        "answered",
        extra={
            "action": "answered",
            "kind": answer.kind.value,
            "task": answer.task_id,
            "model": answer.model,
            "seconds": round(seconds, 3),
        },
    )


def answer_json(answer: Answer) -> dict[str, Any]:
    shown = {
        "id": answer.id,
        "task_id": answer.task_id,
        "kind": answer.kind.value,
        "question": answer.question,
        "model": answer.model,
        "language": answer.language,
        "text": answer.text,
        "created_at": time_json(answer.created_at),
    }
    if answer.kind is not AnswerKind.TRANSLATION:
        return shown
    kept = json.loads(answer.text)
    return {**shown, **kept, "text": "".join(segment["text"] for segment in kept["segments"]).strip()}
