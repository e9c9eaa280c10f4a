"""What Google's streams say, put together: several streams of one utterance that overlap, results that come late.

Pure. Times are seconds since the utterance began; results count from the beginning of their own stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kikitori.engines.wording import bare, estimate
from kikitori.types import Segment, Word

OVERLAP_SECONDS = 1.0
"""A stream that goes on hears this much again, so that no word is cut in two."""
SAME_WORD_SECONDS = 0.4
"""The same word once more, so soon, is the same word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One result of a response. ``words`` have times of the stream, or there are none."""

    text: str
    end: float
    final: bool = False
    words: tuple[Word, ...] = ()
    stability: float = 0.0
    confidence: float = 0.0
    language: str = ""


class Stitcher:
    """Decides what was said, once. ``boundary`` is how far that is certain: a new stream goes on a little before."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.language = ""
        self._origin = 0.0
        self._decided = 0.0
        """Where the last final ended."""
        self._ended = 0.0
        """Where a stream ended in peace: it has decided all that it heard."""
        self._interim: tuple[Word, ...] = ()
        self._interim_end = 0.0

    @property
    def boundary(self) -> float:
        """The end of the last decided word, where words have times; else of the last final, or of a stream."""
        last = self._last_word
        return max(self._ended, last.end if last is not None else self._decided)

    @property
    def origin(self) -> float:
        """Where a new stream should begin."""
        return max(0.0, self.boundary - OVERLAP_SECONDS) if self._last_word is not None else self.boundary

    @property
    def words(self) -> tuple[Word, ...]:
        """All that was heard, decided or not."""
        decided = (word for segment in self.segments for word in segment.words or _estimated(segment))
        return (*decided, *self._interim)

    def begin(self, origin: float) -> None:
        """A stream begins, with audio from ``origin`` on; what the one before had not decided comes again."""
        self._origin = origin
        self._interim, self._interim_end = (), 0.0

    def hear(self, results: Sequence[Result]) -> None:
        """One response: finals first, then what may still change."""
        for result in results:
            if result.final:
                self._decide(self._moved(result))
        open_results = [self._moved(result) for result in results if not result.final]
        if open_results:
            self._suppose(open_results)

    def settle(self, at: float) -> None:
        """The stream has ended in peace at ``at``: what it never decided counts as it is."""
        if self._interim:
            words, end = self._interim, self._interim_end
            text = "".join(word.word for word in words)
            self.segments.append(Segment(id=0, start=words[0].start, end=end, text=_spaced(text), words=words))
            self._decided = end
        self._interim, self._ended = (), max(self._ended, at)

    def _decide(self, result: Result) -> None:
        if result.end <= self._decided and self.segments:
            return  # it is known already
        words = self._new(result.words)
        start = words[0].start if words else max(self._decided, self._origin)
        text = "".join(word.word for word in words) if len(words) != len(result.words) else result.text
        if text.strip():
            self.language = result.language or self.language
            self.segments.append(
                Segment(
                    id=0,
                    start=start,
                    end=max(result.end, start),
                    text=_spaced(text),
                    words=_first_spaced(words) or None,
                )
            )
        self._decided = max(self._decided, result.end)
        self._interim, self._interim_end = (), 0.0

    def _suppose(self, results: Sequence[Result]) -> None:
        """Newer than what is shown, or it came late."""
        end = max(result.end for result in results)
        if end <= self._decided or end < self._interim_end:
            return
        text = "".join(result.text for result in results)
        stability = min((result.stability for result in results), default=0.0)
        words = estimate(_spaced(text), max(self._decided, self._origin), end, probability=stability)
        self._interim, self._interim_end = self._new(words, sure=False), end

    def _moved(self, result: Result) -> Result:
        """With times of the utterance."""
        by = self._origin
        moved = tuple(replace(word, start=word.start + by, end=word.end + by) for word in result.words)
        end = max(result.end + by, moved[-1].end if moved else 0.0)
        return replace(result, end=end, words=moved)

    def _new(self, words: Sequence[Word], *, sure: bool = True) -> tuple[Word, ...]:
        """Those that an earlier stream has not decided; ``sure``: their times are not estimates."""
        last = self._last_word
        if last is None or self._origin >= last.end:
            return tuple(words)
        if not sure:
            return self._without_repeated(words)
        fresh = [word for word in words if (word.start + word.end) / 2 >= last.end]
        if fresh and bare(fresh[0].word) == bare(last.word) and fresh[0].start - last.start < SAME_WORD_SECONDS:
            fresh = fresh[1:]
        return tuple(fresh)

    def _without_repeated(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """Without a beginning that is the end of what was decided."""
        said = [bare(word.word) for segment in self.segments[-3:] for word in segment.words or ()]
        heard = [bare(word.word) for word in words]
        for count in range(min(len(said), len(heard)), 0, -1):
            if said[-count:] == heard[:count]:
                return tuple(words[count:])
        return tuple(words)

    @property
    def _last_word(self) -> Word | None:
        """None: nothing was decided, or the last final has no times of words."""
        if not self.segments or not (words := self.segments[-1].words):
            return None
        return words[-1]


def _estimated(segment: Segment) -> tuple[Word, ...]:
    return estimate(segment.text, segment.start, segment.end)


def _spaced(text: str) -> str:
    """Segments are joined as they are: scripts with spaces need one before."""
    return f" {text.lstrip()}" if text.strip() and _uses_spaces(text.strip()[0]) else text.strip()


def _first_spaced(words: Sequence[Word]) -> tuple[Word, ...]:
    if not words:
        return ()
    return (replace(words[0], word=_spaced(words[0].word)), *words[1:])


def _uses_spaces(character: str) -> bool:
    """Not Chinese, Japanese, Thai, Lao, Khmer, Burmese."""
    wide = "\u3000" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or "\uff00" <= character <= "\uffef"
    return not (
        wide
        or "\u0e00" <= character <= "\u0eff"
        or "\u1000" <= character <= "\u109f"
        or "\u1780" <= character <= "\u17ff"
    )
