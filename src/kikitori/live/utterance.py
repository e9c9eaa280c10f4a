"""One utterance: what is known of it, from its first sample to its final."""

from __future__ import annotations

from dataclasses import dataclass, field

from kikitori.audio.vad import FRAME_SAMPLES
from kikitori.live.agreement import StableText
from kikitori.live.events import EndReason, Final, FinalFailed
from kikitori.live.options import LiveOptions, TurnDetection
from kikitori.live.passes import Pass
from kikitori.live.speech import Speech
from kikitori.live.words import ends_sentence
from kikitori.types import SAMPLE_RATE, Audio

DRAFT_SILENCE_SAMPLES = SAMPLE_RATE * 160 // 1000
"""After so much silence the final is made ready."""
FINAL_PAD_SAMPLES = SAMPLE_RATE * 200 // 1000
"""Silence after the speech that a final hears."""
PAD_SAMPLES = SAMPLE_RATE // 2
"""The same where the client ends utterances, and before it: the client may know better than we where speech is."""
LONG_PAUSE_SAMPLES = SAMPLE_RATE * 1200 // 1000
"""Silence longer than this is not given to interims: engines make text of it."""
CONTEXT_UNITS = 200
"""More than a prompt takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A final made ready in a silence: it stands if no more speech comes."""

    speech_end: int
    """Of the utterance as it was then."""
    heard: Pass | None
    """None: the pass failed."""


@dataclass(slots=True, kw_only=True, eq=False)
class Utterance:
    """Positions are samples since the session began."""

    number: int
    start: int
    options: LiveOptions
    streaming: bool
    speech: Speech = field(default_factory=Speech)
    announced: bool = False
    continues: bool = False
    """Cut off from the one before, in the middle of speech."""

    window: int = 0
    """Where interim passes begin."""
    heard_to: int = 0
    """The end of the audio of the last pass."""
    tried_to: int = 0
    """The same of the last one that failed."""
    said: str = ""
    """The newest text."""
    text: StableText = field(init=False)
    shown: tuple[str, str] = ("", "")
    """Stable text and tail of the last interim."""
    revision: int = 0
    shrunk: bool = False
    """The last pass had less text than was shown, and was not believed."""
    loops: int = 0
    """Passes in a row that were loops."""
    draft: Draft | None = None

    sent_to: int | None = None
    """Streaming: how far the engine was given audio; None: not at all, or it must begin anew."""

    end: int = 0
    reason: EndReason | None = None
    """Set when the utterance is committed, like all that follows."""
    audio: Audio | None = None
    judged: int = 0
    """How far probabilities reached."""
    retried: bool = False
    """The final heard a loop, and is decoded once more."""
    outcome: Final | FinalFailed | None = None

    def __post_init__(self) -> None:
        self.text = StableText(self.options.agreement)
        self.begin_at(self.start)

    def begin_at(self, start: int) -> None:
        """Leave out audio before ``start``; nothing of it was heard."""
        self.start = start
        self.window = self.heard_to = start

    def close(self, end: int, reason: EndReason, audio: Audio, *, judged: int) -> None:
        """It is complete. What was not ``judged`` may be speech."""
        self.end, self.reason, self.audio, self.judged = end, reason, audio, judged

    def skip_pause(self) -> None:
        """Move the window past a long pause: what was said before it has been heard to its end, and is stable."""
        spans = self.speech.spans
        for n in range(len(spans) - 1, 0, -1):
            before, after = spans[n - 1][1], spans[n][0]
            if before <= self.window:
                return
            if after - before >= LONG_PAUSE_SAMPLES and self.heard_to >= before + DRAFT_SILENCE_SAMPLES:
                self.window = after - PAD_SAMPLES
                self.text.commit_until(self.window / SAMPLE_RATE)
                return

    @property
    def text_before_window(self) -> str:
        """The end of the stable text that interim passes do not hear any more."""
        edge, texts = self.window / SAMPLE_RATE, list[str]()
        for unit in reversed(self.text.committed):
            if len(texts) == CONTEXT_UNITS:
                break
            if unit.end <= edge:
                texts.append(unit.text)
        return "".join(reversed(texts)).strip()

    @property
    def unjudged(self) -> bool:
        """Committed before all its probabilities came."""
        return self.reason is not None and self.end - self.judged >= FRAME_SAMPLES

    @property
    def speech_end(self) -> int:
        """Where the last speech ends, or may end."""
        if self.unjudged:
            return self.end
        return self.speech.end if self.speech else self.start

    @property
    def is_speech(self) -> bool:
        """Whether it is worth decoding. Sounds that end by themselves and are short are not."""
        if self.reason is EndReason.PAUSE and not self.continues:
            return self.speech.samples * 1000 >= self.options.min_speech_ms * SAMPLE_RATE
        return bool(self.speech) or self.unjudged

    @property
    def says_all(self) -> bool:
        """Whether the newest text covers all speech and ends a sentence, or there is none."""
        if not self.speech or self.heard_to < self.speech.end + DRAFT_SILENCE_SAMPLES:
            return False
        return not self.said.strip() or ends_sentence(self.said)

    @property
    def final_range(self) -> tuple[int, int]:
        """The audio that a final hears: all speech, and a little silence after it."""
        if self.unjudged or not self.speech:
            return self.start, self.end
        if self.options.turns is not TurnDetection.MANUAL:
            return self.start, min(self.end, self.speech.end + FINAL_PAD_SAMPLES)
        start = self.start
        if not self.streaming:
            start = max(start, self.speech.start - PAD_SAMPLES)
        return start, min(self.end, self.speech.end + PAD_SAMPLES)
