"""A live session: audio and speech probabilities in, events and decoding jobs out.

It owns no thread, socket or clock. Its shell pushes audio, finds the probabilities of speech, runs the job that
``next_job`` gives, and tells what came of it; most calls return the events that follow. Utterances are found on the
clock of the samples; ``now`` serves for waiting times alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kikitori.live.backlog import Backlog
from kikitori.live.context import Context
from kikitori.live.decoding import final_options, interim_options
from kikitori.live.events import CommitRefused, Committed, Degraded, FinalFailed, LiveEvent
from kikitori.live.hearing import believed, decide, hear_interim, silence
from kikitori.live.jobs import Heard, Job, JobKind
from kikitori.live.language import LanguageVote
from kikitori.live.options import LiveOptions, TurnDetection
from kikitori.live.steps import Steps
from kikitori.live.trimming import window_end
from kikitori.live.turns import Turns
from kikitori.live.utterance import DRAFT_SILENCE_SAMPLES, Draft, Utterance
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Audio

NO_INTERIMS = 2
"""The level of load from which interims are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    """The job that is being decoded."""

    job: Job
    utterance: Utterance
    end: int
    """Of its audio."""
    speech_end: int
    """Of the utterance when the job was made."""

    @property
    def whole(self) -> bool:
        """Whether it heard the whole of its utterance as a final would."""
        return self.job.kind is not JobKind.INTERIM and self.speech_end == self.utterance.speech_end


