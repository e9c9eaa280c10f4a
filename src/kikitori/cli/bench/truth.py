"""Recordings whose words and times are known, and what each client of a measurement speaks of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kikitori.errors import InvalidInput
from kikitori.types import SAMPLE_RATE

if TYPE_CHECKING:
    from kikitori.types import Audio

REPOSITORY_TRUTH = Path("tests/data/whisper-mini/samples/samples.json")
"""Where a checkout keeps its recordings."""
MARGIN_SECONDS = 0.3
"""Most of the sound around a sentence that is kept with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueWord:
    """What is spoken, and when: seconds since the audio began."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sentence:
    """One sentence cut out of a recording; times since the cut."""

    audio: Audio
    words: tuple[TrueWord, ...]

    @property
    def spoken_seconds(self) -> float:
        return self.words[-1].end - self.words[0].start


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Speech:
    """All that one client says."""

    audio: Audio
    words: tuple[TrueWord, ...]
    language: str


def read_sentences(file: Path, language: str) -> list[Sentence]:
    """The sentences in a JSON list of ``{file, language, segments: [{words: [{word, start, end}]}]}``.

    The recordings lie beside it. Raises InvalidInput.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        chosen = [entry for entry in entries if entry["language"] == language]
        sentences = [sentence for entry in chosen for sentence in _cut(file.parent / entry["file"], entry["segments"])]
    except OSError as exc:
        raise InvalidInput(
            f"{exc.filename} cannot be read: {exc.strerror}.",
            remedy="Name a file with --truth, or run this in a checkout of Kikitori.",
            param="truth",
        ) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise InvalidInput(
            f"{file} is not what it should be ({type(exc).__name__}: {exc}).",
            remedy="tests/data/whisper-mini/samples/samples.json shows its form.",
            param="truth",
        ) from exc
    if not sentences:
        raise InvalidInput(f"{file} has nothing in the language {language!r}.", param="language")
    return sentences


def _cut(recording: Path, segments: Sequence[dict[str, Any]]) -> Iterator[Sentence]:
    import numpy as np

    from kikitori.audio.decode import decode

    audio = np.concatenate([block[0] for block in decode(recording)])
    spoken = [segment["words"] for segment in segments if segment["words"]]
    for number, words in enumerate(spoken):
        before = spoken[number - 1][-1]["end"] if number else 0.0
        after = spoken[number + 1][0]["start"] if number + 1 < len(spoken) else len(audio) / SAMPLE_RATE
        start = max((before + words[0]["start"]) / 2 if number else 0.0, words[0]["start"] - MARGIN_SECONDS)
        last = number + 1 == len(spoken)
        end = min(after if last else (words[-1]["end"] + after) / 2, words[-1]["end"] + MARGIN_SECONDS)
        yield Sentence(
            audio=audio[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)],
            words=tuple(_moved(TrueWord(**word), -start) for word in words),
        )


def compose(sentences: Sequence[Sentence], *, client: int, seconds: float, duty: float, language: str) -> Speech:
    """About ``seconds`` of speech and silence, of which ``duty`` is speech; every client begins somewhere else."""
    import numpy as np

    parts: list[Audio] = []
    words: list[TrueWord] = []
    length, limit = 0, round(seconds * SAMPLE_RATE)
    first = client * max(1, len(sentences) // 7) % len(sentences)  # apart, and not in step
    for sentence in islice(cycle(sentences), first, None):
        whole = max(len(sentence.audio), round(sentence.spoken_seconds / duty * SAMPLE_RATE))
        if length + whole > limit and parts:
            break
        words += (_moved(word, length / SAMPLE_RATE) for word in sentence.words)
        parts += [sentence.audio, np.zeros(whole - len(sentence.audio), np.float32)]
        length += whole
    return Speech(audio=np.concatenate(parts), words=tuple(words), language=language)


def _moved(word: TrueWord, seconds: float) -> TrueWord:
    return TrueWord(word=word.word, start=word.start + seconds, end=word.end + seconds)
