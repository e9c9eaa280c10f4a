"""What a live source says, and the transcript that comes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from kikitori.types import Segment, Transcript, Word

if TYPE_CHECKING:
    from kikitori.cli.listen.sounds import Sound


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Text of the utterance that is being spoken; ``stable`` is the part that will hardly change. "": nothing."""

    text: str
    stable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The final text of an utterance. Times are seconds since listening began."""

    text: str
    start: float
    end: float
    language: str = ""
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Something else worth a line: what is wrong, or what is happening."""

    message: str
    problem: bool = False


Caption: TypeAlias = Shown | Said | Told


class LiveSource(Protocol):
    """Something that listens: a server, or models in this process."""

    def captions(self, sound: Sound) -> AsyncGenerator[Caption, None]:
        """What is heard until ``sound`` ends, and then its last words. Raises KikitoriError."""
        ...


class Notebook:
    """Collects finals into a transcript."""

    def __init__(self, model: str = "") -> None:
        self._model = model
        self._segments: list[Segment] = []
        self._language = ""

    def add(self, said: Said) -> None:
        self._language = self._language or said.language
        self._segments.append(
            Segment(
                id=len(self._segments),
                start=said.start,
                end=said.end,
                text=_with_space(said),
                words=said.words or None,
            )
        )

    @property
    def transcript(self) -> Transcript:
        return Transcript(
            segments=tuple(self._segments),
            language=self._language,
            duration=self._segments[-1].end if self._segments else 0.0,
            model=self._model,
        )


def _with_space(said: Said) -> str:
    """Joined texts must read well: a space before it, unless its script is written without."""
    from kikitori.text.glyphs import is_spaceless

    return said.text if is_spaceless(said.text[:1] or " ") else f" {said.text}"