class LiveSession:
    """One stream of audio, its utterances and their text.

    ``streaming``: the engine gives hypotheses itself, and a job carries only audio that is new since the last job
    of its utterance. ``languages``: those that the engine knows, None for all.
    """

    def __init__(
        self, options: LiveOptions, *, streaming: bool = False, languages: frozenset[str] | None = None
    ) -> None:
        self._turns = Turns(options, streaming=streaming)
        self._backlog = Backlog()
        self._flight: _Flight | None = None
        self._jobs = 0
        self._vote, self._voting = LanguageVote(languages), 0
        self._context = Context()
        self._steps = Steps()
        self._level, self._stretch = 0, 1.0
        self._ended = False
        self._wanted: tuple[JobKind, int] | None = None
        self._wanted_since = 0.0

    # What comes in --------------------------------------------------------------------------------------------------

    def configure(self, options: LiveOptions, *, streaming: bool | None = None) -> None:
        """Change the options for audio that comes. What is open goes on as it began, but ends as the new ones say."""
        before = self._turns.options
        if (options.decode.language, options.model) != (before.decode.language, before.model):
            self._vote.forget()
        self._turns.configure(options, streaming=streaming)

    def push_audio(self, audio: Audio) -> None:
        """Take float32 mono 16 kHz samples, shape (n,), any n. Ignored after ``end``."""
        if not self._ended and len(audio):
            self._turns.push_audio(audio)

    def push_speech(self, probabilities: Sequence[float] | npt.NDArray[np.floating], now: float) -> list[LiveEvent]:
        """Take the speech probabilities of the next frames of 512 samples, in order; they may lag behind the audio."""
        return [] if self._ended else self._settle(self._turns.push_speech(probabilities), now)

    def commit(self, now: float) -> list[LiveEvent]:
        """End the utterance now. Refused: less than 100 ms, or silence after an utterance that ended by itself."""
        return [CommitRefused(samples=0)] if self._ended else self._settle(self._turns.commit(), now)

    def clear(self) -> list[LiveEvent]:
        """Forget the audio that was not committed."""
        self._wanted = None
        return [self._turns.clear()]

    def await_speech(self, after: float, patience: float | None) -> None:
        """Tell when nobody speaks for ``patience`` seconds, after the next ``after`` seconds; None: no longer."""
        if patience is None:
            self._turns.await_nobody()
        else:
            self._turns.await_speech(int(after * SAMPLE_RATE), int(patience * SAMPLE_RATE))

    def end(self, now: float) -> list[LiveEvent]:
        """No more audio comes: what is open is committed, and what may be speech."""
        if self._ended:
            return []
        self._ended = True
        return self._settle(self._turns.end(), now)

    def set_load(self, level: int, stretch: float, now: float) -> list[LiveEvent]:
        """How busy the machine is. 0: not; 1: interim steps are ``stretch`` times as long; 2: no interims."""
        changed, self._level, self._stretch = level != self._level, level, stretch if level else 1.0
        return self._settle([Degraded(level=level)] if changed else [], now)

    # Jobs -----------------------------------------------------------------------------------------------------------

    def next_due(self, now: float) -> tuple[JobKind, float] | None:
        """What ``next_job`` would give, and since when it is wanted."""
        self._note(now)
        return (self._wanted[0], self._wanted_since) if self._wanted else None

    def next_job(self, now: float) -> Job | None:
        """The job to run now, with the newest audio; None: nothing is due, or one is running."""
        due = self._due()
        if due is None:
            return None
        kind, utterance = due
        start, end = self._range(kind, utterance)
        if utterance.audio is not None:
            audio = utterance.audio[start - utterance.start : end - utterance.start]
        else:
            audio = self._turns.ring.slice(start, end)
        self._jobs += 1
        job = Job(
            id=self._jobs,
            kind=kind,
            utterance=utterance.number,
            start=start,
            audio=audio,
            options=self._decode_options(kind, utterance),
            first=utterance.streaming and utterance.sent_to is None,
        )
        if utterance.streaming:
            utterance.sent_to = end
        self._flight = _Flight(job=job, utterance=utterance, end=end, speech_end=utterance.speech_end)
        self._wanted = None
        return job

    @property
    def obsolete(self) -> bool:
        """Whether the running job is not worth finishing: its utterance is gone, or something better is due."""
        flight = self._flight
        if flight is None or flight.job.kind is JobKind.FINAL or flight.utterance.streaming:
            return flight is not None and not self._alive(flight.utterance)
        if flight.utterance is self._turns.open:
            return flight.job.kind is JobKind.INTERIM and self._wants_draft(flight.utterance)
        return not (flight.whole and self._alive(flight.utterance))

    def complete(self, job: Job, heard: Heard, now: float) -> list[LiveEvent]:
        """The running ``job`` is done. What is no longer running is ignored."""
        flight = self._land(job)
        if flight is None:
            return []
        utterance = flight.utterance
        if job.kind is not JobKind.FINAL:
            self._steps.learn(heard.waited, heard.took)
        events: list[LiveEvent] = []
        if self._alive(utterance):
            self._vote.hear(heard.language, heard.language_probability, len(job.audio) / SAMPLE_RATE)
            result = believed(
                heard,
                utterance,
                start=utterance.start if utterance.streaming else job.start,
                end=flight.end,
                judged=self._turns.judged if utterance.reason is None else utterance.judged,
            )
            if utterance is self._turns.open:
                if job.kind is JobKind.SPECULATIVE:
                    utterance.draft = Draft(speech_end=flight.speech_end, heard=result)
                if (interim := hear_interim(utterance, result)) is not None:
                    events.append(interim)
            elif job.kind is JobKind.FINAL or flight.whole:
                utterance.heard_to = utterance.end
                utterance.outcome = decide(utterance, result, self._context)
                utterance.retried = utterance.outcome is None
        return self._settle(events, now)

    def fail(self, job: Job, code: str, message: str, now: float) -> list[LiveEvent]:
        """The running ``job`` could not be done: a final fails for good, anything else is forgotten."""
        flight = self._land(job)
        if flight is None:
            return []
        utterance = flight.utterance
        utterance.sent_to = None
        utterance.tried_to = flight.end
        if job.kind is JobKind.FINAL:
            utterance.outcome = FinalFailed(
                utterance=utterance.number,
                start=utterance.start,
                end=utterance.end,
                code=code,
                message=message,
                stable=utterance.text.stable,
            )
        elif job.kind is JobKind.SPECULATIVE:
            utterance.draft = Draft(speech_end=flight.speech_end, heard=None)
        return self._settle([], now)

    def drop(self, job: Job) -> None:
        """The running ``job`` was cancelled; nothing came of it. A final will be due again."""
        if (flight := self._land(job)) is not None:
            flight.utterance.sent_to = None

    # What the shell may ask -----------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Ended, and every final is out."""
        return self._ended and not self._backlog

    @property
    def idle(self) -> bool:
        """Nothing is open, nothing waits."""
        return self._turns.open is None and not self._backlog

    @property
    def running(self) -> Job | None:
        """The job that ``next_job`` gave and that is not finished."""
        return self._flight.job if self._flight else None

    @property
    def position(self) -> int:
        """Samples received since the session began."""
        return self._turns.received

    @property
    def judged(self) -> int:
        """Samples whose probabilities have come."""
        return self._turns.judged

    @property
    def buffered_seconds(self) -> float:
        """Audio held in memory."""
        return (self._turns.ring.end - self._turns.ring.start + self._backlog.held_samples) / SAMPLE_RATE

    @property
    def open_seconds(self) -> float:
        """Audio that may still become part of an utterance."""
        return (self._turns.ring.end - self._turns.ring.start) / SAMPLE_RATE

    @property
    def waiting_seconds(self) -> float:
        """Audio of committed utterances that no pass has heard."""
        return self._backlog.waiting_seconds

    @property
    def lag_seconds(self) -> float:
        """Audio that no pass has heard: committed, open, or not known to be silence."""
        lag = self.waiting_seconds + (self.position - self.judged) / SAMPLE_RATE
        if (utterance := self._turns.open) is not None:
            lag += max(0, utterance.speech_end - utterance.heard_to) / SAMPLE_RATE
        return lag

    # What is due ----------------------------------------------------------------------------------------------------

    def _due(self) -> tuple[JobKind, Utterance] | None:
        utterance = self._turns.open
        if self._flight is not None:
            return None
        if (first := self._backlog.first) is not None:
            return JobKind.FINAL, first
        if utterance is None or not utterance.speech:
            return None
        if self._wants_draft(utterance):
            return JobKind.SPECULATIVE, utterance
        return (JobKind.INTERIM, utterance) if self._wants_interim(utterance) else None

    def _wants_draft(self, utterance: Utterance) -> bool:
        """Whether the silence may become the end of ``utterance``, and its final is not ready."""
        turns = self._turns.options.turns
        if turns is TurnDetection.MANUAL or utterance.streaming or not utterance.speech:
            return False
        if self._level >= NO_INTERIMS and turns is not TurnDetection.SEMANTIC:
            return False  # a draft is one decoding more whenever somebody goes on speaking
        if utterance.draft is not None and utterance.draft.speech_end == utterance.speech.end:
            return False
        enough = utterance.continues or utterance.speech.samples * 1000 >= utterance.options.min_speech_ms * SAMPLE_RATE
        return enough and self._turns.judged - utterance.speech.end >= DRAFT_SILENCE_SAMPLES

    def _wants_interim(self, utterance: Utterance) -> bool:
        options = utterance.options
        done = max(utterance.heard_to, utterance.tried_to)
        if not options.interim or self._level >= NO_INTERIMS or utterance.speech.end <= done:
            return False
        step = self._steps.seconds(options.interim_seconds, self._stretch)
        return self._newest(utterance) - max(done, utterance.speech.start) >= step * SAMPLE_RATE

    def _newest(self, utterance: Utterance) -> int:
        """The end of the audio that an interim may hear. A stream cannot forget, so it hears what is sure to be its."""
        return self._turns.judged if utterance.streaming else self._turns.received

    def _range(self, kind: JobKind, utterance: Utterance) -> tuple[int, int]:
        """The audio of a job, in samples since the session began."""
        start, end = utterance.start, self._newest(utterance)
        if kind is JobKind.FINAL:
            start, end = utterance.final_range
        elif kind is JobKind.SPECULATIVE:
            end = self._turns.judged
        elif not utterance.streaming:
            utterance.skip_pause()
            start = utterance.window
            end = window_end(start, end)
        if utterance.streaming and utterance.sent_to is not None:
            start = utterance.sent_to
        return start, max(start, end)

    def _decode_options(self, kind: JobKind, utterance: Utterance) -> DecodeOptions:
        if utterance.number > self._voting:
            self._vote.begin(utterance.options.decode)
            self._voting = utterance.number
        language = self._vote.language(utterance.options.decode)
        before = ""
        if utterance.options.carry_context:
            before = self._context.before(utterance.start / SAMPLE_RATE, language)
        if kind is JobKind.INTERIM:
            return interim_options(
                utterance.options,
                language=language,
                before=f"{before} {utterance.text_before_window}".strip(),
                after_loop=utterance.loops > 0,
            )
        return final_options(utterance.options, language=language, before=before, after_loop=utterance.retried)

    # What follows ---------------------------------------------------------------------------------------------------

    def _alive(self, utterance: Utterance) -> bool:
        return utterance is self._turns.open or utterance in self._backlog

    def _land(self, job: Job) -> _Flight | None:
        flight = self._flight
        if flight is None or flight.job.id != job.id:
            return None
        self._flight = None
        return flight

    def _settle(self, events: Iterable[LiveEvent], now: float) -> list[LiveEvent]:
        """``events``, with the finals that are ready after what they follow from, and what else changed."""
        settled: list[LiveEvent] = []
        for event in events:
            settled.append(event)
            if isinstance(event, Committed):
                self._await_final(self._turns.closed.popleft())
                settled += self._backlog.ready()
        settled += self._backlog.ready()
        settled += self._backlog.news()
        self._note(now)
        return settled

    def _await_final(self, utterance: Utterance) -> None:
        self._backlog.add(utterance)
        draft = utterance.draft
        if not utterance.is_speech:
            utterance.outcome = silence(utterance)
        elif draft is not None and draft.heard is not None and draft.speech_end == utterance.speech_end:
            utterance.heard_to = utterance.end
            utterance.outcome = decide(utterance, draft.heard, self._context)
            utterance.retried = utterance.outcome is None

    def _note(self, now: float) -> None:
        """Remember since when the next job is wanted."""
        due = self._due()
        wanted = (due[0], due[1].number) if due else None
        if wanted != self._wanted:
            self._wanted, self._wanted_since = wanted, now
