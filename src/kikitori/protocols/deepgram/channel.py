"""One channel of a live ``/v1/listen``: what its session says → results, each decided once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kikitori.live.events import (
    Cleared,
    CommitRefused,
    Committed,
    EndReason,
    Final,
    FinalFailed,
    Interim,
    LiveEvent,
    Quiet,
    SpeechStarted,
)
from kikitori.protocols.actions import Send
from kikitori.protocols.deepgram.messages import About, error, estimated, message, results, seconds
from kikitori.types import SAMPLE_RATE, Word


@dataclass(slots=True)
class Channel:
    """From the first byte to the last final."""

    about: About
    index: int = 0
    count: int = 1
    interim: bool = False
    endpointing: bool = True
    vad_events: bool = False
    ready: bool = False
    over: bool = False
    heard_to: float = 0.0
    """The end of the last thing that was said of it, in seconds."""
    _waiting: list[int] = field(default_factory=list)
    """Utterances that are complete and have no final."""
    _finalizing: set[int] = field(default_factory=set)
    """Those that a Finalize waits for."""
    _shown: tuple[int, str] | None = None
    _last_word: float | None = None
    """Where the last decided word ended, until its UtteranceEnd."""
    _quiet: int | None = None
    """An UtteranceEnd comes after the final of this one."""

    def event(self, event: LiveEvent) -> Sequence[Send]:
        match event:
            case SpeechStarted():
                return self._on_speech(event)
            case Interim():
                return self._on_interim(event)
            case Committed():
                self._waiting.append(event.utterance)
                if event.reason is EndReason.COMMIT:
                    self._finalizing.add(event.utterance)
            case CommitRefused():
                return self._on_refusal()
            case Final():
                return self._on_final(event)
            case FinalFailed():
                return self._on_failure(event)
            case Quiet():
                return self._on_quiet(event)
            case Cleared():
                self._shown = None
        return ()

    def nothing(self) -> Send:
        """The answer to a Finalize that found nothing to decide."""
        return self._results(self.heard_to, self.heard_to, "", (), final=True, finalized=True)

    def _on_speech(self, event: SpeechStarted) -> Sequence[Send]:
        if not self.vad_events:
            return ()
        return [message("SpeechStarted", channel=[self.index, self.count], timestamp=_seconds(event.start))]

    def _on_interim(self, event: Interim) -> Sequence[Send]:
        if not self.interim or not event.text or self._shown == (event.utterance, event.text):
            return ()
        self._shown = (event.utterance, event.text)
        start, end = event.start / SAMPLE_RATE, event.end / SAMPLE_RATE
        words = estimated(event.text, start, end)
        return [self._results(start, end, event.text, words, slot=f"interim:{self.index}:{event.utterance}")]

    def _on_refusal(self) -> Sequence[Send]:
        if self._waiting:
            self._finalizing.add(self._waiting[-1])
            return ()
        return [self.nothing()]

    def _on_final(self, event: Final) -> Sequence[Send]:
        start, end = event.start / SAMPLE_RATE, event.end / SAMPLE_RATE
        words = event.words or estimated(event.text, start, end)
        ended = event.reason is not EndReason.LONGEST
        return self._decided(event.utterance, start, end, event.text, words, ended=ended)

    def _on_failure(self, event: FinalFailed) -> Sequence[Send]:
        """The client is told, and what it may show or wait for is taken back."""
        self._shown = self._shown or (event.utterance, "")
        start, end = event.start / SAMPLE_RATE, event.end / SAMPLE_RATE
        return [error(event.code, event.message), *self._decided(event.utterance, start, end, "", (), ended=True)]

    def _decided(
        self, utterance: int, start: float, end: float, text: str, words: Sequence[Word], *, ended: bool
    ) -> Sequence[Send]:
        finalized = utterance in self._finalizing
        shown = self._shown is not None and self._shown[0] == utterance
        self._finalizing.discard(utterance)
        self._shown, self.heard_to = None, max(self.heard_to, end)
        if utterance in self._waiting:
            self._waiting.remove(utterance)
        said: list[Send] = []
        if text or finalized or shown:
            speech_final = ended and self.endpointing
            said.append(self._results(start, end, text, words, final=True, ended=speech_final, finalized=finalized))
        if words:
            self._last_word = words[-1].end
        if self._quiet is not None and self._quiet <= utterance:
            said += self._utterance_end()
        return said

    def _on_quiet(self, event: Quiet) -> Sequence[Send]:
        if any(number <= event.utterance for number in self._waiting):
            self._quiet = event.utterance
            return ()
        return self._utterance_end()

    def _utterance_end(self) -> Sequence[Send]:
        last, self._last_word, self._quiet = self._last_word, None, None
        if last is None:
            return ()
        return [message("UtteranceEnd", channel=[self.index, self.count], last_word_end=seconds(last))]

    def _results(
        self,
        start: float,
        end: float,
        text: str,
        words: Sequence[Word],
        *,
        final: bool = False,
        ended: bool = False,
        finalized: bool = False,
        slot: str = "",
    ) -> Send:
        return results(
            self.about,
            channel=(self.index, self.count),
            start=start,
            end=end,
            text=text,
            words=words,
            facts={"is_final": final, "speech_final": ended, "from_finalize": finalized},
            slot=slot,
        )


def _seconds(samples: int) -> float:
    return seconds(samples / SAMPLE_RATE)
