"""The engine seam: what a recogniser must offer, and what it is given.

An engine is plain blocking code. It is built on a worker thread, and ``transcribe`` runs on one
too. An engine that can merge calls of several requests (``info.max_batch_size > 1``) sends each
call through ``Calls.submit``; the replica that owns the engine groups waiting calls by key and
hands each group to ``run`` on one of its threads. An engine that cannot merge does its work inside
``transcribe``, and the pool lets one ``transcribe`` in at a time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kikitori.types import Segment, Task

if TYPE_CHECKING:
    from kikitori.options import DecodeOptions
    from kikitori.types import Audio


REMOTE_AT_ONCE = 16
"""Requests to a remote engine under way at a time, of each kind of waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine can do. Code asks this, never the engine's name."""

    name: str
    title: str
    """For people: ``Whisper (CTranslate2)``."""
    languages: frozenset[str] | None = None
    """ISO 639-1 codes; None: whatever the model knows."""
    tasks: frozenset[Task] = frozenset({Task.TRANSCRIBE})
    detects_language: bool = False
    word_timestamps: bool = False
    streaming: bool = False
    """Offers ``stream``: hypotheses while audio comes in."""
    conditions_on_text: bool = False
    """Understands prompts and ``condition_on_previous_text``."""
    max_batch_size: int = 1
    """Most calls merged into one; 1: one request at a time."""
    parallel_runs: bool = False
    """``run`` may be called from several threads at once (``EngineConfig.workers``)."""
    devices: frozenset[str] = frozenset({"cpu"})
    remote: bool = False
    """Somebody else's machine does the work, and may count it: many requests at a time, and none for mere practice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A detected language: ISO 639-1 ``code`` and ``probability`` in [0, 1]."""

    code: str
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Decoding:
    """A decoding under way: the language is known, the segments come as they are made."""

    language: Language
    segments: Iterator[Segment]
    """Times in seconds from the start of the audio that was given; ids mean nothing yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How an engine is loaded."""

    model: str = ""
    """A folder or file on disk, or the name of a remote model; "" for an engine that carries its model."""
    device: str = "cpu"
    """``cpu`` or ``cuda``."""
    device_index: int = 0
    compute_type: str = "default"
    cpu_threads: int = 0
    """Threads of one call; 0: the engine's own choice."""
    workers: int = 1
    """Calls of ``run`` at a time. They share the weights."""
    max_batch_size: int = 8
    extra: dict[str, Any] = field(default_factory=dict)


class Calls(Protocol):
    """One request's way to the model. Every wait ends early when the request is cancelled."""

    def submit(self, key: Hashable, payload: object) -> Any:
        """Run ``payload`` with others of the same ``key``; block until its own result is there.

        Raises DecodingCancelled, or what ``run`` raised for this payload alone.
        """
        ...

    def check(self) -> None:
        """Raise DecodingCancelled if the caller went away. Cheap: call it between segments."""
        ...


class Engine(Protocol):
    """A loaded model."""

    @property
    def info(self) -> EngineInfo: ...

    def transcribe(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Decoding:
        """Decode ``audio`` of any length as one stretch; options are already checked."""
        ...

    def detect_language(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Language:
        """The language spoken in ``audio`` (its first 30 s decide)."""
        ...

    def batch_limit(self, key: Hashable) -> int:
        """Most payloads of ``key`` to hand to ``run`` at once."""
        ...

    def run(self, key: Hashable, payloads: Sequence[Any]) -> Sequence[Any]:
        """One merged call: one result for each payload, in order."""
        ...

    def close(self) -> None:
        """Give the memory back. Nothing is called afterwards."""
        ...


class WorksAlone:
    """What an ``Engine`` says that merges no calls: everything happens inside its ``transcribe``."""

    def batch_limit(self, key: Hashable) -> int:
        return 1

    def run(self, key: Hashable, payloads: Sequence[Any]) -> Sequence[Any]:
        raise NotImplementedError("This engine merges no calls: max_batch_size is 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """What a streaming engine has heard so far in the current utterance."""

    text: str
    words: tuple[Any, ...] = ()
    confidence: float = 1.0
    provisional: bool = False
    """The end of the utterance may change any word, however old."""


class EngineStream(Protocol):
    """One utterance fed piece by piece. Holds all state, so one engine serves many."""

    def accept(self, audio: Audio) -> Hypothesis:
        """All that was heard since the utterance began, now that ``audio`` follows. Times count from its beginning."""
        ...

    def finish(self) -> Decoding:
        """The whole utterance, decided. Nothing is accepted afterwards."""
        ...

    def interrupt(self) -> None:
        """From any thread: whoever is inside need not go on. May be called at any time."""
        ...

    def close(self) -> None:
        """Give everything back, finished or not. May be called twice."""
        ...


class StreamingEngine(Engine, Protocol):
    def stream(self, options: DecodeOptions) -> EngineStream: ...
