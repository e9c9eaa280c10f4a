"""A script of spoken words, a recogniser that knows it, and a replay on a clock of its own.

Each sample of the audio tells its own position, so the recogniser hears what it is really given, and audio that was
put together wrongly is noticed.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kikitori.audio.vad import FRAME_SAMPLES
from kikitori.live.events import Committed, Final, FinalFailed, Interim, LiveEvent, SpeechStarted, SpeechStopped
from kikitori.live.jobs import Heard, Job, JobKind
from kikitori.live.options import LiveOptions
from kikitori.live.session import LiveSession
from kikitori.types import SAMPLE_RATE, Audio, Segment, Word

POSITIONS = 1 << 24
"""Samples that can be told apart: 1,048 s."""
SPEECH, SILENCE = 0.9, 0.02


@dataclass(frozen=True, slots=True)
class Spoken:
    """One word, where it really is."""

    text: str
    start: float
    end: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


@dataclass(frozen=True, slots=True)
class Script:
    """What is said in ``seconds`` of audio."""

    words: tuple[Spoken, ...]
    seconds: float

    @property
    def samples(self) -> int:
        return int(self.seconds * SAMPLE_RATE)

    @property
    def texts(self) -> list[str]:
        return [word.text for word in self.words]

    def audio(self, start: int, end: int) -> Audio:
        return positions(start, min(end, self.samples))

    def probability(self, frame: int) -> float:
        """Of speech in a frame of 512 samples."""
        start, end = frame * FRAME_SAMPLES / SAMPLE_RATE, (frame + 1) * FRAME_SAMPLES / SAMPLE_RATE
        first = bisect_left(self.words, start, key=lambda word: word.end)
        near = self.words[first : first + 3]  # no word is shorter than half a frame
        covered = sum(max(0.0, min(word.end, end) - max(word.start, start)) for word in near)
        return SPEECH if covered > (end - start) / 4 else SILENCE


def positions(start: int, end: int) -> Audio:
    """Audio whose samples tell where they are."""
    return ((np.arange(start, end) % POSITIONS) / POSITIONS).astype(np.float32)


def position_of(audio: Audio) -> int:
    """Where ``audio`` begins; fails if it is not one stretch."""
    found = (audio.astype(np.float64) * POSITIONS).astype(np.int64)
    assert (np.diff(found) == 1).all(), "the audio is not one stretch"
    return int(found[0])


def script(*parts: str | float, gap: float = 0.1, seconds: float = 0.35, tail: float = 1.0) -> Script:
    """Words, ``gap`` apart, with pauses (numbers) between: ``script(1.0, "hello world", 0.8, "again")``."""
    words: list[Spoken] = []
    at = 0.0
    for part in parts:
        if isinstance(part, float | int):
            at += part
            continue
        for text in part.split():
            words.append(Spoken(text, at, at + seconds))
            at += seconds + gap
        at -= gap
    return Script(tuple(words), at + tail)


def numbered(count: int, prefix: str = "word") -> str:
    """``count`` words that are all different."""
    return " ".join(f"{prefix}{n}" for n in range(count))


@dataclass(slots=True)
class Recogniser:
    """Hears the words of a script in the middle of which the audio reaches. Finals are perfect; interims as told."""

    script: Script
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    jitter: float = 0.0
    """Times of words are off by up to so many seconds."""
    truncates: bool = False
    """A word at the end of the audio is heard by half."""
    unstable: float = 0.0
    """How often a word within the last 0.6 s is misheard."""
    marks: float = 0.0
    """How often a word has a comma or a full stop, or a capital letter."""
    probability: float = 0.8
    language: str = "en"
    language_probability: float = 1.0
    stream_start: int = 0
    stream_end: int = 0

    def hear(self, job: Job, *, streaming: bool = False) -> Heard:
        if streaming:
            return self._hear_stream(job)
        first = position_of(job.audio) if len(job.audio) else job.start
        assert first == job.start
        return self._heard(first, first + len(job.audio), job)

    def _hear_stream(self, job: Job) -> Heard:
        if job.first:
            self.stream_start = self.stream_end = job.start
        assert job.start == self.stream_end, "audio is missing or doubled"
        if len(job.audio):
            assert position_of(job.audio) == job.start
        self.stream_end += len(job.audio)
        return self._heard(self.stream_start, self.stream_end, job)

    def _heard(self, start: int, end: int, job: Job) -> Heard:
        first, last = start / SAMPLE_RATE, end / SAMPLE_RATE
        begin, stop = (bisect_left(self.script.words, at, key=lambda word: word.middle) for at in (first, last))
        words = [self._word(word, first, last, job) for word in self.script.words[begin:stop]]
        segments: tuple[Segment, ...] = ()
        if words:
            text = "".join(word.word for word in words)
            segments = (Segment(id=0, start=words[0].start, end=words[-1].end, text=text, words=tuple(words)),)
        return Heard(segments=segments, language=self.language, language_probability=self.language_probability)

    def _word(self, word: Spoken, first: float, last: float, job: Job) -> Word:
        text, start, end = word.text, word.start, word.end
        if job.kind is JobKind.INTERIM:
            if self.truncates and end > last:
                text = text[: len(text) // 2]
            elif end > last - 0.6 and self.rng.random() < self.unstable:
                text = f"mis{self.rng.randrange(100)}"
            if self.rng.random() < self.marks:
                text = self.rng.choice([f"{text},", f"{text}.", text.capitalize()])
            start += self.rng.uniform(-self.jitter, self.jitter)
            end += self.rng.uniform(-self.jitter, self.jitter)
        start, end = max(start, first), min(end, last)
        return Word(word=f" {text}", start=start - first, end=max(start, end) - first, probability=self.probability)


@dataclass(slots=True)
class Told:
    """An event and when it was told."""

    at: float
    event: LiveEvent


@dataclass(slots=True, repr=False)
class Replay:
    """Plays a script to a session. A job takes as long as ``takes`` says, on the replay's own clock."""

    script: Script
    options: LiveOptions = field(default_factory=LiveOptions)
    chunks: Sequence[int] = (512,)
    """Samples of the pieces in which audio comes, over and over."""
    vad_lag: int = 0
    """Samples that probabilities are behind."""
    takes: Callable[[Job], float] = lambda job: 0.05
    fails: Callable[[Job], bool] = lambda job: False
    recogniser: Recogniser | None = None
    streaming: bool = False
    languages: frozenset[str] | None = None
    commits: Iterable[float] = ()
    """When the client commits, in seconds of audio."""
    told: list[Told] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    most_held: float = 0.0
    session: LiveSession = field(init=False)
    now: float = 0.0
    _running: tuple[Job, float] | None = None

    def __repr__(self) -> str:
        said = " ".join(f"{word.text}@{word.start:.2f}-{word.end:.2f}" for word in self.script.words)
        return (
            f"{self.options.turns} {self.script.seconds:.2f} s [{said}] chunks={self.chunks} lag={self.vad_lag} "
            f"commits={self.commits} interim={self.options.interim}/{self.options.interim_seconds} "
            f"endpoint={self.options.endpoint_ms} prefix={self.options.prefix_ms} "
            f"longest={self.options.max_utterance_seconds}"
        )

    def __post_init__(self) -> None:
        self.session = LiveSession(self.options, streaming=self.streaming, languages=self.languages)
        self.recogniser = self.recogniser or Recogniser(self.script)

    def run(self) -> list[LiveEvent]:
        """All of it, to the last final."""
        self.play()
        self.finish()
        return self.events

    def play(self) -> None:
        """All of the audio, without the end."""
        commits = sorted(self.commits)
        frames = 0
        for start, end in self._pieces():
            self._reach(end / SAMPLE_RATE)
            self.session.push_audio(self.script.audio(start, end))
            ready = max(0, end - self.vad_lag) // FRAME_SAMPLES
            self._tell(self.session.push_speech([self.script.probability(n) for n in range(frames, ready)], self.now))
            frames = max(frames, ready)
            while commits and commits[0] * SAMPLE_RATE <= end:
                commits.pop(0)
                self._tell(self.session.commit(self.now))
            self._work()
            self.most_held = max(self.most_held, self.session.buffered_seconds)

    def finish(self) -> None:
        self._tell(self.session.end(self.now))
        self._work()
        while self._running:
            self._reach(self._running[1])
        assert self.session.done

    @property
    def events(self) -> list[LiveEvent]:
        return [told.event for told in self.told]

    @property
    def finals(self) -> list[Final]:
        return [event for event in self.events if isinstance(event, Final)]

    @property
    def interims(self) -> list[Interim]:
        return [event for event in self.events if isinstance(event, Interim)]

    @property
    def words(self) -> list[str]:
        """Of all finals."""
        return [word for final in self.finals for word in final.text.split()]

    def _pieces(self) -> Iterator[tuple[int, int]]:
        at, n = 0, 0
        while at < self.script.samples:
            end = min(self.script.samples, at + self.chunks[n % len(self.chunks)])
            yield at, end
            at, n = end, n + 1

    def _reach(self, now: float) -> None:
        """Let time pass, and jobs end."""
        while self._running and self._running[1] <= now:
            job, ends = self._running
            self._running, self.now = None, max(self.now, ends)
            if self.fails(job):
                self._tell(self.session.fail(job, "unavailable", "broken", self.now))
            else:
                assert self.recogniser is not None
                heard = replace(self.recogniser.hear(job, streaming=self.streaming), took=self.takes(job))
                self._tell(self.session.complete(job, heard, self.now))
            self._work()
        self.now = max(self.now, now)

    def _work(self) -> None:
        """Give up what is obsolete, begin what is due."""
        if self._running and self.session.obsolete:
            job, _ = self._running
            self._running = None
            self.session.drop(job)
        due = self.session.next_due(self.now)
        job_due = self.session.next_job(self.now)
        assert (due is None) == (job_due is None)
        if job_due is not None:
            assert due is not None and due[0] is job_due.kind and due[1] <= self.now
            self.jobs.append(job_due)
            self._running = (job_due, self.now + self.takes(job_due))

    def _tell(self, events: Iterable[LiveEvent]) -> None:
        self.told += [Told(self.now, event) for event in events]


def check_order(events: Sequence[LiveEvent]) -> None:
    """What is promised of the events of any session."""
    committed: list[int] = []
    decided: list[int] = []
    stable: dict[int, str] = {}
    revisions: dict[int, int] = {}
    began = ended = 0
    for event in events:
        if isinstance(event, SpeechStarted):
            assert event.start >= ended
            began = event.start
        elif isinstance(event, SpeechStopped):
            assert event.utterance not in committed and event.end > began
        elif isinstance(event, Committed):
            assert event.utterance not in committed
            assert ended <= event.start < event.end, event
            assert len(event.audio) == event.end - event.start and position_of(event.audio) == event.start
            committed.append(event.utterance)
            ended = event.end
        elif isinstance(event, Interim):
            assert event.utterance not in decided
            assert event.stable.startswith(stable.get(event.utterance, "")), "stable text was taken back"
            assert event.revision == revisions.get(event.utterance, 0) + 1
            stable[event.utterance], revisions[event.utterance] = event.stable, event.revision
        elif isinstance(event, Final | FinalFailed):
            assert event.utterance in committed and event.utterance not in decided
            assert event.stable.startswith(stable.get(event.utterance, ""))
            decided.append(event.utterance)
    assert decided == committed == sorted(committed)
