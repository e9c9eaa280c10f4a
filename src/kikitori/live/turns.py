"""The audio of a session and the utterances in it: where they begin and end, by voice or as the client says."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from kikitori.audio.vad import FRAME_SAMPLES
from kikitori.live.endpoint import START_FRAMES, Began, Endpointer
from kikitori.live.events import (
    Cleared,
    CommitRefused,
    Committed,
    EndReason,
    LiveEvent,
    NobodySpoke,
    Quiet,
    SpeechStarted,
    SpeechStopped,
)
from kikitori.live.options import Eagerness, LiveOptions, TurnDetection
from kikitori.live.ring import AudioRing
from kikitori.live.speech import HYSTERESIS, Speech
from kikitori.live.utterance import Utterance
from kikitori.types import SAMPLE_RATE, Audio

COMMIT_SAMPLES = SAMPLE_RATE // 10
"""Less audio than this cannot be committed."""
PATIENCE_SECONDS = {Eagerness.LOW: 8.0, Eagerness.MEDIUM: 4.0, Eagerness.HIGH: 2.0}
"""Silence that ends an unfinished sentence, in semantic turn detection."""
KEPT_SAMPLES = SAMPLE_RATE
"""Of silence between utterances: a client may commit it."""
SILENT_TURN_SAMPLES = 30 * SAMPLE_RATE
"""A manual turn in which nobody has spoken keeps this much audio."""


class Turns:
    """Cuts audio into utterances. ``open`` is the one that goes on; a Committed event has its one in ``closed``."""

    def __init__(self, options: LiveOptions, *, streaming: bool) -> None:
        self.options = options
        self.ring = AudioRing()
        self.open: Utterance | None = None
        self.closed: deque[Utterance] = deque()
        """Utterances whose Committed was returned, for the caller to take."""
        self._streaming = streaming
        self._judged = 0
        self._floor = 0
        """The end of the last commit or clear: audio before it belongs to nobody any more."""
        self._by_itself = False
        """The last commit was not the client's: silence after it cannot be committed."""
        self._endpointer = Endpointer()
        self._count = 0
        self._last: tuple[int, int] | None = None
        """Number of the utterance before, and where its speech ended, until it has been quiet for long enough."""
        self._awaited: tuple[int, int] | None = None
        """Somebody is waited for: since when, and how long."""

    @property
    def manual(self) -> bool:
        return self.options.turns is TurnDetection.MANUAL

    @property
    def received(self) -> int:
        return self.ring.end

    @property
    def judged(self) -> int:
        """How far probabilities have come."""
        return min(self._judged, self.ring.end)

    def configure(self, options: LiveOptions, *, streaming: bool | None) -> None:
        """What is open goes on as it began, but ends as the new options say."""
        was_manual, self.options = self.manual, options
        if self.manual:
            self._awaited = None
        if streaming is not None:
            self._streaming = streaming
        if was_manual and not self.manual:
            self._endpointer.reset(self._floor)
            if self.open and self.open.speech:
                self._endpointer.adopt(self.open.speech)
            else:
                self.open = None
        elif self.manual and not was_manual and self.open is None:
            unknown = self._endpointer.run_samples + self.received - self.judged
            if unknown >= START_FRAMES * FRAME_SAMPLES:
                self._begin(self._speech_start(self.received - unknown))
            else:
                self._floor = self.received

    def push_audio(self, audio: Audio) -> None:
        if self.manual and self.open is None:
            self._begin(self._floor)
        self.ring.append(audio)

    def push_speech(self, probabilities: Iterable[float]) -> list[LiveEvent]:
        """Judge the next frames."""
        events: list[LiveEvent] = []
        for probability in probabilities:
            start, self._judged = self._judged, self._judged + FRAME_SAMPLES
            if self.manual:
                self._track(start, float(probability))
            else:
                events += self._judge(start, float(probability))
        self._let_go()
        return events

    def commit(self) -> list[LiveEvent]:
        """The client ends the utterance."""
        waiting = self._uncommitted()
        if waiting < COMMIT_SAMPLES:
            return [CommitRefused(samples=waiting)]
        utterance = self.open or self._begin(max(self._floor, self.ring.start))
        committed = self._close(utterance, self.received, EndReason.COMMIT)
        self._let_go()
        return [committed]

    def clear(self) -> Cleared:
        """Forget the audio that was not committed."""
        gone, self.open, self._last = self.open, None, None
        self._floor, self._by_itself = self.received, False
        self._endpointer.reset(self._floor)
        self.ring.release(self._floor)
        return Cleared(utterance=gone.number if gone else None)

    def await_speech(self, after_samples: int, patience_samples: int) -> None:
        """Somebody should speak soon: if nobody has ``patience_samples`` after the next ``after_samples``, tell.

        Whoever speaks ends the waiting; who speaks already is not waited for.
        """
        start = self.received + after_samples
        self._awaited = None if self.open is not None else (start, start + patience_samples)

    def await_nobody(self) -> None:
        self._awaited = None

    def end(self) -> list[LiveEvent]:
        """No more audio comes: commit what is open, and what may be speech."""
        utterance = self.open
        if utterance is None and not self.manual:
            possible = self._endpointer.run_samples + self.received - max(self.judged, self._floor)
            if possible >= START_FRAMES * FRAME_SAMPLES:
                utterance = self._begin(self._speech_start(self.received - possible))
        elif utterance is not None and not utterance.speech and self._uncommitted() < COMMIT_SAMPLES:
            self.open = utterance = None
        events: list[LiveEvent] = [self._close(utterance, self.received, EndReason.END)] if utterance else []
        self.ring.release(self.received)
        return events

    def _track(self, start: int, probability: float) -> None:
        """A frame of a manual turn."""
        utterance = self.open
        if utterance is None or start + FRAME_SAMPLES <= utterance.start:
            return
        hysteresis = HYSTERESIS if utterance.speech.goes_on(start) else 0.0
        if probability >= self.options.threshold - hysteresis:
            utterance.speech.add(start)

    def _judge(self, start: int, probability: float) -> list[LiveEvent]:
        """A frame that may begin or end an utterance."""
        events: list[LiveEvent] = []
        if self.open is not None and not self.open.announced:
            events.append(_announce(self.open))
        looks_back = self.open is None or not self.open.streaming  # what a stream has heard cannot be taken from it
        marks = self._endpointer.push(start, probability, self.options, self._patience_samples(), look_back=looks_back)
        for mark in marks:
            if isinstance(mark, Began):
                at = mark.start if mark.continues else self._speech_start(mark.start)
                utterance = self._begin(at, mark.speech)
                utterance.continues = mark.continues or mark.start < self._floor + FRAME_SAMPLES
                events.append(_announce(utterance))
            elif self.open is not None:
                events.append(SpeechStopped(utterance=self.open.number, end=mark.end))
                events.append(self._close(self.open, mark.end, mark.reason))
        return [*events, *self._quiet(start + FRAME_SAMPLES), *self._unbroken(start + FRAME_SAMPLES)]

    def _quiet(self, position: int) -> list[LiveEvent]:
        """Silence that has lasted long enough to be told."""
        if self._last is None or self.open is not None or not self.options.quiet_ms:
            return []
        number, end = self._last
        if (position - end) * 1_000 < self.options.quiet_ms * SAMPLE_RATE or self._endpointer.run_samples:
            return []
        self._last = None
        return [Quiet(utterance=number, end=position)]

    def _unbroken(self, position: int) -> list[LiveEvent]:
        """Silence in which somebody was waited for, and has not come."""
        if self._awaited is None or position < max(self._awaited[1], self._floor) or self._endpointer.run_samples:
            return []
        start = self._awaited[0]
        silence = self._begin(max(self._floor, self.ring.start))
        told = NobodySpoke(utterance=silence.number, start=start, end=position)
        return [told, self._close(silence, position, EndReason.UNBROKEN)]

    def _patience_samples(self) -> int:
        """The silence that ends the open utterance."""
        seconds = self.options.endpoint_ms / 1000
        utterance = self.open
        if self.options.turns is TurnDetection.SEMANTIC and utterance is not None and not utterance.says_all:
            seconds = max(seconds, PATIENCE_SECONDS[self.options.eagerness])
        return int(seconds * SAMPLE_RATE)

    def _uncommitted(self) -> int:
        """Samples that a commit would take."""
        if self.open is not None and not self.manual:
            return self.received - self.open.start
        if self._by_itself and not self.manual:
            return min(self.received - self.judged + self._endpointer.run_samples, self.received - self._floor)
        return self.received - self._floor

    def _speech_start(self, first: int) -> int:
        """Where an utterance begins whose speech begins at ``first``."""
        prefix = self.options.prefix_ms * SAMPLE_RATE // 1000
        return max(self._floor, self.ring.start, first - prefix)

    def _begin(self, start: int, speech: Speech | None = None) -> Utterance:
        self._count += 1
        self._last = self._awaited = None
        self.open = Utterance(
            number=self._count,
            start=start,
            options=self.options,
            streaming=self._streaming,
            speech=Speech() if speech is None else speech,
        )
        return self.open

    def _close(self, utterance: Utterance, end: int, reason: EndReason) -> Committed:
        audio = self.ring.slice(utterance.start, end)
        utterance.close(end, reason, audio, judged=min(self._judged, end))
        self.closed.append(utterance)
        self.open, self._floor = None, end
        self._last = (utterance.number, utterance.speech.end) if utterance.speech else None
        self._by_itself = reason in (EndReason.PAUSE, EndReason.LONGEST, EndReason.UNBROKEN)
        if not self._by_itself:
            self._endpointer.reset(end)
        return Committed(utterance=utterance.number, start=utterance.start, end=end, reason=reason, audio=audio)

    def _let_go(self) -> None:
        """Free the audio that no utterance can need any more."""
        utterance = self.open
        if utterance is None:
            known = self.judged - self._endpointer.run_samples
            self.ring.release(max(self._floor, min(self._speech_start(known), known - KEPT_SAMPLES)))
        elif self.manual and not utterance.speech and not utterance.streaming:
            utterance.begin_at(max(utterance.start, self.judged - SILENT_TURN_SAMPLES))
            self.ring.release(utterance.start)
        else:
            self.ring.release(utterance.start)


def _announce(utterance: Utterance) -> SpeechStarted:
    utterance.announced = True
    return SpeechStarted(utterance=utterance.number, start=utterance.start)
